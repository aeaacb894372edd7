"""The audio-LLM: what is trained on what, padding, classes, several questions per clip, errors."""

import copy
import pickle

import pytest
import torch

from pal_plugin.llm.prompts import TextFormat
from pal_plugin.models.audio_llm import AudioLLM

TYPES = ["lal", "plits", "pal", "flamingo"]


def one(samples, row):
    return {key: [value[row]] for key, value in samples.items()}


@pytest.mark.parametrize("model_type", TYPES)
def test_a_batch_equals_its_rows_one_by_one(tiny_model, two_clips, model_type):
    model = tiny_model(model_type)
    batch = model(two_clips)["per_row_loss"]
    for row in range(2):
        alone = model(one(two_clips, row))["per_row_loss"][0]
        assert torch.allclose(batch[row], alone, rtol=1e-4)


@pytest.mark.parametrize("model_type", TYPES)
def test_generation_does_not_depend_on_padding(tiny_model, two_clips, model_type):
    model = tiny_model(model_type)
    prompt = {k: v for k, v in two_clips.items() if k != "text_output"}
    batch = model.generate(prompt, max_new_tokens=6)
    assert batch == [model.generate(one(prompt, r), max_new_tokens=6)[0] for r in range(2)]


def reference_loss(model, samples):
    """Loss of one row by the LLM's own `labels`, with audio as the type says."""
    question, answer = samples["text_input"][0], samples["text_output"][0]
    prompt, target = model.text.prompt_ids(question), model.text.answer_ids(answer)
    ids = torch.tensor([prompt + target])
    assert model.text_tokens(samples) == ids.numel()
    inputs = model._inputs(samples, ids, torch.ones_like(ids))
    labels = torch.full(inputs.mask.shape, -100)
    labels[0, -len(target) :] = torch.tensor(target)
    return model.llm(
        inputs_embeds=inputs.embeds,
        attention_mask=inputs.mask,
        position_ids=inputs.positions,
        labels=labels,
        **inputs.audio_kwargs,
    ).loss


@pytest.mark.parametrize("model_type", TYPES)
def test_the_loss_is_that_of_the_answer_and_its_end_only(tiny_model, two_clips, model_type):
    model = tiny_model(model_type)
    first = one(two_clips, 0)
    assert torch.allclose(model(first)["loss"], reference_loss(model, first), rtol=1e-5)
    second = one(two_clips, 1)
    whole = model(two_clips)["loss"]
    counts = [len(model.text.answer_ids(a)) for a in two_clips["text_output"]]
    parts = [model(s)["loss"] * n for s, n in zip((first, second), counts, strict=True)]
    assert torch.allclose(whole, sum(parts) / sum(counts), rtol=1e-4)


@pytest.mark.parametrize("model_type", TYPES)
def test_class_scores_are_the_likelihoods_of_the_answers(tiny_model, two_clips, model_type):
    model = tiny_model(model_type)
    candidates = ["bell", "noise burst", "no, there is rain"]
    found = model.predict_class(two_clips, candidates)
    scores, wholes = found["scores"], []
    for column, candidate in enumerate(candidates):
        loss = model({**two_clips, "text_output": [candidate] * 2})["per_row_loss"]
        assert torch.allclose(scores[:, column], -loss, atol=1e-4)
        wholes.append((-loss * len(model.text.answer_ids(candidate))).exp())
    shares = torch.stack(wholes, 1) / sum(wholes)[:, None]
    assert torch.allclose(found["probabilities"], shares, atol=1e-4)


@pytest.mark.parametrize("model_type", TYPES)
def test_audio_matters_and_masked_audio_does_not(tiny_model, two_clips, model_type):
    model = tiny_model(model_type)
    other = {**two_clips, "audio": two_clips["audio"][::-1]}
    deaf = torch.zeros(2, dtype=torch.bool)
    assert not torch.allclose(model(two_clips)["per_row_loss"], model(other)["per_row_loss"])
    masked = model({**two_clips, "audio_mask": deaf})["per_row_loss"]
    assert torch.allclose(masked, model({**other, "audio_mask": deaf})["per_row_loss"], rtol=1e-5)
    half = model({**two_clips, "audio_mask": [True, False]})["per_row_loss"]
    assert torch.allclose(half[0], model(two_clips)["per_row_loss"][0], rtol=1e-5)
    assert torch.allclose(half[1], masked[1], rtol=1e-5)


def test_masked_audio_is_the_same_function_in_all_types(tiny_model, two_clips):
    deaf = {**two_clips, "audio_mask": [False, False]}
    losses = [tiny_model(t)(deaf)["per_row_loss"] for t in ("lal", "plits", "pal")]
    assert torch.allclose(losses[0], losses[1], rtol=1e-5)
    assert torch.allclose(losses[0], losses[2], rtol=1e-5)


