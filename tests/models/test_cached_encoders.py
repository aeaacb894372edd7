"""A model whose encoders' states are kept is the model without: losses and gradients bit by bit."""

import pytest
import torch

from pal_plugin.encoders.cache import CacheSettings, EncoderCache
from pal_plugin.encoders.frontend import AudioFrontend
from pal_plugin.models.build import build_components


def step(model, samples):
    """Loss and gradients, as bytes would compare."""
    model.zero_grad()
    loss = model(samples)["loss"]
    loss.backward()
    return [loss.detach(), *(p.grad.clone() for p in model.connectors.parameters())]


@pytest.mark.parametrize("model_type", ["plits", "lal", "flamingo"])
def test_a_training_step_is_the_same_bit_for_bit(
    tiny_model, tiny_config, two_clips, tmp_path, model_type, monkeypatch
):
    model = tiny_model(model_type, connectors="full", llm="frozen")
    frontend = AudioFrontend(tiny_config(model_type)["encoders"])

    def batch():
        return {**two_clips, "audio": frontend.collate([frontend(c) for c in two_clips["audio"]])}

    plain = step(model, batch())
    model.caches = {n: EncoderCache(n, CacheSettings(folder=str(tmp_path))) for n in model.encoders}
    front_ends = model.frontend.features
    frontend.look_in(
        {n: cache.open(model.encoders[n], front_ends[n]) for n, cache in model.caches.items()}
    )
    first = step(model, batch())
    for cache in model.caches.values():
        cache.flush()
    for encoder in model.encoders.values():
        monkeypatch.setattr(type(encoder), "forward", None)
    cached = step(model, batch())
    for steps in (first, cached):
        assert all(torch.equal(a, b) for a, b in zip(plain, steps, strict=True))


def test_a_cache_of_encoders_that_train_is_refused(tiny_config):
    config = tiny_config("lal", encoders="full")
    sslam = {**config["encoders"]["sslam"], "cache": True}
    config["encoders"] = {**config["encoders"], "sslam": sslam}
    with pytest.raises(ValueError, match=r"encoders\.sslam\.cache.*stage\.encoders is full"):
        build_components(config)


def test_a_cache_belongs_to_the_machine_and_not_to_a_saved_model(tiny_config, tmp_path):
    from pal_plugin.models.audio_llm import AudioLLM

    config = tiny_config("lal")
    sslam = {**config["encoders"]["sslam"], "cache": {"folder": str(tmp_path / "mine")}}
    config["encoders"] = {**config["encoders"], "sslam": sslam}
    model = AudioLLM.from_config(config)
    assert list(model.caches) == ["sslam"]
    folder = model.save_pretrained(tmp_path / "saved")
    assert "mine" not in (folder / "config.json").read_text()
    assert not AudioLLM.from_pretrained(folder).caches
