"""How long a run still takes, by a clock of the test's."""

from pal_plugin.training.pace import Pace
from pal_plugin.training.run_time import RunTime


def paced(epochs, limit_s=None):
    """`(pace, pass_seconds)`."""
    now = [0.0]
    pace = Pace(RunTime(limit_s, clock=lambda: now[0]), epochs)

    def pass_seconds(seconds):
        now[0] += seconds

    return pace, pass_seconds


def test_the_first_step_counts_for_nothing():
    pace, wait = paced(1)
    pace.start()
    wait(60)
    assert pace.step()
    assert pace.left(0, 1, 10) is None
    wait(2)
    assert not pace.step()
    assert pace.left(0, 2, 10) == 8 * 2


def test_pauses_between_epochs_count_as_the_last_one_did():
    pace, wait = paced(3)
    for _ in range(2):  # two epochs of five steps
        pace.start()
        for _ in range(5):
            wait(2)
            pace.step()
        pace.stop()
        wait(7)
    pace.start()
    # One epoch of five steps is left, with the pause behind it; an epoch earlier, one more of each.
    assert pace.left(2, 0, 5) == 5 * 2 + 7
    assert pace.left(1, 3, 5) == (2 + 5) * 2 + 2 * 7


def test_a_limit_ends_it_sooner():
    pace, wait = paced(1, limit_s=20.0)
    pace.start()
    for _ in range(3):
        wait(2)
        pace.step()
    assert pace.left(0, 3, 5) == 4
    assert pace.left(0, 3, 500) == 14
    wait(30)
    assert pace.left(0, 3, 500) == 0
