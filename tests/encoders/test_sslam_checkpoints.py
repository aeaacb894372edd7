"""SSLAM's and EAT's checkpoints: every layout, every file type, the reference's numbers."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from pal_plugin.encoders import SSLAM, build_encoder

FIXTURE = Path(__file__).parents[3] / "shared" / "fixtures" / "sslam_tiny.safetensors"
needs_fixture = pytest.mark.skipif(not FIXTURE.exists(), reason="../shared/fixtures is not here")
SIZE = {"embed_dim": 16, "depth": 2, "num_heads": 4}
IMAGE = "modality_encoders.IMAGE."
FAIRSEQ = {
    "cls_token": IMAGE + "extra_tokens",
    "patch_embed.proj.": IMAGE + "local_encoder.proj.",
    "pos_embed": IMAGE + "fixed_positional_encoder.positions",
    "norm_pre.": IMAGE + "context_encoder.norm.",
}
HUGGING_FACE = {
    "cls_token": "extra_tokens",
    "patch_embed.proj.": "local_encoder.proj.",
    "pos_embed": "fixed_positional_encoder.positions",
    "norm_pre.": "pre_norm.",
}


def renamed(weights: dict, names: dict[str, str], prefix: str = "") -> dict:
    result = {}
    for key, value in weights.items():
        for timm, other in names.items():
            if key.startswith(timm):
                key = other + key[len(timm) :]
                break
        result[prefix + key] = value.clone()
    return result


def pretrained(weights: dict) -> dict:
    """fairseq's pretraining file: decoder and teacher are nobody's business here."""
    extra = {
        IMAGE + "decoder.blocks.0.0.weight": torch.zeros(3),
        "_ema": {"blocks.0.norm1.weight": torch.full((4,), 9.0)},
    }
    return renamed(weights, FAIRSEQ) | extra


def fine_tuned(weights: dict) -> dict:
    width = weights["cls_token"].shape[-1]
    head = {"model.fc_norm.weight": torch.zeros(width), "model.fc_norm.bias": torch.zeros(width)}
    head |= {"model.head.weight": torch.zeros(5, width), "model.head.bias": torch.zeros(5)}
    return renamed(weights, FAIRSEQ, "model.") | head


def on_the_hub(weights: dict) -> dict:
    return renamed(weights, HUGGING_FACE, "model.")


def on_the_hub_fine_tuned(weights: dict) -> dict:
    """EAT has it so: `fc_norm` and `head` beside the same layout."""
    width = weights["cls_token"].shape[-1]
    head = {"model.fc_norm.weight": torch.zeros(width), "model.head.bias": torch.zeros(5)}
    return on_the_hub(weights) | head


def timm_style(weights: dict) -> dict:
    return {key: value.clone() for key, value in weights.items()}


LAYOUTS = [timm_style, pretrained, fine_tuned, on_the_hub, on_the_hub_fine_tuned]


def write(content: dict, folder: Path, kind: str) -> Path:
    if kind == "safetensors":
        path = folder / "weights.safetensors"
        save_file({k: v for k, v in content.items() if isinstance(v, torch.Tensor)}, path)
    elif kind == "folder":
        path = folder
        save_file(
            {k: v for k, v in content.items() if isinstance(v, torch.Tensor)},
            folder / "model.safetensors",
        )
    else:
        path = folder / f"weights.{kind}"
        torch.save({"model": content, "args": None, "last_optimizer_state": {}}, path)
    return path


@pytest.fixture(scope="module")
def weights() -> dict[str, torch.Tensor]:
    """Random weights in timm's layout, with a position table of random numbers and 40 rows."""
    torch.manual_seed(0)
    state = {
        key: torch.randn_like(v) for key, v in SSLAM(**SIZE, window_s=0.8).state_dict().items()
    }
    return state | {"pos_embed": torch.randn(1, 40, SIZE["embed_dim"])}


