"""The digits as their recipes have them."""

import io
from pathlib import Path

import numpy as np
import pytest
import soundfile

from pal_plugin.audio.decoding import AudioError
from pal_plugin.corpora.fetching.archive import Clip
from pal_plugin.corpora.fetching.fsdd import Fsdd

from .conftest import FSDD_CLIPS, FSDD_SAMPLES, encoded, samples

SHARED = Path(__file__).parents[4] / "shared" / "data" / "audio" / "fsdd"


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("recordings/3_theo_12.wav", "3_theo_12.flac"),
        ("recordings/3_george_50.wav", None),  # the recipes' speakers are in the table
        ("recordings/../3_theo_12.wav", None),
        ("recordings/3_theo_12.flac", None),
        ("3_theo_12.wav", None),
    ],
)
def test_other_speakers_by_their_names_only(path, name):
    assert Fsdd().other(path) == (Clip(path, name, None) if name else None)


def test_flac_has_the_samples_of_the_wav():
    wav = FSDD_CLIPS["recordings/7_nicolas_3.wav"]
    flac = Fsdd().kept(wav)
    assert flac.startswith(b"fLaC")
    kept, rate_hz = soundfile.read(io.BytesIO(flac), dtype="int16")
    assert rate_hz == 8000
    np.testing.assert_array_equal(kept, FSDD_SAMPLES["7_nicolas_3"])
    assert Fsdd().digest(flac) == Fsdd().digest(wav)


@pytest.mark.parametrize(
    "data", [encoded(samples(0), 16000), encoded(np.stack([samples(0)] * 2, axis=1))]
)
def test_another_kind_of_file_is_refused(data):
    with pytest.raises(AudioError, match="16-bit mono PCM at 8000 Hz"):
        Fsdd().digest(data)


def test_a_wav_that_is_truncated_is_refused():
    with pytest.raises(AudioError, match="truncated"):
        Fsdd().digest(FSDD_CLIPS["recordings/7_nicolas_3.wav"][:-500])


def test_other_speakers_are_a_table_of_their_own(small, tmp_path):
    source = Fsdd()
    clips = [*source.known(), source.other("recordings/1_theo_0.wav")]
    for clip in clips:
        (tmp_path / clip.name).write_bytes(source.kept(FSDD_CLIPS[clip.path]))
    tables = source.tables(clips, tmp_path)
    assert tables["fsdd.csv"].splitlines() == [
        "file,digit,speaker,index,seconds",
        "0_george_0.flac,0,george,0,0.25",
        "0_george_10.flac,0,george,10,0.2501",
        "7_nicolas_3.flac,7,nicolas,3,0.2502",
    ]
    assert tables["fsdd_other_speakers.csv"].splitlines()[1] == "1_theo_0.flac,1,theo,0,0.2504"


@pytest.mark.shared
def test_the_table_that_recipes_read_comes_out_byte_for_byte():
    if not SHARED.is_dir():
        pytest.skip("needs the development data in ../shared")
    source = Fsdd()
    assert source.tables(source.known(), SHARED) == {"fsdd.csv": (SHARED / "fsdd.csv").read_text()}
    for clip in source.known()[::100]:
        assert source.digest((SHARED / clip.name).read_bytes()) == clip.sha256
