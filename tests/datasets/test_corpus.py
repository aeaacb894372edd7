"""Original files as a dataset: what is there, what is missing, which questions are asked."""

import logging

import pytest

from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.datasets.corpus import CorpusClip, CorpusDataset, check_left_out, corpus_clips
from pal_plugin.datasets.questions import QuestionMix
from pal_plugin.utils.errors import ConfigError


@pytest.fixture
def clips(make_clips):
    """Three clips in two folds, the second of which is missing: `clips(where, required)`."""
    folder, csv = make_clips({"0.wav": "bell", "1.wav": "rain", "2.wav": "bell"})
    (folder / "1.wav").unlink()

    def make(where=None, required=False):
        audio = AudioFolder(folder)
        return corpus_clips("esc50", [csv], audio, where, split="val", required=required)

    return make


def test_clips_that_are_there_are_told_apart_from_those_that_are_not(clips, caplog):
    found, labels, left_out = clips()
    assert [clip.id for clip in found] == ["0", "2"]
    assert labels == ["bell", "rain"]
    assert left_out == ["1: no file; tried 1.wav"]
    assert "1 clips or questions of 'val' are unusable: 1: no file" in caplog.text
    assert [clip.id for clip in clips({"fold": 1}, required=True)[0]] == ["0", "2"]
    with pytest.raises(ConfigError, match=r"are unusable: 1: no f.*allow_missing=true"):
        clips(required=True)
    with pytest.raises(ConfigError, match="are unusable"):  # nothing is left
        clips({"fold": 2})


def test_what_is_left_out_is_counted_and_the_first_are_named(caplog):
    caplog.set_level(logging.WARNING)
    check_left_out([], split="val", required=True)
    assert not caplog.text
    with pytest.raises(ConfigError, match="30 clips or questions of 'val'") as told:
        check_left_out([f"c{n}" for n in range(30)], split="val", required=True)
    assert "c9" in str(told.value)
    assert "c29" not in str(told.value)


def test_a_later_pass_is_an_index_beyond_the_length(clips):
    found, _, _ = clips()
    mix = QuestionMix({"classification": 1.0}, None, 1)
    dataset = CorpusDataset(found, str, str.strip, mix, train=True)
    assert len(dataset) == 2
    assert dataset[1]["sample_id"] == dataset[3]["sample_id"] == "2"
    with pytest.raises(ConfigError, match="none of 2 clips .* tasks caption; found classif"):
        CorpusDataset(found, str, str.strip, QuestionMix({"caption": 1.0}, None, 1))


def test_all_clips_of_conversations_count(tmp_path):
    items = [{"task": "classification", "question": "q", "answer": "a", "question_type": "t"}]
    paths = [tmp_path, (tmp_path,) * 3, ()]
    clips = [CorpusClip(str(number), path, items) for number, path in enumerate(paths)]
    mix = QuestionMix({"classification": 1.0}, None, 1)
    dataset = CorpusDataset(clips, str, str.strip, mix)
    assert len(dataset) == 3
    assert dataset.audio_clips() == 4