@pytest.mark.parametrize("kind", ["safetensors", "pt", "folder"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_arrives_in_the_module(weights, tmp_path, layout, kind):
    path = write(layout(weights), tmp_path, kind)
    encoder = SSLAM.from_checkpoint(path, **SIZE, window_s=0.8)
    arrived = encoder.state_dict() | {"pos_embed": encoder.pos_embed}
    assert arrived.keys() == weights.keys()
    for key, value in weights.items():
        assert torch.equal(arrived[key], value), key
    # 40 rows are 5 time cells: the table's length is the file's.
    with pytest.raises(ValueError, match="covers 5 time cells, the input has 6"):
        encoder(torch.zeros(1, 1, 96, 128))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_other_key_is_dropped_and_none_may_be_missing(weights, tmp_path, layout):
    content = layout(weights)
    absent = next(key for key in content if key.endswith("blocks.1.attn.qkv.bias"))
    del content[absent]
    surplus = absent.replace("blocks.1", "blocks.2").replace("qkv", "q_norm")
    content[surplus] = torch.zeros(4)
    content["lm_head.weight"] = torch.zeros(4)
    with pytest.raises(ValueError, match="does not fit SSLAM") as error:
        SSLAM.from_checkpoint(write(content, tmp_path, "pt"), **SIZE)
    assert "missing keys: blocks.1.attn.qkv.bias;" in str(error.value)
    assert "unexpected keys: blocks.2.attn.q_norm.bias, lm_head.weight" in str(error.value)


def test_the_defaults_are_the_base_model(weights, tmp_path):
    with pytest.raises(
        ValueError, match=r"expected pos_embed \[1, cells, 768\], got \(1, 40, 16\)"
    ):
        SSLAM.from_checkpoint(write(weights, tmp_path, "safetensors"))


@pytest.fixture(scope="module")
def case() -> dict[str, torch.Tensor]:
    with safe_open(FIXTURE, "pt") as file:
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
        size = {k: int(file.metadata()[k]) for k in ("embed_dim", "depth", "num_heads")}
    fairseq = {key[2:]: value for key, value in tensors.items() if key.startswith("w.")}
    to_timm = {other: timm for timm, other in FAIRSEQ.items()}
    timm = renamed({k: v for k, v in fairseq.items() if "decoder" not in k}, to_timm)
    return {"mel": tensors["mel"], "features": tensors["features"], "timm": timm, "size": size}


@pytest.mark.shared
@needs_fixture
@pytest.mark.parametrize("kind", ["safetensors", "pt"])
@pytest.mark.parametrize("layout", LAYOUTS)
@torch.no_grad()
def test_reference_numbers_in_every_layout(case, tmp_path, layout, kind):
    path = write(layout(case["timm"]), tmp_path, kind)
    encoder = build_encoder("sslam", case["size"], path).eval()
    assert encoder.pos_embed.shape[1] == 512
    tokens = encoder(case["mel"])
    assert tokens.grid == (64, 8)
    torch.testing.assert_close(tokens.features, case["features"], atol=1e-4, rtol=0)


@pytest.mark.shared
@needs_fixture
@pytest.mark.parametrize("time_cells", [1, 5, 32])
@torch.no_grad()
def test_short_inputs_follow_the_formulas(case, tmp_path, time_cells):
    """The fixture's long case proves this computation; it then is the reference of short ones."""
    weights, heads = case["timm"], case["size"]["num_heads"]
    depth = case["size"]["depth"]

    def reference(mel: torch.Tensor) -> torch.Tensor:
        def norm(x, name):
            return torch.nn.functional.layer_norm(
                x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"], 1e-6
            )

        def linear(x, name):
            return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]

        patches = mel[:, 0].unfold(1, 16, 16).unfold(2, 16, 16).flatten(3).flatten(1, 2)
        x = patches @ weights["patch_embed.proj.weight"].flatten(1).T
        x = x + weights["patch_embed.proj.bias"] + weights["pos_embed"][:, : x.shape[1]]
        x = norm(torch.cat([weights["cls_token"].expand(len(x), -1, -1), x], dim=1), "norm_pre")
        for block in (f"blocks.{n}" for n in range(depth)):
            q, k, v = (
                linear(x, f"{block}.attn.qkv").unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)
            )
            share = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
            mixed = linear((share @ v).transpose(1, 2).flatten(2), f"{block}.attn.proj")
            x = norm(x + mixed, f"{block}.norm1")
            hidden = torch.nn.functional.gelu(linear(x, f"{block}.mlp.fc1"))
            x = norm(x + linear(hidden, f"{block}.mlp.fc2"), f"{block}.norm2")
        return x[:, 1:]

    torch.testing.assert_close(reference(case["mel"]), case["features"], atol=1e-4, rtol=0)
    encoder = SSLAM.from_checkpoint(write(weights, tmp_path, "safetensors"), **case["size"]).eval()
    short = case["mel"][:, :, : 16 * time_cells]
    torch.testing.assert_close(encoder(short).features, reference(short), atol=1e-4, rtol=0)
