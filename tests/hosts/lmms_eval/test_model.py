"""lmms-eval's model: requests in, answers and scores out, equal to `AudioLLM`'s own."""

from types import SimpleNamespace

import pytest

from pal_plugin.models.audio_llm import AudioLLM

CHOICES = ["bell", "no, there is rain"]


@pytest.fixture
def pal(host, tiny, documents, monkeypatch):
    """`pal(batch_size=2)`: the model of lmms-eval, with a task of two documents."""
    monkeypatch.setattr(AudioLLM, "from_pretrained", classmethod(lambda *_, **__: tiny))

    def make(**settings):
        model = host.Pal(pretrained="lal", device="cpu", **settings)
        model.task_dict["task"] = {"test": documents}
        return model

    return make


def clips_of(document):
    return [document["audio"]]


def request(number, documents, *middle):
    args = (documents[number]["question"], *middle, number, "task", "test")
    return SimpleNamespace(args=args)


@pytest.mark.parametrize("size", ["2", pytest.param(1, marks=pytest.mark.slow)])
def test_answers_are_those_of_generate_in_the_order_of_the_requests(
    pal, tiny, two_clips, documents, size
):
    few, more = {"max_new_tokens": 3}, {"max_new_tokens": 5, "until": ["zzz"]}
    model = pal(batch_size=size)
    order = [(1, few), (0, more), (0, few)]
    found = model.generate_until([request(n, documents, given, clips_of) for n, given in order])
    for (number, given), got in zip(order, found, strict=True):
        clip, question = two_clips["audio"][number], two_clips["text_input"][number]
        assert got.text == tiny.ask(clip, question, max_new_tokens=given["max_new_tokens"])
        assert 0 < got.token_counts.output_tokens <= given["max_new_tokens"]
        assert got.token_counts.input_tokens > len(tiny.text.prompt_ids(question))


def test_arguments_of_generation_that_nobody_knows_are_errors(pal, documents):
    with pytest.raises(ValueError, match="image_aspect_ratio"):
        pal().generate_until([request(0, documents, {"image_aspect_ratio": "pad"}, clips_of)])


@pytest.mark.parametrize("mask_audio", [True, pytest.param(False, marks=pytest.mark.slow)])
def test_choices_have_the_negative_mean_since_lmms_eval_takes_the_smallest(
    pal, tiny, two_clips, documents, mask_audio
):
    requests = [request(n, documents, f" {text}", clips_of) for n in (0, 1) for text in CHOICES]
    found = pal(batch_size=2, mask_audio=mask_audio).loglikelihood(requests)
    samples = {name: two_clips[name] for name in ("audio", "text_input")}
    if mask_audio:
        samples["audio_mask"] = [False, False]
    scores = tiny.predict_class(samples, CHOICES)["scores"].flatten().tolist()
    assert [one.text[0] for one in found] == pytest.approx([-s for s in scores], abs=1e-5)
    assert not any(one.text[1] for one in found)


def test_sums_where_they_are_asked_for_and_for_single_targets(pal, tiny, two_clips, documents):
    choice = request(0, documents, CHOICES[1], clips_of)
    target = request(0, documents, lambda document: CHOICES[1], clips_of)
    found = pal(per_token=False).loglikelihood([choice, target])
    loss, log_probability = (one.text[0] for one in found)
    samples = {"audio": two_clips["audio"][:1], "text_input": two_clips["text_input"][:1]}
    mean = tiny.predict_class(samples, CHOICES[1:])["scores"].item()
    expected = mean * len(tiny.text.answer_ids(CHOICES[1]))
    assert (loss, log_probability) == pytest.approx((-expected, expected), abs=1e-4)
    with pytest.raises(ValueError, match="acc_mutual_info"):
        pal().loglikelihood([SimpleNamespace(args=("", "bell"))])


def test_rounds_end_when_the_task_says_so(pal, tiny, documents, two_clips):
    seen = []

    def next_round(document, previous_output, round_idx, previous_round_info):
        seen.append((document["question"], round_idx, previous_round_info))
        ended = round_idx >= (2 if document is documents[0] else 3)
        text = f"Round {round_idx}: {previous_output[-1]}?"
        return [document["audio"]] * 2, text, ended, previous_output, {"rounds": round_idx}

    requests = [request(n, documents, {"max_new_tokens": 2}, clips_of, next_round) for n in (0, 1)]
    found = pal(batch_size=2).generate_until_multi_round(requests)
    assert [len(rounds) for rounds in found] == [2, 3]
    assert [(n, info) for _, n, info in seen] == [
        *([(1, None)] * 2),
        *([(2, {"rounds": 1})] * 2),
        (3, {"rounds": 2}),
    ]
    for clip, question, rounds in zip(
        two_clips["audio"], two_clips["text_input"], found, strict=True
    ):
        assert rounds[0] == tiny.ask(clip, question, max_new_tokens=2)
        heard = [{"type": "audio", "audio": clip}] * 2
        content = [*heard, {"type": "text", "text": f"Round 1: {rounds[0]}?"}]
        second = tiny.chat([{"role": "user", "content": content}], max_new_tokens=2)
        assert rounds[1] == second


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"pretrained": "lal", "pretrainde": "x"}, "model_args has pretrainde; known: pretrained"),
        ({}, "expected pretrained=TYPE or FOLDER, or run="),
        ({"pretrained": "lal", "run": "output/x"}, "expected pretrained=TYPE or FOLDER, or run="),
        ({"run": "output/x", "dtype": "bfloat16"}, "takes no dtype"),
        ({"pretrained": "lal", "batch_size": "auto"}, "batch_size is 'auto'; expected a number"),
        ({"pretrained": "lal", "mask_audio": 1}, "mask_audio is 1; expected true or false"),
    ],
)
def test_wrong_arguments_are_errors(host, settings, message):
    with pytest.raises(ValueError, match=message):
        host.Pal(**settings)
