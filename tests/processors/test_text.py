"""The text processor."""

import pytest

# isort: split
from pal_plugin.corpora.prompts import PROTOCOLS, multiple_choice_prompt
from pal_plugin.processors.text import TextProcessor


@pytest.mark.parametrize("bad", ["", "  \n", None, 3])
def test_a_question_that_says_nothing_is_an_error(bad):
    with pytest.raises(ValueError, match="non-blank text"):
        TextProcessor()(bad)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_published_prompts_are_asked_with_their_line_breaks_and_spaces(protocol):
    asked = multiple_choice_prompt(protocol, "What do you hear?", ["a  bell", "rain"])
    assert TextProcessor()(f"\n {asked} \n") == asked
