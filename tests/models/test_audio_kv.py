"""One clip, many questions: equal results with and without reuse, saved and loaded."""

import pytest
import torch

from pal_plugin.models.audio_kv import AudioKV

TYPES = ["lal", "plits", "pal", "flamingo"]
QUESTIONS = ["What do you hear?", "Is there a bell?", "How many sounds are there, do you think?"]
CANDIDATES = ["bell", "noise burst", "no, there is rain", "no"]


@pytest.mark.parametrize("store", ["kv", "features"])
@pytest.mark.parametrize("model_type", TYPES)
def test_reuse_gives_the_same_answers(tiny_model, two_clips, model_type, store):
    model = tiny_model(model_type)
    clip = two_clips["audio"][1]
    kv = model.encode(clip, store)
    fresh = [model.ask(clip, q, max_new_tokens=6) for q in QUESTIONS]
    assert [model.ask(kv, q, max_new_tokens=6) for q in QUESTIONS] == fresh
    together = {"text_input": QUESTIONS}
    assert model.generate(together, max_new_tokens=6, audio=kv) == fresh
    assert model.generate({"audio": [clip], **together}, max_new_tokens=6) == fresh
    expected = torch.cat(
        [
            model.predict_class({"audio": [clip], "text_input": [q]}, CANDIDATES)["scores"]
            for q in QUESTIONS
        ]
    )
    scores = model.predict_class(together, CANDIDATES, audio=kv)["scores"]
    assert torch.allclose(scores, expected, atol=1e-5)


@pytest.mark.parametrize("model_type", TYPES)
def test_a_batch_of_clips(tiny_model, two_clips, model_type):
    model = tiny_model(model_type)
    kv = model.encode(two_clips["audio"])
    assert len(kv) == 2
    samples = {"text_input": [QUESTIONS[0]] * 4, "clip_index": [0, 0, 1, 1]}
    fresh = model.generate({**samples, "audio": two_clips["audio"]}, max_new_tokens=6)
    assert model.generate(samples, max_new_tokens=6, audio=kv) == fresh
    mixed = {"text_input": [QUESTIONS[0]] * 3, "clip_index": [1, 0, 1]}
    fresh = model.generate({**mixed, "audio": two_clips["audio"]}, max_new_tokens=6)
    assert model.generate(mixed, max_new_tokens=6, audio=kv) == fresh


@pytest.mark.parametrize("model_type", TYPES)
@pytest.mark.parametrize("store", ["kv", "features"])
def test_saved_and_loaded(tiny_model, two_clips, tmp_path, model_type, store):
    model = tiny_model(model_type)
    kv = model.encode(two_clips["audio"], store)
    path = kv.save(tmp_path / "clips")
    again = model.load_audio(path)
    assert again.nbytes == kv.nbytes
    samples = {"text_input": QUESTIONS[:2]}
    expected = model.predict_class(samples, CANDIDATES, audio=kv)["scores"]
    assert torch.equal(model.predict_class(samples, CANDIDATES, audio=again)["scores"], expected)

    torch.nn.init.normal_(next(model.connectors.parameters()))
    with pytest.raises(ValueError, match="encoded with other weights"):
        model.load_audio(path)
    with pytest.raises(ValueError, match="the weights have changed since"):
        model.generate(samples, audio=kv)


def test_what_is_stored_is_what_the_docstring_says(tiny_model, two_clips):
    model = tiny_model("lal")
    small, fast = (model.encode(two_clips["audio"], s) for s in ("features", "kv"))
    clips, m, width = small.routed.audio.features.shape
    config = model.llm.config
    masks = clips * m
    assert small.nbytes == clips * m * width * 4 + masks
    kv = 2 * m * config.num_hidden_layers * config.num_key_value_heads * config.head_dim * 4
    assert fast.nbytes == small.nbytes + clips * kv


