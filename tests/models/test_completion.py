"""Answers with their facts; the streamed pieces are the answer."""

import pytest
import torch

from pal_plugin.models.completion import Completion, TextStream, complete

QUESTION = "What do you hear?"


@pytest.fixture
def model(tiny_model):
    return tiny_model("pal")


@pytest.fixture
def samples(two_clips):
    return {"audio": two_clips["audio"], "text_input": [QUESTION, "Is it loud?"]}


def test_texts_are_those_of_generate_and_tokens_are_counted(model, samples):
    done = complete(model, samples, max_new_tokens=6)
    assert [d.text for d in done] == model.generate(samples, max_new_tokens=6)
    encoded = model.encode_audio(samples)
    for row, question in enumerate(samples["text_input"]):
        assert done[row].prompt_tokens == len(model.text.prompt_ids(question))
        assert done[row].audio_tokens == sum(int(t.mask[row].sum()) for t in encoded.values())
        assert done[row].completion_tokens <= 6
        assert done[row].finish_reason == ("length" if done[row].completion_tokens == 6 else "stop")
        assert done[row].logprobs is None


def test_an_answer_ends_at_its_mark_or_at_its_limit(model, samples):
    def forced(ids):
        def processor(_, scores):
            wanted = ids[min(processor.step, len(ids) - 1)]
            processor.step += 1
            return torch.full_like(scores, -1e4).index_fill(1, torch.tensor([wanted]), 0.0)

        processor.step = 0
        return [processor]

    bell = model.text.answer_ids("a bell rings")
    done = complete(model, samples, logits_processor=forced(bell), max_new_tokens=20)
    assert {(d.text, d.finish_reason, d.completion_tokens) for d in done} == {
        ("a bell rings", "stop", len(bell))
    }
    short = complete(model, samples, logits_processor=forced(bell), max_new_tokens=len(bell) - 1)
    assert {d.finish_reason for d in short} == {"length"}
    cut = complete(
        model, samples, logits_processor=forced(bell), max_new_tokens=20, stop=["ll", "x"]
    )
    assert {(d.text, d.finish_reason) for d in cut} == {("a be", "stop")}
    assert cut[0].completion_tokens < len(bell)
    one = {"audio": samples["audio"][:1], "text_input": [QUESTION]}
    stream = TextStream(model, one, logits_processor=forced(bell), max_new_tokens=20, stop="ll")
    assert "".join(stream) == "a be"
    assert stream.completion.finish_reason == "stop"


def test_log_probabilities_are_those_of_a_pass_over_the_answer(model, samples):
    one = {"audio": samples["audio"][:1], "text_input": [QUESTION]}
    (done,) = complete(model, one, max_new_tokens=4, logprobs=True, temperature=0.5)
    assert len(done.tokens) == len(done.logprobs) == done.completion_tokens
    inputs = model.prompts(one)
    embeds, mask, embed = inputs.embeds, inputs.mask, model.llm.get_input_embeddings()
    for token, logprob in zip(done.tokens, done.logprobs, strict=True):
        out = model.llm(inputs_embeds=embeds, attention_mask=mask, **inputs.audio_kwargs)
        best, index = out.logits[0, -1].log_softmax(-1).max(-1)
        assert logprob == pytest.approx(best.item(), abs=1e-5)
        assert token == model.text.tokenizer.decode([int(index)])
        embeds = torch.cat([embeds, embed(index[None, None])], 1)
        mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)


def test_a_seed_holds_for_its_call_alone(model, samples):
    options = {"max_new_tokens": 8, "do_sample": True, "temperature": 2.0}
    torch.manual_seed(0)
    expected = torch.rand(1)
    torch.manual_seed(0)
    first, again, other = (
        [d.text for d in complete(model, samples, seed=seed, **options)] for seed in (1, 1, 2)
    )
    assert torch.equal(torch.rand(1), expected)
    assert first == again
    assert first != other


def test_several_answers_to_one_row(model, samples):
    one = {"audio": samples["audio"][:1], "text_input": [QUESTION]}
    done = complete(model, one, max_new_tokens=3, do_sample=True, num_return_sequences=3, seed=0)
    assert len(done) == 3
    assert len({d.prompt_tokens for d in done}) == 1


def test_the_pieces_of_a_stream_are_the_answer(model, samples):
    one = {"audio": samples["audio"][:1], "text_input": [QUESTION]}
    (expected,) = complete(model, one, max_new_tokens=12)
    with TextStream(model, one, max_new_tokens=12) as stream:
        pieces = list(stream)
    assert "".join(pieces) == expected.text
    assert stream.completion == expected
    assert isinstance(expected, Completion)


def test_a_reader_that_leaves_ends_the_generation(model, samples):
    one = {"audio": samples["audio"][:1], "text_input": [QUESTION]}
    banned = {"suppress_tokens": model.text.end_ids}
    with TextStream(model, one, max_new_tokens=400, **banned) as stream:
        next(iter(stream))
    assert not stream._thread.is_alive()
    list(stream)
    assert stream.completion.completion_tokens < 400


def test_errors(model, samples):
    with pytest.raises(ValueError, match="stop is .*expected texts that are not empty"):
        complete(model, samples, stop=[""])
    with pytest.raises(ValueError, match="max_new_tokens is 0"):
        complete(model, samples, max_new_tokens=0)
    with (
        pytest.raises(ValueError, match="question 0 is "),
        TextStream(model, {**samples, "text_input": ["", "x"]}) as stream,
    ):
        list(stream)
    with (
        pytest.raises(ValueError, match="expected one answer to stream, got 2|batch size"),
        TextStream(model, samples, max_new_tokens=2) as stream,
    ):
        list(stream)
