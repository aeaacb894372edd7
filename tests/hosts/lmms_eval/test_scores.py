"""Log-probabilities of continuations against the training loss, which computes them otherwise."""

import pytest
import torch

from pal_plugin.hosts.lmms_eval.scores import score

CHOICES = ["bell", " no, there is rain", "a bell and then rain"]


@pytest.fixture
def samples(two_clips):
    return {name: two_clips[name] for name in ("audio", "text_input")}


def test_sums_are_those_of_the_loss_and_of_predict_class(tiny, samples):
    found = score(tiny, samples, CHOICES)
    for row, scores in enumerate(found):
        one = {name: [values[row]] for name, values in samples.items()}
        for text, got in zip(CHOICES, scores, strict=True):
            with torch.no_grad():
                loss = tiny({**one, "text_output": [text.strip()]})["per_row_loss"]
            assert got.tokens == len(tiny.text.answer_ids(text))
            assert got.log_probability == pytest.approx(-float(loss) * got.tokens, abs=1e-4)
    means = [[one.log_probability / one.tokens for one in scores] for scores in found]
    ranked = tiny.predict_class(samples, CHOICES)["scores"]
    torch.testing.assert_close(torch.tensor(means), ranked, atol=1e-6, rtol=1e-5)


def test_greedy_is_what_greedy_decoding_says(tiny, samples, monkeypatch):
    said = tiny.text.answer_ids("bell")
    end = said.pop()
    ids = torch.tensor([[*said, end, 0, 0], [*said, said[0], 0, 0]])
    monkeypatch.setattr(tiny, "generate_ids", lambda inputs, max_new_tokens: ids)
    first, second = score(tiny, samples, ["bell", "rain"])
    assert [one.greedy for one in first] == [True, False]
    assert not any(one.greedy for one in second)  # it goes on behind "bell"


def test_clips_are_encoded_once(tiny, samples, monkeypatch):
    calls, encode = [], tiny.encode_audio
    monkeypatch.setattr(tiny, "encode_audio", lambda given: calls.append(1) or encode(given))
    score(tiny, samples, ["bell"])
    assert calls == [1]
