"""The text processor."""

import pytest

# isort: split
from pal_plugin.processors.text import TextProcessor


@pytest.mark.parametrize("bad", ["", "  \n", None, 3])
def test_a_question_that_says_nothing_is_an_error(bad):
    with pytest.raises(ValueError, match="non-blank text"):
        TextProcessor()(bad)


def test_a_question_is_asked_as_it_is_written():
    asked = "What do you hear?  Select one.\n['a', 'b']"
    assert TextProcessor()(f"\n {asked} \n") == asked
