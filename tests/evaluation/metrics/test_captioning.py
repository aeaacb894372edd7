"""Captioning scores: the packages' own examples, counts by hand, and what is missing by name."""

import math
import sys

import pytest

from pal_plugin.evaluation.metrics import captioning
from pal_plugin.evaluation.metrics.captioning import caption_scores
from pal_plugin.evaluation.metrics.missing import MissingScoreError
from pal_plugin.evaluation.metrics.tokenizers import PLAIN
from pal_plugin.utils.errors import ConfigError

from .conftest import CANDIDATES, REFERENCES, needs_java

CIDER_D, CIDER_D_ROWS = 0.9614, [1.3641, 0.5587]


BLEU_1 = 0.4278


@needs_java
def test_pycocoevalcap_gives_the_values_of_aac_metrics_example():
    found = caption_scores(CANDIDATES, REFERENCES, "ptb", ["bleu", "cider", "rouge_l"])
    assert not found.missing
    assert found.scores["cider"].value == pytest.approx(CIDER_D, abs=1e-4)
    assert found.scores["cider"].rows == pytest.approx(CIDER_D_ROWS, abs=1e-4)
    assert found.scores["bleu_1"].value == pytest.approx(BLEU_1, abs=1e-4)
    assert found.scores["bleu_1"].rows is None  # of the set, not a mean
    assert "PTB" in found.scores["cider"].tokenizer
    assert found.scores["cider"].package.startswith("pycocoevalcap 1.")


def test_aac_metrics_agrees_with_pycocoevalcap():
    pytest.importorskip("aac_metrics", reason="aac-metrics is not installed")
    found = caption_scores(CANDIDATES, REFERENCES, "plain", ["cider", "cider_d"])
    assert found.scores["cider_d"].value == pytest.approx(found.scores["cider"].value, abs=1e-6)
    assert found.scores["cider_d"].rows == pytest.approx(found.scores["cider"].rows, abs=1e-6)
    assert found.scores["cider_d"].package.startswith("aac-metrics ")


def test_bleu_and_rouge_by_hand():
    # Candidate of 4 words; 3 occur in the nearest reference (5 words), in an unbroken run of 3.
    references = [["the dog barks twice loudly", "a cat"]]
    found = caption_scores(["A dog barks twice"], references, "plain", ["bleu", "rouge_l"])
    brevity = math.exp(1 - 5 / 4)
    precisions = [4 / 4, 2 / 3, 1 / 2]  # "a" is in the second reference
    assert found.scores["bleu_1"].value == pytest.approx(brevity * precisions[0], abs=1e-6)
    expected = brevity * (precisions[0] * precisions[1]) ** 0.5
    assert found.scores["bleu_2"].value == pytest.approx(expected, abs=1e-6)
    # Precision and recall are maximised over the references apart.
    precision, recall, beta = 3 / 4, 3 / 5, 1.2
    f = (1 + beta**2) * precision * recall / (recall + beta**2 * precision)
    assert found.scores["rouge_l"].value == pytest.approx(f)
    assert found.scores["rouge_l"].tokenizer == PLAIN


@pytest.mark.slow
@needs_java
def test_meteor_of_equal_captions_is_one():  # its paraphrase tables take 10 s to load
    found = caption_scores(
        ["a dog barks loudly outside", "x y"],
        [["a dog barks loudly outside"], ["x", "x y"]],
        "ptb",
        ["meteor"],
    )
    assert found.scores["meteor"].value == pytest.approx(1.0)
    assert "meteor-1.5.jar" in found.scores["meteor"].package
    # Its own separator in a caption neither hangs nor breaks it.
    apart = caption_scores(["rain ||| SCORE"], [["a dog barks"]], "plain", ["meteor"])
    assert apart.scores["meteor"].value < 0.1


def test_what_is_missing_is_named_with_the_way_to_get_it(monkeypatch):
    def not_installed(package):
        raise MissingScoreError(f"{package} is not installed: pip install {package}")

    monkeypatch.setattr(captioning, "version_of", not_installed)
    found = caption_scores(CANDIDATES, REFERENCES, "plain")
    assert not found.scores
    assert set(found.missing) == {*captioning.SCORERS, "spider"}
    assert found.missing["cider_d"] == "aac-metrics is not installed: pip install aac-metrics"


def test_spice_downloads_nothing(tmp_path, monkeypatch):
    spice = pytest.importorskip("pycocoevalcap.spice.spice")
    monkeypatch.setattr(spice, "__file__", str(tmp_path / "spice.py"))
    monkeypatch.setattr(captioning, "java", lambda: "java")
    found = caption_scores(CANDIDATES, REFERENCES, "plain", ["cider", "spice"])
    assert "get_stanford_models" in found.missing["spice"]
    assert "get_stanford_models" in found.missing["spider"]
    asked = caption_scores(CANDIDATES, REFERENCES, "plain", ["spider"])
    assert set(asked.scores) == {"cider"}
    assert set(asked.missing) == {"spice", "spider"}


def test_fense_downloads_nothing_and_needs_its_packages(tmp_path, monkeypatch):
    monkeypatch.setattr(captioning, "version_of", lambda package: f"{package} 0")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    found = caption_scores(CANDIDATES, REFERENCES, "plain", ["fense", "rouge_l"])
    assert "aac-metrics-download" in found.missing["fense"]
    detector = tmp_path / "hub" / "fense_data" / "echecker_clotho_audiocaps_base.ckpt"
    detector.parent.mkdir(parents=True)
    detector.touch()
    monkeypatch.setitem(sys.modules, "aac_metrics.functional.fense", None)
    found = caption_scores(CANDIDATES, REFERENCES, "plain", ["fense", "rouge_l"])
    assert "cannot be imported" in found.missing["fense"]
    assert set(found.scores) == {"rouge_l"}


def test_spider_is_the_mean_of_cider_and_spice(monkeypatch):
    monkeypatch.setitem(
        captioning.SCORERS, "spice", lambda words: ({"spice": (0.3, [0.2, 0.4])}, "stand-in")
    )
    found = caption_scores(CANDIDATES, REFERENCES, "plain", ["cider", "spice"])
    cider = found.scores["cider"]
    assert found.scores["spider"].value == pytest.approx((cider.value + 0.3) / 2)
    assert found.scores["spider"].rows[1] == pytest.approx((cider.rows[1] + 0.4) / 2)
    assert "pycocoevalcap" in found.scores["spider"].package


def test_one_clip_has_no_cider():
    found = caption_scores(["a dog"], [["a dog"]], "plain", ["cider", "rouge_l"])
    assert "two clips" in found.missing["cider"]
    assert found.scores["rouge_l"].value == pytest.approx(1.0)


def test_mistakes_are_named():
    with pytest.raises(ConfigError, match="'cider'"):
        caption_scores(["a"], [["a"]], "plain", ["ciderr"])
    with pytest.raises(ConfigError, match="plain"):
        caption_scores(["a"], [["a"]], "plan")
    with pytest.raises(ValueError, match="one reference"):
        caption_scores(["a"], [[]], "plain")
    with pytest.raises(ValueError, match="2 captions and 1"):
        caption_scores(["a", "b"], [["a"]], "plain")
