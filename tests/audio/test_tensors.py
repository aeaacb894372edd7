"""Tensors as clips: whatever they carry, samples or an AudioError."""

import numpy as np
import pytest
import torch

from pal_plugin.audio.errors import AudioError
from pal_plugin.audio.identity import identified
from pal_plugin.audio.io import load_audio

TONE = (0.5 * torch.sin(torch.arange(4000) * 0.1)).float()

SAME = {
    "bfloat16": TONE.bfloat16(),
    "float64": TONE.double(),
    "with a gradient": TONE.clone().requires_grad_(),
    "a view": torch.stack([TONE, TONE], 1)[:, 0],
    "conjugate": torch.complex(torch.zeros(4000), -TONE).conj().imag,
    "a list of channels": [TONE, TONE],
    "a list of bfloat16": [TONE.bfloat16(), TONE.bfloat16()],
}


@pytest.mark.parametrize("kind", SAME)
def test_dense_tensors_are_heard(kind):
    for source in ((SAME[kind], 16000), identified((SAME[kind], 16000))[1]):
        waveform, rate_hz = load_audio(source)
        assert rate_hz == 16000
        torch.testing.assert_close(waveform, TONE, atol=2e-3, rtol=0)


@pytest.mark.parametrize(
    "samples", [TONE.to_sparse(), torch.zeros(9, device="meta"), [[0.0], [0.0, 1.0]]]
)
def test_others_are_audio_errors(samples):
    for hear in (load_audio, identified):
        with pytest.raises(AudioError, match="expected"):
            hear((samples, 16000))


def test_arrays_pass():
    assert np.array_equal(load_audio((TONE.numpy(), 16000))[0].numpy(), TONE.numpy())
