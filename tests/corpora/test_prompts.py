"""Multiple choices in the words of their protocols."""

import pytest

from pal_plugin.corpora.prompts import multiple_choice_prompt
from pal_plugin.utils.errors import ConfigError


def test_a_protocol_needs_choices():
    with pytest.raises(ConfigError, match="expected 2 to 26 choices, got 1"):
        multiple_choice_prompt("mmau", "Who?", ["Man"])
    with pytest.raises(ConfigError, match="Did you mean 'mmau'"):
        multiple_choice_prompt("mmaau", "Who?", ["Man", "Dog"])


def test_more_choices_than_letters_are_not_cut():
    choices = list(map(str, range(27)))
    assert "Z. 25" in multiple_choice_prompt("airbench", "q", choices[:26])
    with pytest.raises(ConfigError, match="expected 2 to 26 choices, got 27"):
        multiple_choice_prompt("airbench", "q", choices)
