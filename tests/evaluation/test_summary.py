"""Counting answers, chance, and the choice of the best epoch."""

import math

import pytest

from pal_plugin.evaluation.evaluators import EVALUATORS, Evaluator
from pal_plugin.evaluation.metrics.answers import is_correct, normalise
from pal_plugin.evaluation.summary import check_selection, select, summarise
from pal_plugin.utils.errors import ConfigError


def row(task="qa", kind=None, reference="yes", said="yes", masked="no", **more):
    return {
        "task": task,
        "question_type": kind or task,
        "reference": reference,
        "answers": more.pop("answers", [reference]),
        "prediction": said,
        "prediction_masked": masked,
        **more,
    }


@pytest.mark.parametrize(
    ("said", "same"),
    [("The  dog.", "dog"), ("a Dog!", "dog"), ("it's", "its"), ("noise-burst", "noise burst")],
)
def test_answers_are_compared_without_case_articles_and_punctuation(said, same):
    assert normalise(said) == same


def test_any_accepted_answer_is_right_and_a_longer_one_is_not():
    assert is_correct("Two.", ["2", "two"])
    assert not is_correct("twenty two", ["2", "two"])
    assert not is_correct("", ["2"])
    assert not is_correct("", ["a"])  # an article that is the whole answer stays


def test_chance_is_the_share_of_the_largest_class():
    rows = [row("classification", reference=r) for r in ("dog", "The dog", "dog", "cat")]
    assert summarise(rows, masked=False)["classification"]["chance"] == 0.75


def test_a_task_of_several_types_is_compared_with_the_types_chance():
    rows = [row(kind="count", reference=r) for r in ("1", "2", "3", "3")]
    rows += [row(kind="present", reference=r, said=r) for r in ("yes", "no")]
    entries = summarise(rows, masked=True)
    assert entries["qa/count"]["chance"] == 0.5
    assert entries["qa/present"]["chance"] == 0.5
    assert entries["qa/present"]["accuracy"] == 1.0
    assert entries["qa/present"]["accuracy_masked_audio"] == 0.5
    assert entries["qa"]["chance"] == 0.5  # and not 1/3, the largest class of the mixture
    assert entries["qa"]["n"] == 6


def test_datasets_are_kept_apart():
    rows = [row(dataset="x"), row(dataset="y", said="no")]
    entries = summarise(rows, masked=False)
    assert entries["x/qa"]["accuracy"] == 1.0
    assert entries["y/qa"]["accuracy"] == 0.0
    assert "accuracy_masked_audio" not in entries["x/qa"]


def test_captions_and_transcripts_have_figures_of_their_own():
    rows = [row("caption", loss=1.0, loss_masked=3.0), row("caption", loss=2.0, loss_masked=3.0)]
    rows += [row("transcript", reference="one two", said="one three", masked="")]
    entries = summarise(rows, masked=True)
    assert entries["caption"]["loss"] == 1.5
    assert entries["caption"]["perplexity"] == pytest.approx(math.exp(1.5))
    assert entries["caption"]["loss_masked_audio"] == 3.0
    assert entries["transcript"]["wer"] == 0.5
    assert entries["transcript"]["wer_masked_audio"] == 1.0
    assert "chance" not in entries["transcript"]


def test_word_errors_are_counted_over_the_corpus():
    rows = [
        row("transcript", reference="a dog barks", said="The dog barks"),
        row("transcript", reference="ten", said="one two"),
    ]
    assert summarise(rows, masked=False)["transcript"]["wer"] == 2 / 3
    rows = [row("transcript", reference="", said="anything")]
    assert summarise(rows, masked=False)["transcript"]["wer"] is None


def test_the_best_epoch_is_chosen_by_a_mean_or_by_one_figure():
    entries = {
        "classification": {"accuracy": 0.8, "n": 1},
        "qa": {"accuracy": 0.4, "n": 1},
        "qa/count": {"accuracy": 0.0, "n": 1},
        "caption": {"loss": 2.0, "n": 1},
        "transcript": {"wer": None, "n": 1},
    }
    tasks = ["classification", "qa", "caption", "transcript"]
    assert select(entries, "accuracy", tasks) == pytest.approx(0.6)
    assert select(entries, "classification.accuracy", tasks) == 0.8
    assert select(entries, "qa/count.accuracy", tasks) == 0.0
    assert select(entries, "loss", tasks) == -2.0
    with pytest.raises(ConfigError, match="'accuracy'"):
        select(entries, "accuracie", tasks)
    with pytest.raises(ConfigError, match="has no such metric"):
        select(entries, "wer", tasks)


def test_a_loss_that_is_no_number_selects_nothing_and_ends_no_training(caplog):
    rows = [row("caption", loss=None)]
    entries = summarise(rows, masked=False)
    assert math.isnan(select(entries, "loss", ["caption"]))
    assert "no loss of this evaluation is finite" in caplog.text
    with pytest.raises(ConfigError, match="has no such metric"):
        select(entries, "wer", ["caption"])


def test_an_evaluator_that_does_not_tell_its_metrics_lets_any_select():
    check_selection("accuracy", EVALUATORS)
    check_selection("anything", {**EVALUATORS, "other": Evaluator})
    with pytest.raises(ConfigError, match="'anything', which no task has as a metric"):
        check_selection("anything", EVALUATORS)
