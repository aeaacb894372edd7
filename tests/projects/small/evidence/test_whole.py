"""The driver with pocket weights and a few tones: trained, evaluated by the product, and told."""

import json

import numpy as np
import pytest
import soundfile


@pytest.fixture
def options(tmp_path):
    """Changes that put a pocket model and two domains of four tones each in place of the data."""
    rows = ["filename,category,domain,split,group"]
    for number in range(16):
        domain, split = ("esc10", "instruments")[number % 2], ("train", "val")[number // 8]
        label = ("rain", "dog")[number // 2 % 2]
        times = np.arange(8000) / 16000
        soundfile.write(tmp_path / f"{number}.wav", 0.1 * np.sin(600 * (number + 1) * times), 16000)
        rows.append(f"{number}.wav,{label},{domain},{split},{number}")
    (tmp_path / "clips.csv").write_text("\n".join(rows) + "\n")
    mini = "datasets.pal_mini"
    return [
        *("datasets.pal_spoken=null", "run.train_dataset_ratios=null"),
        *(f"{mini}.build_info.audio.storage={tmp_path}", "run.steps_per_epoch=3"),
        f"{mini}.build_info.annotations={tmp_path / 'clips.csv'}",
        *(f"{mini}.domains.digits=null", f"{mini}.domains.digits_unseen_speaker=null"),
        *("model.encoders.whisper.checkpoint=pocket://whisper.safetensors", "run.num_workers=0"),
        *("model.encoders.whisper.cache=null", "model.encoders.whisper.features.window_s=5.0"),
        "model.encoders.whisper.model={d_model: 96, encoder_layers: 3, encoder_attention_heads: 4, "
        "encoder_ffn_dim: 384, max_source_positions: 250}",
        "model.encoders.whisper.hidden_states=[1, 3]",
        "model.connectors.general.encoders=[whisper@1]",
        "model.connectors.speech.encoders=[whisper@3]",
        *("model.llm.path=pocket://llm", "model.llm.prompt=chat", "run.batch_size_train=4"),
        *(
            "model.checkpoint=null",
            "run.log_freq=1",
            "run.max_new_tokens=4",
            "run.torch_threads=null",
        ),
    ]


@pytest.mark.slow
def test_trained_evaluated_and_written(module, monkeypatch, options, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.setenv("PAL_DATA", str(tmp_path))
    results, output = module("results"), tmp_path / "runs"
    argv = ["run", "--output", str(output), "--types", "plits", "lal", "--seeds", "0"]
    kept = ["--kept", str(tmp_path / "kept")]
    argv += kept
    in_a_second = ["--hours", str(1 / 3600)]
    assert results.main([*argv, *in_a_second, "--options", *options]) == 75
    assert results.main([*argv, "--options", *options]) == 0
    assert results.main([*argv, "--options", *options]) == 0  # both are finished
    assert results.main([*argv, "--options", *options, "run.init_lr=0.5"]) == 2
    figures = json.loads((output / "lal-seed0" / "metrics.json").read_text())["val"]
    entry = figures["classification"]
    assert entry["n"] == 8
    # As on another machine, which has the records alone.
    (tmp_path / "runs").rename(tmp_path / "elsewhere")
    assert results.main([*argv, "--options", *options]) == 0
    assert results.main([*argv, "--options", *options, "run.init_lr=0.5"]) == 2
    page = tmp_path / "results.md"
    assert results.main(["write", "--output", str(output), "--page", str(page), *kept]) == 0
    text = page.read_text()
    assert "2 trainings are in the tables (seeds: PLITS 0; LAL 0)" in text
    assert "Each training: 3 steps of 4 clips" in text
    by_rank, by_words = (line for line in text.splitlines() if line.startswith("| all | 8 |"))
    assert by_rank.split(" | ")[3].startswith(f"{100 * entry['accuracy']:.1f} [")
    assert by_words.split(" | ")[3].startswith(f"{100 * entry['accuracy_said']:.1f} [")
    assert entry["accuracy_masked_audio"] == pytest.approx(0.5)
