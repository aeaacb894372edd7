"""Sentences: what the file must be, and how splits are held apart."""

import re
from random import Random

from pal_plugin.spoken import texts
from pal_plugin.spoken.settings import SPLITS


def test_the_file_holds_short_plain_sentences_once():
    everything = [text for split in SPLITS for text in texts.sentences(split)]
    assert len(everything) == len(set(everything)) > 1000
    for text in everything:
        assert re.fullmatch(r"[a-z']+( [a-z']+){2,8}", text), text
    assert texts.FILE.read_text("utf-8").startswith("# English sentences sampled from SmolLM2")


def test_splits_share_no_sentence_and_have_their_sizes():
    train, val, test = (set(texts.sentences(split)) for split in SPLITS)
    assert train.isdisjoint(val | test)
    assert val.isdisjoint(test)
    total = len(train) + len(val) + len(test)
    assert 0.87 < len(train) / total < 0.93
    assert 0.03 < len(val) / total < 0.07
    assert all(texts.split_of(text) == "val" for text in val)


def test_sequences_are_common_words_of_training_in_their_own_split():
    words = set(texts.vocabulary())
    trained = {word for text in texts.sentences("train") for word in text.split()}
    assert words <= trained
    assert {"dog", "house"} <= words
    assert not words & {"sea", "see", "their", "two"}
    for split in SPLITS:
        rng = Random(1)
        for _ in range(30):
            text = texts.sequence(split, rng)
            assert 2 <= len(text.split()) <= 4
            assert set(text.split()) <= words
            assert texts.split_of(text) == split


def test_the_digest_follows_what_is_said(monkeypatch, tmp_path):
    def fresh():
        for cached in (texts._all_sentences, texts.sentences, texts.vocabulary):
            cached.cache_clear()
        return texts.digest()

    before = fresh()
    file = tmp_path / "sentences.txt"
    file.write_text(texts.FILE.read_text("utf-8") + "one more of them\n")
    monkeypatch.setattr(texts, "FILE", file)
    assert fresh() != before
    monkeypatch.undo()
    assert fresh() == before
