"""Encoders that give hidden states by index, and models that read them."""

import pytest
import torch

from pal_plugin.encoders import build_encoder
from pal_plugin.encoders.base import by_output, outputs_of
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.build import build_components
from pal_plugin.models.checkpoint import load, save

AST = {"type": "ast", "model": {"hidden_size": 16, "num_hidden_layers": 2}, "features": {}}
AST["model"] |= {"num_attention_heads": 2, "intermediate_size": 16}


def built(entry, hidden_states=None):
    torch.manual_seed(0)
    return build_encoder(**entry, hidden_states=hidden_states).eval()


def entries(tiny_config):
    deep = {"whisper": {"encoder_layers": 3}, "sslam": {"depth": 3}}
    found = dict(tiny_config("pal")["encoders"])
    for name, sizes in deep.items():
        found[name] = {**found[name], "model": {**found[name]["model"], **sizes}}
    return {**found, "ast": AST}


@torch.no_grad()
@pytest.mark.parametrize("name", ["whisper", "sslam", "ast"])
def test_states_are_what_leaves_the_layers(tiny_config, name):
    entry = entries(tiny_config)[name]
    hear = AudioFrontend({name: entry})
    clip = hear((torch.randn(12_000).numpy() * 0.1, 16_000))[name]
    whole = built(entry)
    seen = []
    for layer in whole.stack:
        layer.register_forward_hook(
            lambda m, a, out: seen.append(out if torch.is_tensor(out) else out[0])
        )
    plain = whole(clip["features"], clip["frames"])
    last = len(whole.stack)
    tokens = by_output(
        name, chosen := built(entry, [1, last]), chosen(clip["features"], clip["frames"])
    )
    assert list(tokens) == [f"{name}@1", f"{name}@{last}"] == outputs_of(name, [1, last])
    for state, raw in zip(tokens.values(), (seen[0], seen[-1]), strict=True):
        assert state.features.shape == plain.features.shape
        assert torch.equal(state.mask, plain.mask)
        assert state.grid == plain.grid
        if name == "whisper":
            assert torch.equal(state.features, raw)
    if name == "sslam":  # nothing comes behind its last block
        assert torch.equal(tokens[f"sslam@{last}"].features, plain.features)
    if name == "whisper":
        normed = whole.encoder.layer_norm(tokens[f"whisper@{last}"].features)
        torch.testing.assert_close(normed, plain.features)


@torch.no_grad()
def test_layers_that_no_state_needs_are_not_there(tiny_config):
    entry = entries(tiny_config)["whisper"]
    clip = AudioFrontend({"whisper": entry})((torch.zeros(8_000).numpy(), 16_000))["whisper"]
    shallow, both = built(entry, [1]), built(entry, [0, 1, 3])
    assert len(shallow.stack) == 1
    assert len(both.stack) == 3
    first = both(clip["features"], clip["frames"]).features[..., shallow.width : 2 * shallow.width]
    assert torch.equal(shallow(clip["features"], clip["frames"]).features, first)


@pytest.mark.parametrize("wrong", [[], [2, 1], [1, 1], [-1], [9]])
def test_states_that_are_not_there(tiny_config, wrong):
    with pytest.raises(ValueError, match="increasing indices from 0 .* to 3"):
        built(entries(tiny_config)["whisper"], wrong)


def test_layers_of_many_sizes_give_none(tiny_config):
    with pytest.raises(ValueError, match="not available for CLAP: its layers differ in size"):
        built(entries(tiny_config)["clap"], [1])


def config_of(tiny_config):
    """Shallow states to one layer of the LLM, deep ones to the other."""
    config = tiny_config("lal")
    config["encoders"] = {"whisper": {**entries(tiny_config)["whisper"], "hidden_states": [1, 3]}}
    config["connectors"] = {
        name: {"type": "mlp", "encoders": [f"whisper@{i}"], "args": {"pool": 8}}
        for name, i in (("shallow", 1), ("deep", 3))
    }
    config["routing"] = {
        "shallow": {"integration": "lal", "layers": [0]},
        "deep": [{"integration": "plits", "pool": 2}, {"integration": "lal", "layers": [1]}],
    }
    return config


def test_a_model_sends_shallow_states_to_one_layer_and_deep_ones_to_another(
    tiny_config, two_clips, tmp_path
):
    torch.manual_seed(0)
    model = AudioLLM(**build_components(config_of(tiny_config)))
    out = model(two_clips)
    out["loss"].backward()
    for connector in model.connectors.values():
        assert all(p.grad.abs().sum() > 0 for p in connector.fc2.parameters())
    save(model, tmp_path / "some.safetensors")
    torch.manual_seed(1)
    other = AudioLLM(**build_components(config_of(tiny_config)))
    other.encoders.load_state_dict(model.encoders.state_dict())
    load(other, tmp_path / "some.safetensors")
    model.eval()
    other.eval()
    with torch.no_grad():
        torch.testing.assert_close(other(two_clips)["loss"], model(two_clips)["loss"])
        kept = model.encode(two_clips["audio"])
        questions = {"text_input": two_clips["text_input"]}
        assert model.generate(questions, audio=kept) == model.generate(two_clips)


def test_every_state_is_read(tiny_config):
    config = config_of(tiny_config)
    config["encoders"]["whisper"]["hidden_states"] = [1, 2, 3]
    with pytest.raises(ValueError, match="whisper@2"):
        build_components(config)


def test_nothing_behind_the_states_is_left_to_train(tiny_config):
    entry = entries(tiny_config)["whisper"]
    clip = AudioFrontend({"whisper": entry})((torch.zeros(8_000).numpy(), 16_000))["whisper"]
    encoder = build_encoder(**entry, hidden_states=[2]).train()
    encoder(clip["features"], clip["frames"]).features.sum().backward()
    trained = {n: p for n, p in encoder.named_parameters() if p.requires_grad}
    assert all(p.grad is not None for p in trained.values()), list(trained)
    dropping = {**entry, "model": {**entry["model"], "encoder_layerdrop": 0.1}}
    with pytest.raises(ValueError, match="encoder_layerdrop: 0"):
        build_encoder(**dropping, hidden_states=[2])