def test_keys_and_values_are_computed_once(tiny_model, two_clips):
    model = tiny_model("lal")
    kv = model.encode(two_clips["audio"][0])
    lengths = []
    hook = model.llm.model.layers[0].self_attn.k_proj.register_forward_hook(
        lambda _module, args, _out: lengths.append(args[0].shape[1])
    )
    model.generate({"text_input": QUESTIONS}, max_new_tokens=4, audio=kv)
    hook.remove()
    audio_tokens = kv.routed.audio.mask.shape[1]
    assert audio_tokens not in lengths
    assert lengths[1:] == [1] * (len(lengths) - 1)


def test_names_with_dots_stay_apart(tiny_model, two_clips, tmp_path):
    kv = tiny_model("lal").encode(two_clips["audio"], "features")
    names = ("clip_0.25", "clip_0.5", "a.safetensors")
    paths = {kv.save(tmp_path / name).name for name in names}
    assert paths == {"clip_0.25.safetensors", "clip_0.5.safetensors", "a.safetensors"}
    for name in names:  # under the name that it was given
        assert len(AudioKV.load(tmp_path / name, kv.weights)) == 2


def test_an_interrupted_save_keeps_the_old_file(tiny_model, two_clips, tmp_path, monkeypatch):
    kv = tiny_model("lal").encode(two_clips["audio"], "features")
    path = kv.save(tmp_path / "clip")

    def interrupted(_, where, metadata):
        where.write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr("pal_plugin.utils.weights.save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        kv.save(path)
    assert len(AudioKV.load(path, kv.weights)) == 2


def test_errors(tiny_model, two_clips, tmp_path):
    from safetensors.torch import save_file

    model = tiny_model("lal")
    with pytest.raises(ValueError, match="unknown store 'all'; known: features, kv"):
        model.encode(two_clips["audio"], "all")
    kv = model.encode(two_clips["audio"])
    with pytest.raises(ValueError, match="carries no gradient"):
        model({**two_clips, "audio": kv})
    with pytest.raises(ValueError, match=r"expected 4 numbers in 0\.\.1"):
        model.generate({"text_input": QUESTIONS + QUESTIONS[:1], "clip_index": [1, 0]}, audio=kv)
    with pytest.raises(ValueError, match="2 clips and 3 questions"):
        model.generate({"text_input": QUESTIONS}, audio=kv)
    with pytest.raises(ValueError, match="not an AudioKV"):
        model.generate({"text_input": QUESTIONS[:2], "audio_mask": [True, False]}, audio=kv)
    save_file({"x": torch.zeros(1)}, tmp_path / "x.safetensors")
    with pytest.raises(ValueError, match=r"not written by AudioKV\.save"):
        model.load_audio(tmp_path / "x.safetensors")
    old = {"weights": kv.weights, "layers": "{}"}
    save_file({"x": torch.zeros(1)}, tmp_path / "old.safetensors", old)
    with pytest.raises(ValueError, match="AudioKV format version 1, expected 2"):
        model.load_audio(tmp_path / "old")
    (tmp_path / "y.safetensors").write_bytes(b"\0" * 20)
    with pytest.raises(ValueError, match="cannot read"):
        AudioKV.load(tmp_path / "y.safetensors", kv.weights)


@torch.no_grad()
def test_hidden_columns_are_kept_by_row(tiny_model, two_clips, tmp_path):
    from dataclasses import replace

    model = tiny_model("lal")
    kv = model.encode([two_clips["audio"][0]] * 2, "features")
    columns = torch.zeros_like(kv.routed.audio.mask)
    columns[1, :2] = True
    hidden = replace(kv, routed=replace(kv.routed, audio=kv.routed.audio.hiding(columns)))
    again = model.load_audio(hidden.save(tmp_path / "hidden"))
    before, after = hidden.routed.audio.positions, again.routed.audio.positions
    assert torch.equal(after.expand(2, -1), before.expand(2, -1))
    samples = {"text_input": QUESTIONS[:2]}
    scores = [model.predict_class(samples, CANDIDATES, audio=a)["scores"] for a in (hidden, again)]
    assert torch.equal(*scores)
