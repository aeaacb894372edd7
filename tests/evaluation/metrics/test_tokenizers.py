"""Words as Stanford's PTB tokenizer cuts them, or by the plain one."""

import pytest

from pal_plugin.evaluation.metrics.captioning import caption_scores
from pal_plugin.evaluation.metrics.missing import MissingScoreError
from pal_plugin.evaluation.metrics.tokenizers import PLAIN, tokenize

from .conftest import CANDIDATES, REFERENCES, needs_java


@needs_java
def test_ptb_cuts_as_pycocoevalcap_does():
    from pycocoevalcap.tokenizer.ptbtokenizer import PTBTokenizer

    captions = ["A dog's barking, loudly...", "", "two\nlines (here)", "\u00f6?"]
    words, name = tokenize(captions, "ptb")
    asked = {i: [{"caption": caption}] for i, caption in enumerate(captions)}
    theirs = PTBTokenizer().tokenize(asked)
    assert words == [theirs[i][0] for i in range(4)]
    # Its brackets are lower case and so escape its own list of punctuation; published scores too.
    assert words == ["a dog 's barking loudly", "", "two lines -lrb- here -rrb-", "\u00f6"]
    assert "PTB" in name


def test_without_java_the_plain_tokenizer_is_used_and_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    assert tokenize(["It's a DOG-bark!"], "auto") == (["it's a dog bark"], PLAIN)
    with pytest.raises(MissingScoreError, match="java is not on the PATH"):
        tokenize(["x"], "ptb")
    found = caption_scores(CANDIDATES, REFERENCES, "auto", ["rouge_l", "meteor"])
    assert set(found.scores) == {"rouge_l"}
    assert "default-jre" in found.missing["meteor"]
    by_name = caption_scores(CANDIDATES, REFERENCES, "ptb", ["rouge_l"])
    assert not by_name.scores
    assert "java" in by_name.missing["rouge_l"]


def test_the_plain_tokenizer_cuts_at_marks_of_any_script_and_not_within_words():
    captions = [
        "It\u2019s \u201crain\u201d\u2026",
        "cafe\u0301",
        "\u0939\u093f\u0928\u094d\u0926\u0940\u0964",
    ]
    words, _ = tokenize(captions, "plain")
    assert words == ["it's rain", "caf\u00e9", "\u0939\u093f\u0928\u094d\u0926\u0940"]