@pytest.mark.parametrize("model_type", TYPES)
def test_several_questions_about_one_clip(tiny_model, two_clips, model_type):
    model = tiny_model(model_type)
    index = [1, 0, 1]
    rows = {
        "audio": two_clips["audio"],
        "clip_index": index,
        "text_input": ["Is it loud?", "What is it?", "How many?"],
        "text_output": ["yes", "rain", "two"],
    }
    shared = model(rows)["per_row_loss"]
    repeated = {**rows, "audio": [two_clips["audio"][i] for i in index], "clip_index": None}
    assert torch.allclose(shared, model(repeated)["per_row_loss"], rtol=1e-4)
    encoded = {"audio_tokens": model.encode_audio(rows)}
    again = model({**{k: v for k, v in rows.items() if k != "audio"}, **encoded})
    assert torch.allclose(shared, again["per_row_loss"], rtol=1e-5)


@pytest.mark.parametrize("model_type", TYPES)
def test_gradients_reach_what_the_stage_trains_and_nothing_else(tiny_model, two_clips, model_type):
    model = tiny_model(model_type, llm="lora").train()
    model(two_clips)["loss"].backward()
    for name, parameter in model.named_parameters():
        trained = name.startswith(("connectors.", "cross_attention.")) or "lora_" in name
        assert parameter.requires_grad == trained, name
        # B starts at zero, so A's gradient is zero at first.
        if trained and "lora_A" not in name:
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
    assert not any(module.training for module in model.encoders.modules())


def test_unfrozen_encoders_are_trained(tiny_model, two_clips):
    model = tiny_model("lal", encoders="full").train()
    model(two_clips)["loss"].backward()
    for name in ("sslam", "clap", "whisper"):
        assert any(p.grad is not None for p in model.encoders[name].parameters()), name


def test_frozen_encoders_do_not_move_in_a_new_model(tiny_config, two_clips):
    model = AudioLLM.from_config(tiny_config("lal"))
    assert model.training
    before = {n: t.clone() for n, t in model.encoders.state_dict().items()}
    kv = model.encode(two_clips["audio"])
    model(two_clips)
    assert all(torch.equal(t, before[n]) for n, t in model.encoders.state_dict().items())
    assert model.generate({"text_input": ["One?", "Two?"]}, max_new_tokens=2, audio=kv)


@pytest.mark.parametrize("model_type", TYPES)
def test_a_model_is_copied_and_pickled(tiny_model, two_clips, model_type):
    model = tiny_model(model_type)
    expected = model.generate(two_clips, max_new_tokens=4), model(two_clips)["per_row_loss"]
    for twin in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert twin.generate(two_clips, max_new_tokens=4) == expected[0]
        torch.nn.init.zeros_(twin.llm.get_output_embeddings().weight)
    assert torch.equal(model(two_clips)["per_row_loss"], expected[1])


def test_clips_come_as_any_iterable(tiny_model, two_clips, tmp_path):
    model = tiny_model("lal")
    clips = two_clips["audio"]
    expected = model.encode_audio({"audio": clips})["general"].features
    for form in (tuple(clips), iter(clips)):
        assert torch.equal(model.encode_audio({"audio": form})["general"].features, expected)
    assert len(model.encode(tuple(clips))) == 2
    assert len(model.encode(list(clips[0]))) == 1
    for clip in (clips[0], list(clips[0]), "a.wav", tmp_path / "a.wav", b"RIFF"):
        with pytest.raises(ValueError, match=r"is one clip; expected a list of clips: \[clip\]"):
            model.encode_audio({"audio": clip})


def test_generate_gives_strings_whatever_form_is_asked_for(tiny_model, two_clips):
    model = tiny_model("lal")
    answers = model.generate(two_clips, max_new_tokens=3)
    assert model.generate(two_clips, max_new_tokens=3, return_dict_in_generate=True) == answers


class Written:
    """A logits processor under which the LLM writes these tokens, and counts them."""

    def __init__(self, ids):
        self.ids, self.steps = ids, 0

    def __call__(self, _, scores):
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self.ids[self.steps]] = 0
        self.steps += 1
        return forced


@pytest.mark.parametrize("prompt", ["chat", "Q: {question}\nA:"])
def test_an_answer_stops_at_the_end_of_a_turn(tiny_model, two_clips, prompt):
    model = tiny_model("lal")
    words = copy.deepcopy(model.text.tokenizer)
    turn, words.eos_token = words.eos_token_id, words.pad_token  # as Gemma has two marks
    model.text = TextFormat(words, prompt)
    bell, rain = (words(text, add_special_tokens=False)["input_ids"] for text in ("bell", "rain"))
    for end in (turn, words.eos_token_id):
        forced = Written([*bell, end, *rain, *rain])
        answers = model.generate(two_clips, max_new_tokens=10, logits_processor=[forced])
        assert answers == ["bell", "bell"]
        assert forced.steps == len(bell) + 1


@pytest.mark.parametrize("question", ["", " \n"])
def test_an_empty_question_is_refused(tiny_model, two_clips, question):
    model = tiny_model("lal")
    with pytest.raises(ValueError, match=r"question 0 is .*expected a non-blank question"):
        model.ask(two_clips["audio"][0], question)
    samples = {**two_clips, "text_input": ["What do you hear?", question]}
    with pytest.raises(ValueError, match=r"question 1 is "):
        model.generate(samples)
    with pytest.raises(ValueError, match=r"question 1 is "):
        model.predict_class(samples, ["bell"])


