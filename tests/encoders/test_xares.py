"""Users' classes with XARES-LLM's contract: what they get, what becomes of masks, errors."""

import importlib.util
import sys

import pytest
import torch
import xares_encoders

from pal_plugin.encoders import build_encoder, build_features
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.planning.skeleton import build_skeleton

HOP = xares_encoders.HOP
WINDOW_S = 2.0


@pytest.fixture(autouse=True)
def trusted(monkeypatch):
    monkeypatch.setenv("PAL_ENCODER_MODULES", "another, xares_encoders")


def entry(cls="Attending", features=None, **args):
    return {
        "type": "xares",
        "features": {"window_s": WINDOW_S, **(features or {})},
        "model": {"encoder": f"xares_encoders.{cls}", "args": args},
    }


def built(cls="Attending", **args):
    torch.manual_seed(0)
    return build_encoder(**entry(cls, **args)).eval()


def windows(*seconds):
    """Random clips of these lengths, as windows and their samples."""
    front_end = build_features("xares", {"window_s": WINDOW_S})
    torch.manual_seed(1)
    clips = [0.1 * torch.randn(round(s * 16000)) for s in seconds]
    return clips, front_end.batch(clips)


def test_the_front_end_passes_the_waveform_in_windows():
    clips, made = windows(0.5, 4.5)
    assert made["features"].shape == (4, 32000)
    assert made["windows"].tolist() == [1, 3]
    assert made["frames"].tolist() == [8000, 32000, 32000, 8000]
    assert torch.equal(made["features"][0, :8000], clips[0])
    assert not made["features"][0, 8000:].any()
    assert torch.equal(made["features"][1:3].flatten(), clips[1][:64000])


@pytest.mark.parametrize("rate_hz", [8000, 16000, 24000, 44100])
def test_clips_are_resampled_to_the_rate_that_is_set(rate_hz):
    clip = (torch.sin(torch.arange(rate_hz) * 440 * 2 * torch.pi / rate_hz), rate_hz)
    for wanted in (16000, 24000):
        frontend = AudioFrontend({"mine": entry(features={"sample_rate_hz": wanted})})
        made = frontend(clip)["mine"]
        assert made["features"].shape == (1, 2 * wanted)
        assert made["frames"].tolist() == [wanted]
        spectrum = torch.fft.rfft(made["features"][0, :wanted]).abs()
        assert int(spectrum.argmax()) == 440


@pytest.mark.parametrize("cls", ["Attending", "Padding"])
@torch.no_grad()
def test_padded_clips_give_what_each_gives_alone(cls):
    clips, made = windows(0.5, 1.3, 2.0, 0.5)
    encoder = built(cls)
    tokens = encoder(made["features"], made["frames"])
    assert tokens.features.shape == (4, 100, 8)
    for row, clip in enumerate(clips):
        features, _ = encoder.encoder(clip[None], torch.ones(1, len(clip), dtype=torch.long))
        valid = -(-len(clip) // HOP)
        assert tokens.mask[row].sum() == tokens.lengths[row] == valid
        assert tokens.mask[row, :valid].all()
        torch.testing.assert_close(tokens.features[row, :valid], features[0, :valid])


@torch.no_grad()
def test_the_class_never_gets_padding():
    clips, made = windows(0.5, 1.3, 0.5)
    encoder = built()
    encoder(made["features"], made["frames"])
    full, *heard = encoder.encoder.heard
    assert full[0].shape == (1, 32000)  # once, to learn how many tokens a window has
    assert [audio.shape for audio, _ in heard] == [(2, 8000), (1, 20800)]
    assert torch.equal(heard[0][0], torch.stack([clips[0], clips[2]]))
    assert all(mask.shape == audio.shape and mask.all() for audio, mask in heard)
    encoder.encoder.heard.clear()
    encoder(made["features"], made["frames"])
    assert len(encoder.encoder.heard) == 2


@torch.no_grad()
def test_a_few_samples_are_followed_by_silence_up_to_the_least():
    clips, made = windows(0.001)
    encoder = built()
    assert encoder(made["features"], made["frames"]).lengths.tolist() == [5]
    silent = torch.nn.functional.pad(clips[0], (0, 1600 - 16))
    assert torch.equal(encoder.encoder.heard[1][0][0], silent)


@torch.no_grad()
def test_without_frames_all_is_valid():
    _, made = windows(0.5)
    assert built()(made["features"]).mask.all()


def test_learning_how_many_tokens_there_are_changes_no_running_means():
    _, made = windows(2.0)
    encoder = build_encoder(**entry("Normalizing"))
    before = encoder.encoder.norm.running_mean.clone()
    encoder.train()
    encoder.encoder.attention.eval()  # such as a frozen part
    encoder(made["features"], made["frames"])
    assert encoder.encoder.norm.training
    assert not encoder.encoder.attention.training
    assert encoder.encoder.norm.num_batches_tracked == 1
    assert not torch.equal(encoder.encoder.norm.running_mean, before)


def model_section(**encoder):
    return {
        "encoders": {"mine": entry(**encoder)},
        "connectors": {
            "audio": {"type": "mlp", "encoders": ["mine"], "args": {"pool": 5, "hidden": 8}}
        },
        "routing": {"audio": {"integration": "lal"}},
        "llm": {"path": "pocket://llm"},
        "stage": {"llm": "frozen"},
    }


@torch.no_grad()
def test_one_entry_makes_it_a_models_encoder():
    torch.manual_seed(0)
    model = AudioLLM.from_config({"arch": "pal", **model_section(features={"overlap_s": 0.4})})
    clips = [(0.1 * torch.randn(samples), 16000) for samples in (9000, 70000)]
    together = model.eval().encode_audio({"audio": clips})["audio"]
    assert together.features.shape[2] == model.llm.config.hidden_size
    for row, clip in enumerate(clips):
        alone = model.encode_audio({"audio": [clip]})["audio"]
        count = int(alone.mask.sum())
        assert together.mask[row].sum() == count
        expected = alone.features[0, :count]
        torch.testing.assert_close(together.features[row, :count], expected)
    assert model.ask(clips[0], "What is it?", max_new_tokens=2) is not None


@torch.no_grad()
def test_a_saved_model_loads_where_its_class_is_trusted(tmp_path, monkeypatch):
    torch.manual_seed(0)
    model = AudioLLM.from_config({"arch": "pal", **model_section()}).eval()
    clip = (0.1 * torch.randn(9000), 16000)
    expected = model.encode_audio({"audio": [clip]})["audio"].features
    model.save_pretrained(tmp_path)
    again = AudioLLM.from_pretrained(str(tmp_path)).eval()
    assert torch.equal(again.encode_audio({"audio": [clip]})["audio"].features, expected)
    monkeypatch.delenv("PAL_ENCODER_MODULES")
    with pytest.raises(ValueError, match="PAL_ENCODER_MODULES=xares_encoders"):
        AudioLLM.from_pretrained(str(tmp_path))


def test_a_plan_counts_it():
    skeleton = build_skeleton(model_section(output_dim=16))
    counted = sum(p.numel() for p in xares_encoders.Attending(16).parameters())
    assert skeleton.parameters()["encoders.mine"] == (0, counted)


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("Attending", r"'Attending'; expected a dotted path"),
        ("subprocess.Popen", r"subprocess is not named in .* PAL_ENCODER_MODULES; if you trust it"),
        ("xares_encoders.Attendig", r"the encoder xares_encoders.Attendig: .*no attribute"),
        ("another.Encoder", r"no module 'another'.*PYTHONPATH"),
        ("xares_encoders.function", r"function.*expected a class of torch.nn.Module"),
        ("xares_encoders.NoSize", r"NoSize.output_dim is None"),
        ("xares_encoders.OneArgument", r"OneArgument.forward: too many.*expected \(audio, mask\)"),
        ("xares_encoders.NoParameters", r"NoParameters has no parameters"),
    ],
)
def test_classes_that_cannot_be_used(path, message):
    with pytest.raises(ValueError, match=message):
        build_encoder("xares", {"encoder": path})


