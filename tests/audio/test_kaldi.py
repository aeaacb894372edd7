"""Kaldi's filter bank for batches: torchaudio's numbers, and windows cut without losing a frame."""

import pytest
import torch
from torchaudio.compliance import kaldi

from pal_plugin.audio.kaldi import FLOOR, filter_banks, windowed_filter_bank


def noise(*lengths):
    generator = torch.Generator().manual_seed(0)
    return [0.1 * torch.randn(n, generator=generator) for n in lengths]


@pytest.mark.parametrize("n_mels", [23, 128])
def test_clips_together_give_what_torchaudio_gives_one_by_one(n_mels):
    clips = noise(400, 559, 560, 8000)
    banks = filter_banks(clips, n_mels)
    assert [len(bank) for bank in banks] == [1, 1, 2, 48]
    for clip, bank in zip(clips, banks, strict=True):
        expected = kaldi.fbank(
            clip[None],
            htk_compat=True,
            sample_frequency=16000,
            window_type="hanning",
            num_mel_bins=n_mels,
            dither=0.0,
        )
        torch.testing.assert_close(bank, expected, rtol=1e-4, atol=1e-4)


def test_silence_is_the_floor():
    (bank,) = filter_banks([torch.zeros(800)], 8)
    assert torch.equal(bank, torch.full_like(bank, FLOOR).log())


def test_windows_are_cut_from_one_bank_and_the_rest_is_zero():
    clip, short = noise(16 * 160 + 400, 100)
    cut, frames = windowed_filter_bank([clip, short], [3, 1], 8, 10, 4)
    (whole,) = filter_banks([clip], 4)  # 17 frames
    assert frames == [10, 9, 1, 1]  # a clip shorter than a frame is filled up to one
    torch.testing.assert_close(cut[0], whole[:10])
    torch.testing.assert_close(cut[1, :9], whole[8:17])
    torch.testing.assert_close(cut[2, :1], whole[16:])
    assert not cut[1, 9:].any()
    assert not cut[2, 1:].any()
    assert not cut[3, 1:].any()


def test_the_arithmetic_is_in_the_clips_type():
    (clip,) = noise(800)
    (exact,), (single,) = filter_banks([clip.double()], 8), filter_banks([clip], 8)
    assert (exact.dtype, single.dtype) == (torch.float64, torch.float32)
    torch.testing.assert_close(exact.float(), single, rtol=1e-4, atol=1e-4)
