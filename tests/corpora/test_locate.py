"""Names in annotations to files: found under other names, never outside of the folder."""

import os
import unicodedata

import pytest

from pal_plugin.corpora.locate import AudioFolder, without_extension, youtube_names
from pal_plugin.utils.errors import ConfigError


@pytest.fixture
def folder(tmp_path):
    def make(*names):
        for name in names:
            path = tmp_path / "audio" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(b"x")
        return AudioFolder(tmp_path / "audio")

    return make


@pytest.mark.parametrize(
    ("there", "asked"),
    [
        ("a.wav", "a.wav"),
        ("a.flac", "a.wav"),  # another extension
        ("a.flac", "a"),  # none
        ("A.WAV", "A.wav"),
        ("x/a.wav", "x/a.wav"),
        ("x/a.wav", "./x/a.wav"),
        ("x/a.wav", "/data/them/x/a.flac"),  # a path on the authors' disk
        ("x/a.wav", "a.wav"),  # deeper
        ("v1.2 (mix).wav", "v1.2 (mix)"),  # dots that are no extension
        ("a.wav", "C:\\data\\a.wav"),
        (unicodedata.normalize("NFD", "Öl.wav"), unicodedata.normalize("NFC", "Öl.wav")),
    ],
)
def test_a_file_is_found_under_the_names_it_goes_by(folder, there, asked):
    assert folder(there).find(asked) == (there, "")


def test_the_first_name_that_is_there_wins(folder):
    files = folder("Yabc_30.flac", "abc.wav")
    assert files.find(*youtube_names("abc", 30, 40))[0] == "Yabc_30.flac"
    assert files.find(*youtube_names("zzz", 30, 40))[0] is None


def test_a_name_with_a_path_beats_the_same_name_elsewhere(folder):
    files = folder("train/1.wav", "test/1.wav")
    assert files.find("test/1.wav")[0] == "test/1.wav"
    found, why = files.find("1.wav")
    assert found is None
    assert "ambiguous name, 2 files match" in why


def test_no_name_leads_out_of_the_folder(folder, tmp_path):
    (tmp_path / "secret.wav").write_bytes(b"x")
    files = folder("a.wav")
    for name in ("../secret.wav", str(tmp_path / "secret.wav"), "../audio/../secret.wav", "..", ""):
        assert files.find(name)[0] is None
    assert files.find("../../a.wav") == ("a.wav", "")


def test_links_that_lead_back_do_not_hang(folder, tmp_path):
    folder("a.wav")
    os.symlink(tmp_path / "audio", tmp_path / "audio" / "again")
    assert list(AudioFolder(tmp_path / "audio").files) == ["a.wav"]


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(ConfigError, match="no audio folder at .*nowhere"):
        AudioFolder(tmp_path / "nowhere")


def test_only_audio_extensions_are_taken_off():
    assert [without_extension(n) for n in ("a.b.wav", "a.b", ".wav")] == ["a.b", "a.b", ".wav"]
