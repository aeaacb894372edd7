"""No wasted column: a batch's audio ends where its longest clip ends, and nothing else changes."""

from dataclasses import replace

import pytest
import torch

from pal_plugin.batch import to_device
from pal_plugin.encoders.base import AudioEncoder
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.build import build_components

#: Seconds of the clips of a batch; a window of the tiny encoders lasts 1.28 s.
BATCHES = {
    "short": (0.3, 0.55, 0.1),
    "full and short": (1.28, 0.2),
    "two windows": (1.5, 0.4, 2.0),
}


def clips_of(seconds):
    generator = torch.Generator().manual_seed(0)
    return [
        (0.1 * torch.randn(round(s * 16_000), generator=generator).numpy(), 16_000) for s in seconds
    ]


def batch_of(seconds):
    return {
        "audio": clips_of(seconds),
        "text_input": [f"What is in clip {i}?" for i in range(len(seconds))],
        "text_output": ["a bell" if i % 2 else "rain on a roof" for i in range(len(seconds))],
    }


@pytest.fixture
def untrimmed(monkeypatch):
    """`untrimmed()`: from then on nobody knows where clips end, and every column is computed."""

    def start():
        made = AudioEncoder.as_tokens
        without = staticmethod(lambda *args: replace(made(*args), lengths=None))
        monkeypatch.setattr(AudioEncoder, "as_tokens", without)

    return start


def variants(config, name):
    if name == "query runs":
        config["connectors"]["speech"] = {
            "type": "qformer",
            "encoders": ["whisper"],
            "args": {"window": 17, "hidden": 16, "heads": 2, "layers": 1, "dropout": 0.0},
        }
    if name == "queries":
        config["connectors"]["speech"] = {
            "type": "qformer",
            "encoders": ["whisper"],
            "args": {"queries": 3, "hidden": 16, "heads": 2, "layers": 1, "dropout": 0.0},
        }
    if name == "uneven runs":
        config["connectors"]["speech"]["args"] = {"pool": 5, "pooling": "mean"}
    if name == "overlap":
        config["encoders"] = {
            n: {**e, "features": {**e["features"], "overlap_s": 0.64}}
            for n, e in config["encoders"].items()
        }
    return config


@pytest.mark.parametrize("seconds", BATCHES.values(), ids=BATCHES)
@pytest.mark.parametrize(
    ("model_type", "variant"),
    [
        ("lal", ""),
        ("plits", ""),
        ("pal", ""),
        ("flamingo", ""),
        ("lal", "query runs"),
        ("pal", "queries"),
        ("plits", "uneven runs"),
        ("lal", "overlap"),
    ],
)
def test_loss_and_gradients_are_those_of_all_columns(
    tiny_config, untrimmed, model_type, variant, seconds
):
    torch.manual_seed(0)
    model = AudioLLM(**build_components(variants(tiny_config(model_type), variant))).eval()
    for block in model.cross_attention.values():
        torch.nn.init.constant_(block.gate_attention, 0.7)
    batch = batch_of(seconds)

    def measured():
        model.zero_grad()
        out = model(batch)
        out["loss"].backward()
        grads = torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        columns = sum(t.mask.shape[1] for t in model.encode_audio(batch).values())
        return out["per_row_loss"], grads, columns

    losses, grads, columns = measured()
    untrimmed()
    all_losses, all_grads, all_columns = measured()
    torch.testing.assert_close(losses, all_losses, rtol=1e-5, atol=0)
    torch.testing.assert_close(grads, all_grads, rtol=1e-3, atol=1e-6)
    if seconds == BATCHES["short"] and variant != "overlap":  # one window: joined as it is
        assert columns < 0.6 * all_columns
    elif seconds == BATCHES["two windows"]:
        assert columns < all_columns
    else:
        assert columns <= all_columns


@pytest.mark.parametrize("seconds", BATCHES.values(), ids=BATCHES)
@torch.no_grad()
def test_groups_end_with_their_longest_clip(tiny_model, seconds):
    for tokens in tiny_model("pal").encode_audio(batch_of(seconds)).values():
        assert tokens.mask.any(0)[-1]
        assert tokens.mask.shape[1] == int(tokens.lengths.max())
        if tokens.grid:
            assert tokens.grid[0] * tokens.grid[1] == tokens.mask.shape[1]
            assert tokens.cells().shape[1:3] == tokens.grid


@torch.no_grad()
def test_questions_about_the_short_clip_do_not_carry_the_long_one(tiny_model):
    model = tiny_model("lal")
    batch = batch_of((1.28, 0.2))
    short = {**batch, "clip_index": torch.tensor([1, 1])}
    rows = model._audio_rows(short, 2)
    both = model.encode_audio(batch)
    assert all(rows[g].mask.shape[1] < both[g].mask.shape[1] for g in both)
    once = model.encode(batch["audio"])
    kept = once.select(torch.tensor([1]))
    assert kept.routed.audio.mask.shape[1] == sum(t.mask.shape[1] for t in rows.values())
    assert all(
        k.shape[2] == kept.routed.audio.mask.shape[1] for k, _ in kept.routed.audio.clip_kv.values()
    )
    question = {"text_input": batch["text_input"][:1]}
    alone = model.predict_class({**question, "audio": batch["audio"][1:]}, ["rain", "a bell"])
    again = model.predict_class(question, ["rain", "a bell"], audio=kept)
    torch.testing.assert_close(alone["scores"], again["scores"], rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_a_compiled_model_sees_few_lengths(tiny_model):
    model = tiny_model("pal")
    batch = batch_of((0.3, 0.2))
    plain = model(batch)["per_row_loss"]
    model.columns_in = 64
    assert all(t.mask.shape[1] % 64 == 0 for t in model.encode_audio(batch).values())
    torch.testing.assert_close(model(batch)["per_row_loss"], plain, rtol=1e-5, atol=0)


def test_counts_stay_on_the_cpu():
    batch = {"audio": {"a": {"features": torch.ones(1), "frames": torch.ones(1, dtype=torch.long)}}}
    moved = to_device({**batch, "clip_index": torch.zeros(1)}, torch.device("meta"))
    assert moved["audio"]["a"]["features"].is_meta
    assert not moved["audio"]["a"]["frames"].is_meta
    assert not moved["clip_index"].is_meta


@torch.no_grad()
def test_counts_that_somebody_moved_come_back(tiny_model):
    """As DistributedDataParallel and LAVIS move a whole batch."""

    class Elsewhere(torch.Tensor):
        def cpu(self):
            return self.as_subclass(torch.Tensor)

    model = tiny_model("lal")
    batch = batch_of((1.5, 0.4))
    features = model.frontend.joined(batch)
    moved = {
        name: {k: v if k == "features" else v.as_subclass(Elsewhere) for k, v in entry.items()}
        for name, entry in features.items()
    }
    for entry in model.frontend.joined({"audio": moved}).values():
        assert type(entry["frames"]) is type(entry["windows"]) is torch.Tensor


@torch.no_grad()
def test_questions_of_uneven_number_keep_the_compiled_lengths(tiny_model):
    model = tiny_model("lal")
    model.columns_in = 64
    batch = {**batch_of((0.5, 0.3, 0.2)), "clip_index": torch.tensor([0, 2, 2])}
    del batch["text_output"]
    batch["audio"] = batch["audio"][:3]
    assert all(t.mask.shape[1] % 64 == 0 for t in model._audio_rows(batch, 3).values())
