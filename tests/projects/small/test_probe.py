"""The probe on the pocket Whisper; the states it reads are the encoder's."""

import json

import numpy as np
import pytest

from pal_plugin.config.zoo import type_section
from pal_plugin.models.build import build_encoders

pytest.importorskip("sklearn", reason="the probe needs scikit-learn")


def test_a_layer_for_each_state_and_the_end(script, pitches):
    probe = script("probe")
    ear = probe.Ear("lal")
    clip = pitches.train[0].path
    stock = build_encoders({"whisper": type_section("lal")["encoders"]["whisper"]})["whisper"]
    assert ear.layers == [*map(str, range(len(stock.stack) + 1)), "end"]
    heard = ear.frontend.joined({"audio": [str(clip)]})["whisper"]
    tokens = stock.eval()(heard["features"], heard["frames"])
    states = tokens.features[tokens.mask].detach()
    assert states.shape == (25, stock.width)  # half a second
    expected = np.concatenate([states.mean(0), states.std(0, correction=0)])
    found = ear.statistics(clip)
    assert found.shape == (len(ear.layers), 2 * stock.width)
    np.testing.assert_allclose(found[-1], expected, atol=1e-5)
    assert not np.allclose(found[0], found[1])


def test_it_tells_high_from_low(script, pitches, monkeypatch, capsys):
    probe = script("probe")
    monkeypatch.setattr(probe, "domains", lambda audio: [pitches])
    assert probe.main(["--audio", ".", "--model-type", "lal"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed["0"]["pitch"] == {"accuracy": 1.0, "n": 4}
    assert printed["settings"] == {"model_type": "lal", "C": 0.05}


def test_a_model_without_whisper_is_named(script, monkeypatch):
    probe = script("probe")
    monkeypatch.setattr(
        probe, "type_section", lambda name: {"encoders": {"clap": {"type": "clap"}}}
    )
    with pytest.raises(ValueError, match=r"'deaf' has no Whisper, only \['clap'\]"):
        probe.Ear("deaf")
