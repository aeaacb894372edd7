"""Figures, intervals and differences against numbers worked out by hand."""

import pytest

from pal_plugin.utils.errors import ConfigError

from .conftest import labelled, transcripts

DRAWS = 2000


@pytest.fixture
def answers(module):
    return module("evidence.answers")


@pytest.fixture
def read(answers, module, tmp_path):
    def finished():
        planned = module("evidence.planned").plan(tmp_path / "runs", kept=tmp_path / "kept")
        return answers.read_finished(planned)

    return finished


def test_groups_are_domains_in_a_fixed_order_and_all_of_them(answers, read, five_runs):
    runs = read()
    assert {kind: [run.seed for run in of_kind] for kind, of_kind in runs.items()} == {
        "plits": [0, 1],
        "lal": [0, 1],
        "flamingo": [0],
    }
    found = answers.groups(runs["lal"][0], "classification")
    assert [(g.name, g.clips, g.chance) for g in found] == [
        ("ESC-10", 4, 0.5),
        ("digits, by take", 4, 0.5),
        ("all", 8, 0.5),
    ]
    (spoken,) = answers.groups(runs["lal"][0], "transcript")
    assert (spoken.name, spoken.clips, spoken.chance) == ("sentences", 2, None)


def test_figures_by_seed_and_the_interval_over_clips(answers, read, five_runs):
    runs = read()
    *_, pooled = answers.groups(runs["lal"][0], "classification")
    ranked = answers.measure(runs["plits"], pooled, answers.RANKED, DRAWS)
    assert ranked.values == [0.5, 0.5]
    assert ranked.masked == [0.5, 0.5]
    assert ranked.interval.value == 0.5
    # 8 clips of which each draw has a binomial number of right ones: 1 to 7 hold 95 %.
    assert (ranked.interval.low, ranked.interval.high) == (0.125, 0.875)
    said = answers.measure(runs["plits"], pooled, answers.SAID, DRAWS)
    assert said.values == [0.25, 0.5]
    assert said.masked == [0.0, 0.0]
    assert answers.mean_and_spread(said.values) == pytest.approx((0.375, 0.125 * 2**0.5))
    (spoken,) = answers.groups(runs["lal"][0], "transcript")
    errors = answers.measure(runs["plits"], spoken, answers.WER, DRAWS)
    assert errors.values == [0.25, 0.25]  # two of eight words are missing
    assert errors.masked == [1.0, 1.0]
    assert (errors.interval.low, errors.interval.high) == (0.0, 0.5)
    assert answers.measure(runs["plits"], pooled, answers.WER, DRAWS) is None


def test_differences_are_paired_by_clip_and_seed(answers, read, five_runs):
    runs = read()
    *_, pooled = answers.groups(runs["lal"][0], "classification")
    lal = answers.difference(runs["lal"], runs["plits"], pooled, answers.RANKED, DRAWS)
    # Four clips gain nothing, ESC-10's other two 1 each, the digits' other two a half each.
    assert lal.interval.value == pytest.approx((2 + 2 * 0.5) / 8)
    assert 0 < lal.interval.low < lal.interval.value < lal.interval.high
    assert lal.seeds == [0, 1]
    assert sum(lal.by_seed) / 2 == pytest.approx(lal.interval.value)
    flamingo = answers.difference(runs["flamingo"], runs["plits"], pooled, answers.SAID, DRAWS)
    assert flamingo.seeds == [0]  # 2 of 8 of PLITS's first seed
    assert flamingo.interval.value == -0.25
    same = answers.difference(runs["lal"], runs["lal"], pooled, answers.RANKED, DRAWS)
    assert (same.interval.low, same.interval.value, same.interval.high) == (0, 0, 0)
    assert answers.difference(runs["lal"], [], pooled, answers.RANKED, DRAWS) is None


@pytest.mark.parametrize(
    ("run", "told"),
    [
        ({"init_lr": 0.5}, r"run.init_lr: 0.001 and 0.5"),
        ({"steps_per_epoch": 300}, r"run.steps_per_epoch: 600 and 300"),
        ({"eval_limit": 5}, "a part of the clips"),
    ],
)
def test_another_experiment_is_refused(read, write_run, run, told):
    rows = labelled("esc10", "10", "10", "10")
    write_run("plits", 0, rows)
    write_run("lal", 0, rows, run=run)
    with pytest.raises(ConfigError, match=told):
        read()


def test_seeds_of_a_type_are_of_one_model(read, write_run):
    rows = labelled("esc10", "10", "10", "10")
    write_run("lal", 0, rows)
    write_run("lal", 1, rows, routing={"speech": "otherwise"})
    with pytest.raises(ConfigError, match=r"model\.routing\.speech"):
        read()


def test_other_questions_and_answers_without_a_control_are_refused(read, write_run):
    rows = transcripts("one")
    write_run("plits", 0, rows)
    write_run("lal", 0, transcripts("one", "two"))
    with pytest.raises(ConfigError, match="1 and 2 questions"):
        read()
    del rows[0]["prediction_masked"]
    write_run("pal", 0, rows)
    with pytest.raises(ConfigError, match="masked"):
        read()


def test_clips_cut_from_one_recording_are_resampled_together(answers, read, write_run):
    rows = labelled("esc10", "1010", "1010", "0000")
    names = ["4-175000-A-40.ogg", "4-175000-B-40.ogg", "4-185575-A-20.ogg", "4-185575-B-20.ogg"]
    for row, name in zip(rows, names, strict=True):
        row["sample_id"] = name
    write_run("lal", 0, rows)
    (group,) = answers.groups(read()["lal"][0], "classification")
    measured = answers.measure(read()["lal"], group, answers.RANKED, DRAWS)
    assert (measured.interval.low, measured.interval.high) == (0.5, 0.5)
