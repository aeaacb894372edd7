"""The test of a second: right answers pass, and one answer for all does not."""

from pal_plugin.models.self_test import Heard, self_test


class Deaf:
    """Says the same of each clip."""

    def __init__(self, answer):
        self.answer, self.clips = answer, []

    def ask(self, clip, question, **generation):
        self.clips.append(clip)
        return self.answer


def test_the_shipped_model_hears_what_is_in_its_clips():
    heard = self_test()
    assert len(heard) == 3
    assert all(one.right for one in heard), heard


def test_who_always_says_the_same_does_not_pass():
    truths = [one.truth for one in self_test(Deaf(""))]
    assert len(set(truths)) == len(truths)
    for truth in truths:
        assert sum(one.right for one in self_test(Deaf(truth))) == 1


def test_clips_are_files_that_differ():
    model = Deaf("rain")
    self_test(model)
    assert len(set(model.clips)) == 3
    assert all(clip.startswith(b"fLaC") for clip in model.clips)


def test_right_is_the_very_word():
    assert Heard("noise burst", "noise burst").right
    assert not Heard("noise burst", "a noise burst").right
