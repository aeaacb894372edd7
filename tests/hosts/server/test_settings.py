"""Limits are whole numbers, and keys and questions are there."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from pal_plugin.hosts.server.settings import Limits, Settings, option
from pal_plugin.utils.errors import ConfigError


@pytest.mark.parametrize("name", [one.name for one in fields(Limits)])
def test_a_limit_is_a_whole_number(name):
    for wrong in (-1, 1.5, True, "2"):
        with pytest.raises(ConfigError, match=option(name)):
            Limits(**{name: wrong})
    assert getattr(Limits(**{name: 3}), name) == 3


def test_nothing_may_wait_but_one_is_answered():
    assert Limits(max_waiting=0).max_waiting == 0
    with pytest.raises(ConfigError, match="--max-batch is 0"):
        Limits(max_batch=0)


@pytest.mark.parametrize("key", ["", "ä", "a\nb"])
def test_a_key_that_no_header_can_hold(key):
    with pytest.raises(ConfigError, match="API key"):
        Settings("toy", key=key)


def test_a_key_is_not_shown():
    assert "open-sesame" not in repr(Settings("toy", key="open-sesame"))


def test_a_question_is_asked():
    with pytest.raises(ConfigError, match="expected a question"):
        Settings("toy", question=" ")


def test_the_page_of_documentation_has_the_same_limits():
    page = (Path(__file__).parents[3] / "docs" / "serving.md").read_text("utf-8")
    rows = re.findall(
        r"^\| `(--max-\w+)` \| (\d+)[^|]* \| ([^|]*) \| ([^|]*) \|$", page, re.MULTILINE
    )
    assert [name for name, *_ in rows] == [option(one.name) for one in fields(Limits)]
    for one, (_, default, about, status) in zip(fields(Limits), rows, strict=True):
        assert int(default) == one.default
        assert about.replace(" (`n`)", " (n)").replace("`", "") == one.metadata["about"]
        assert status in (str(one.metadata["status"]), "they wait", "connection closed")