def test_nothing_is_imported_unless_it_is_trusted(tmp_path, monkeypatch):
    (tmp_path / "strange_module.py").write_text("raise SystemExit('was run')")
    monkeypatch.syspath_prepend(tmp_path)
    assert importlib.util.find_spec("strange_module")
    for names in (None, "", "strange", "xares_encoders"):
        if names is None:
            monkeypatch.delenv("PAL_ENCODER_MODULES")
        else:
            monkeypatch.setenv("PAL_ENCODER_MODULES", names)
        with pytest.raises(ValueError, match="PAL_ENCODER_MODULES=strange_module"):
            build_encoder("xares", {"encoder": "strange_module.MyEncoder"})
    assert "strange_module" not in sys.modules


@pytest.mark.parametrize(
    ("cls", "args", "message"),
    [
        ("Single", {}, r"Single returned a Tensor; expected \(features, mask\)"),
        ("Attending", {"made": torch.zeros(1, 8)}, r"features \(1, 8\); expected \[1, N, 8\]"),
        ("Attending", {"made": torch.zeros(1, 3, 4)}, r"features \(1, 3, 4\)"),
        ("Attending", {"made": torch.zeros(2, 3, 8)}, r"features \(2, 3, 8\)"),
        ("Attending", {"made": torch.zeros(1, 0, 8)}, r"features \(1, 0, 8\)"),
        ("Attending", {"made": None}, r"features \(\)"),
        ("Attending", {"mask": torch.ones(1, 32000)}, r"mask \(1, 32000\) .*\(1, 100\) or None"),
        ("Attending", {"mask": torch.zeros(1, 100)}, r"mask with \[0\] valid tokens in 100"),
        ("Attending", {"mask": torch.arange(100)[None]}, r"mask with \[99\] valid tokens in 100"),
        ("Swapped", {}, r"Swapped makes 8 tokens of 8000 samples, but 2 of 32000"),
    ],
)
def test_what_the_contract_does_not_allow(cls, args, message):
    _, made = windows(0.5)
    with pytest.raises(ValueError, match=message):
        built(cls, **args)(made["features"], made["frames"])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"checkpoint": "a.safetensors"}, r"loads its own weights; give .* model: \{args"),
        ({"hidden_states": [1]}, r"hidden_states is not available for Xares"),
        ({"model": {"encoder": "xares_encoders.Attending", "least_s": 3.0}}, r"least_s is 3.0"),
        ({"model": {"encoder": "xares_encoders.Attending", "window_s": 1.0}}, r"windows are 1.0 s"),
        ({"model": {"encoder": "xares_encoders.Attending", "arg": {}}}, r"did you mean 'args'"),
        ({"model": {}}, r"encoder"),
    ],
)
def test_settings_that_cannot_be_used(given, message):
    with pytest.raises(ValueError, match=message):
        build_encoder(**{**entry(), **given})
