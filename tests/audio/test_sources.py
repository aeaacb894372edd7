"""The forms of a clip: what Hugging Face's datasets give is one too."""

import io
from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
import torch

from pal_plugin.audio.errors import AudioError
from pal_plugin.audio.identity import identified
from pal_plugin.audio.io import is_one_clip, load_audio

TONE = (0.5 * np.sin(np.arange(4000) * 0.1)).astype(np.float32)


class Decoder:
    """As torchcodec's `AudioDecoder`, which datasets 4 hands out."""

    def __init__(self, samples=TONE):
        self.samples = samples

    def get_all_samples(self):
        data = torch.from_numpy(np.atleast_2d(self.samples))
        return SimpleNamespace(data=data, sample_rate=16000, pts_seconds=0.0)

    def __getitem__(self, key):  # the old form still works there
        return {"array": self.samples, "sampling_rate": 16000}[key]


def wav() -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, TONE, 16000, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


FORMS = {
    "array": lambda path: {"array": TONE, "sampling_rate": 16000},
    "array with a path": lambda path: {"array": TONE, "sampling_rate": 16000, "path": None},
    "list": lambda path: {"array": TONE.tolist(), "sampling_rate": 16000, "path": "gone.wav"},
    "tensor": lambda path: {"array": torch.from_numpy(TONE), "sampling_rate": 16000},
    "bytes": lambda path: {"bytes": wav(), "path": "gone.wav"},
    "path": lambda path: {"bytes": None, "path": str(path)},
    "bytes beside no array": lambda path: {"array": None, "sampling_rate": None, "bytes": wav()},
    "more keys": lambda path: {"array": TONE, "sampling_rate": 16000, "id": 7},
    "rate of numpy": lambda path: {"array": TONE, "sampling_rate": np.asarray(16000)},
    "rate of torch": lambda path: (torch.from_numpy(TONE), torch.tensor(16000)),
    "decoder": lambda path: Decoder(),
    "decoded": lambda path: Decoder().get_all_samples(),
    "stereo decoder": lambda path: Decoder(np.stack([TONE, TONE])),
}


@pytest.mark.parametrize("form", FORMS)
def test_what_datasets_give_is_heard(form, tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(wav())
    clip = FORMS[form](path)
    assert is_one_clip(clip)
    for source in (clip, identified(clip)[1]):
        waveform, rate_hz = load_audio(source)
        assert rate_hz == 16000
        torch.testing.assert_close(waveform, torch.from_numpy(TONE), atol=0, rtol=0)


@pytest.mark.parametrize(
    "clip",
    [
        {"array": TONE},
        {"sampling_rate": 16000},
        {"bytes": None, "path": None},
        {"text": "a dog"},
        {},
    ],
)
def test_a_mapping_without_audio_is_refused_by_its_keys(clip):
    with pytest.raises(AudioError, match="expected a path.*'sampling_rate'.*got a mapping of"):
        load_audio(clip)


def test_features_of_encoders_are_no_clip():
    assert not is_one_clip({"whisper": {"features": torch.zeros(1)}})


def test_files_that_cannot_be_read_are_refused(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(wav())
    with path.open("rb") as file:
        pass
    writing = (tmp_path / "new.wav").open("wb")
    for source in (file, writing, "a\0b.wav", tmp_path):
        with pytest.raises(AudioError, match="cannot (open|read)"):
            load_audio(source)
    writing.close()


def test_a_decoder_that_fails_is_an_audio_error():
    class Broken:
        def get_all_samples(self):
            raise RuntimeError("Could not push packet to decoder")

    with pytest.raises(AudioError, match=r"clip of a Broken: Could not push packet"):
        load_audio(Broken())


def test_files_whose_reading_fails_in_other_ways_are_refused():
    class Cut:
        name = "cut.wav.gz"

        def read(self):
            raise EOFError("Compressed file ended")

    with pytest.raises(AudioError, match=r"cannot read cut\.wav\.gz: Compressed file ended"):
        load_audio(Cut())


def test_a_file_that_was_just_written_is_to_be_rewound():
    file = io.BytesIO()
    soundfile.write(file, TONE, 16000, format="WAV", subtype="FLOAT")
    with pytest.raises(AudioError, match=r"0 bytes.*seek\(0\)"):
        load_audio(file)
    file.seek(0)
    assert len(load_audio(file)[0]) == len(TONE)
