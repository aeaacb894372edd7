"""The recipes of the pocket weights: targets, losses, and each of them once in miniature."""

import csv
import itertools

import pytest
import soundfile
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaConfig, LlamaForCausalLM

from pal_plugin.encoders import build_encoder
from pal_plugin.pretraining import clips, encoders, llm, loop
from pal_plugin.soundworld import LABELS, Event, Scene, Sound, text_corpus

WHISPER = {
    "type": "whisper",
    "features": {"window_s": 5.0},
    "model": {
        "d_model": 16,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 16,
        "max_source_positions": 250,
    },
}


def test_targets_mark_kind_and_pitch_where_they_sound():
    sweep = Event("sweep", (Sound(1.0, 0.5, -20.0, 200.0, 800.0),))
    bell = Event("bell", (Sound(0.0, 0.4, -20.0, 440.0), Sound(2.0, 0.4, -20.0, 440.0)))
    scene = Scene(3.0, "sweep", (bell, sweep), "sequence", -60.0, 0)
    target = encoders.scene_targets(scene, 250)
    kinds = target[:, : len(LABELS)]
    assert kinds[:, LABELS.index("bell")].nonzero()[:, 0].tolist() == [*range(20), *range(100, 120)]
    assert kinds[:, LABELS.index("sweep")].nonzero()[:, 0].tolist() == list(range(50, 75))
    assert kinds.sum() == 65
    pitches = target[:, encoders.WORDS_END :]
    assert pitches[10].nonzero()[:, 0].tolist() == [encoders.pitch_bin(440.0)]
    first, last = (pitches[i].nonzero()[:, 0] for i in (50, 74))
    assert first.min() == encoders.pitch_bin(200.0 * 4**0.05)
    assert last.max() == encoders.pitch_bin(200.0 * 4**0.95)


def test_pooling_keeps_what_sounds_for_a_third_of_a_cell():
    targets = torch.zeros(1, 10, 2)
    targets[0, :2, 0] = 1
    targets[0, 5:, 1] = 1
    assert encoders.pool_targets(targets, 2)[0].tolist() == [[1.0, 0.0], [0.0, 1.0]]


def test_spec_augment_masks_a_band_and_a_stretch_with_the_mean():
    mel = torch.arange(4 * 30 * 20, dtype=torch.float32).view(4, 1, 30, 20)
    masked = encoders.spec_augment(mel, torch.Generator().manual_seed(1))
    changed = masked != mel
    assert changed.any()
    assert not changed.all()
    mean = mel.mean((-2, -1), keepdim=True).expand_as(mel)
    assert torch.equal(masked[changed], mean[changed])


def test_the_schedule_warms_up_and_falls():
    rates = [loop.warmup_cosine(step, 100, 10) for step in range(100)]
    assert rates[9] == 1.0
    assert rates[:10] == sorted(rates[:10])
    assert rates[10:] == sorted(rates[10:], reverse=True)
    assert rates[-1] == pytest.approx(0.05, abs=1e-3)


def test_a_loss_that_is_not_finite_stops():
    layer = torch.nn.Linear(1, 1)
    batches = itertools.repeat(torch.tensor([[float("nan")]]))
    with pytest.raises(FloatingPointError, match="at step 0"):
        loop.fit(layer, batches, lambda b: layer(b).sum(), steps=2, lr=0.1)


def test_the_text_loss_weighs_answers():
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=12,
        hidden_size=8,
        intermediate_size=8,
        num_hidden_layers=1,
        num_attention_heads=2,
    )
    model = LlamaForCausalLM(config)
    answer, end = 3, 1
    ids = torch.tensor([[5, 6, answer, 7, 8, end, 9, 6, answer, 4, end, 5]])
    logp = model(input_ids=ids).logits.log_softmax(-1)
    losses = -logp[0, :-1].gather(-1, ids[0, 1:, None])[:, 0]
    # predicted: 6, mark, 7, 8, end, 9, 6, mark, 4, end, 5
    inside = torch.tensor([0, 0, 1, 1, 1, 0, 0, 0, 1, 1, 0], dtype=torch.bool)
    weights = torch.where(inside, 1.0, 0.1)
    expected = (losses * weights).sum() / weights.sum()
    got = llm.answer_weighted_loss(model, ids, answer, end, 0.1)
    assert torch.allclose(got, expected, rtol=1e-5)


def test_the_llm_recipe_in_miniature(tmp_path):
    size = {
        "hidden_size": 16,
        "intermediate_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    llm.pretrain_llm(
        tmp_path, model=size, vocab_size=320, tokenizer_texts=50, steps=2, batch=2, length=32
    )
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    model = AutoModelForCausalLM.from_pretrained(tmp_path)
    text = next(text_corpus(3))
    ids = tokenizer(text)["input_ids"]
    assert tokenizer.decode(ids).replace(" ", "") == text.replace(" ", "")
    assert max(ids) < model.config.vocab_size == len(tokenizer)


def test_the_encoder_recipe_in_miniature(tmp_path):
    result = encoders.pretrain_encoders(
        tmp_path,
        encoders={"whisper": {**WHISPER, "checkpoint": None}},
        steps={"whisper": 2},
        clips=6,
        held_out=6,
        batch=2,
        workers=0,
        speech_share=0.5,
    )
    assert set(result["whisper"]) == {"kind", "word", "pitch"}
    again = build_encoder(**WHISPER, checkpoint=tmp_path / "whisper.safetensors")
    stored = load_file(tmp_path / "whisper.safetensors")
    assert torch.equal(
        again.state_dict()["encoder.conv1.weight"].half(), stored["encoder.conv1.weight"]
    )


def test_the_clip_recipe_in_miniature(tmp_path):
    generator = torch.Generator().manual_seed(0)
    rows = []
    labelled = [
        *(("dog", "animals", "train"), ("cat", "animals", "train"), ("one", "digits", "train")),
        *(("two", "digits", "train"), ("cow", "animals", "val")),
    ]
    for i, (category, domain, split) in enumerate(labelled):
        wave = 0.1 * torch.randn(4000, generator=generator).numpy()
        soundfile.write(tmp_path / f"{i}.wav", wave, 8000)
        rows.append((f"{i}.wav", category, domain, split))
    with open(tmp_path / "splits.csv", "w", newline="") as file:
        csv.writer(file).writerows([("filename", "category", "domain", "split"), *rows])
    start = build_encoder(**WHISPER)
    encoders.save_half(start, tmp_path / "start.safetensors")
    counts = clips.adapt_encoders(
        tmp_path / "out",
        encoders={"whisper": {**WHISPER, "checkpoint": str(tmp_path / "start.safetensors")}},
        audio=str(tmp_path),
        annotations=str(tmp_path / "splits.csv"),
        steps={"whisper": 2},
        variants={"animals": 2, "digits": 1},
        augment={"gain_db": [-3.0, 3.0]},
        batch=4,
        workers=0,
    )
    assert counts == {"animals": 2, "digits": 2}
    name = "encoder.conv1.weight"
    before = load_file(tmp_path / "start.safetensors")[name]
    assert not torch.equal(load_file(tmp_path / "out" / "whisper.safetensors")[name], before)
