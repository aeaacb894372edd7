"""Transcripts: word errors by three rules."""

import pytest

from .conftest import Told, batch, evaluate, item


def test_transcripts_have_three_rates():
    says = {"a": "twenty one dogs, isn't it", "b": "One two"}
    samples = batch(item("transcript", "21 dogs is not it"), item("transcript", "one two"))
    task, _, entries = evaluate(Told(says), samples)
    entry = entries["transcript"]
    assert entry["wer_whisper"] == 0.0
    assert entry["wer_raw"] == pytest.approx((4 + 1) / (5 + 2))
    assert entry["wer"] == pytest.approx(4 / 7)
    assert "EnglishTextNormalizer" in task.describe("val")["transcript"]["how"]["wer_whisper"]
