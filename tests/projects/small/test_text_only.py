"""The choice is the one that likelihood per token makes, token by token."""

import torch


def test_it_chooses_by_the_mean_log_probability(script):
    reader = script("text_only").TextOnly("lal")  # the pocket LLM
    candidates = ["bell", "noise burst", "rain", "a siren wails"]
    prompt = "What do you hear?"
    means = []
    for candidate in candidates:
        asked, answer = reader.text.prompt_ids(prompt), reader.text.answer_ids(candidate)
        ids = torch.tensor([[*asked, *answer]])
        with torch.no_grad():
            logits = reader.llm(input_ids=ids).logits[0, len(asked) - 1 : -1]
        means.append(logits.log_softmax(-1).gather(1, ids[0, len(asked) :, None]).mean())
    assert reader.choose(prompt, candidates) == candidates[int(torch.stack(means).argmax())]
    turned = candidates[::-1]
    assert reader.choose(prompt, turned) == reader.choose(prompt, candidates)