def test_ask_takes_a_path_of_any_rate_and_stereo(tiny_model, tmp_path):
    import soundfile

    generator = torch.Generator().manual_seed(0)
    path = tmp_path / "stereo.wav"
    wave = 0.1 * torch.randn(22_050, 2, generator=generator).numpy()
    soundfile.write(path, wave, 44_100)
    model = tiny_model("pal")
    answer = model.ask(str(path), "What do you hear?", max_new_tokens=4)
    assert answer == model.ask((wave.T, 44_100), "What do you hear?", max_new_tokens=4)


def test_errors_say_what_came(tiny_model, two_clips):
    model = tiny_model("lal")
    with pytest.raises(ValueError, match=r"expected samples\['audio'\].*'text_input'"):
        model({k: v for k, v in two_clips.items() if k != "audio"})
    with pytest.raises(ValueError, match="2 clips and 1 question;"):
        model({**two_clips, "text_input": ["One?"], "text_output": ["no"]})
    with pytest.raises(ValueError, match="list of strings as .*, got str"):
        model({**two_clips, "text_input": "What do you hear?"})
    with pytest.raises(ValueError, match=r"samples\['text_input'\] is empty"):
        model.generate({**two_clips, "text_input": []})
    with pytest.raises(ValueError, match="max_tokens"):
        model.generate(two_clips, max_tokens=3)
    with pytest.raises(ValueError, match="no samples"):
        model.generate({**two_clips, "audio": [(torch.zeros(0).numpy(), 16_000)] * 2})
    with pytest.raises(ValueError, match="is one clip; expected a list"):
        model.generate({**two_clips, "audio": "clip.wav"})
    bad = torch.full((1000,), float("nan")).numpy()
    with pytest.raises(ValueError, match="finite"):
        model.generate({**two_clips, "audio": [(bad, 16_000)] * 2})
    with pytest.raises(ValueError, match="at least one text"):
        model.predict_class(two_clips, [])


def test_slips_of_who_asks_are_told_before_anything_is_heard(tiny_model, two_clips, monkeypatch):
    model, clips = tiny_model("lal"), two_clips["audio"]
    monkeypatch.setattr(model.frontend, "make", lambda *_: pytest.fail("a clip was heard"))
    for audio, question, told in (
        (clips, "What?", "expected one clip, got a list of 2"),
        (None, "What?", "the clip is None"),
        (clips[0], ["What?", "Who?"], "expected one question, got a list of 2"),
        (clips[0], None, "the question is None"),
    ):
        with pytest.raises(ValueError, match=told):
            model.ask(audio, question)
    with pytest.raises(ValueError, match="num_beams is 0"):
        model.ask(clips[0], "What?", num_beams=0)
    with pytest.raises(ValueError, match="the clip is None"):
        model.encode(None)


@pytest.mark.parametrize(
    ("samples", "told"),
    [
        (None, "expected a batch, .* got NoneType"),
        ([], "expected a batch, .* got list"),
        ({"audio": [None], "text_input": ["What?"]}, r"samples\['audio'\]\[0\] is None"),
        ({"text_input": [None]}, r"samples\['text_input'\]\[0\] is None; expected text"),
        ({"text_input": ["What?", ["Who?"]]}, r"samples\['text_input'\]\[1\] is \['Who\?'\]"),
    ],
)
def test_slips_in_a_batch_are_told_by_their_place(samples, told, tiny_model):
    with pytest.raises(ValueError, match=told):
        tiny_model("lal").generate(samples)


def test_two_clips_and_one_question_are_counted(tiny_model, two_clips):
    with pytest.raises(
        ValueError, match="^got 2 clips and 1 question; expected one question per clip"
    ):
        tiny_model("lal").generate({**two_clips, "text_input": ["What?"]})


def test_who_never_was_trained_says_so_once_by_name(tiny_config, two_clips, caplog):
    model = AudioLLM.from_config(tiny_config("flamingo")).eval()
    asked = {key: two_clips[key] for key in ("audio", "text_input")}
    model.generate(asked, max_new_tokens=1)
    assert "connectors.general, connectors.speech, cross_attention: random weights" in caplog.text
    caplog.clear()
    model.predict_class(asked, ["bell"])
    assert not caplog.text


def test_who_was_trained_or_loaded_says_nothing(tiny_config, two_clips, caplog, tmp_path):
    model = AudioLLM.from_config(tiny_config("lal"))
    model.forward(two_clips)  # a step begins so
    saved = model.save_checkpoint(tmp_path / "trained")
    model.eval().ask(two_clips["audio"][0], "What?", max_new_tokens=1)
    loaded = AudioLLM.from_config({**tiny_config("lal"), "checkpoint": str(saved)}).eval()
    loaded.ask(two_clips["audio"][0], "What?", max_new_tokens=1)
    assert "random weights" not in caplog.text
    assert loaded.untrained == ()
