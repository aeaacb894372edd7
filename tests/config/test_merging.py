"""Strict merging: unknown keys and values of another kind are named, the base stays."""

import pytest

from pal_plugin.config.merging import flat, is_free_map, merge_plain, merge_strict, present

BASE = {"run": {"seed": 42, "amp": "none", "splits": ["a"]}, "model": {"encoders": {"x": {}}}}


def merged(over, base=BASE):
    errors = []
    return merge_strict(base, over, source="--options", errors=errors), errors


def test_maps_are_merged_and_lists_replaced_whole():
    found, errors = merged({"run": {"seed": 7, "splits": ["b", "c"]}, "model": None})
    assert not errors
    assert found == {"run": {"seed": 7, "amp": "none", "splits": ["b", "c"]}, "model": None}
    assert BASE["run"] == {"seed": 42, "amp": "none", "splits": ["a"]}


@pytest.mark.parametrize(
    ("over", "told"),
    [
        ({"run": {"sede": 1}}, r"run.sede: unknown key 'sede' in --options. Did you mean 'seed'?"),
        ({"seed": 1}, "Do you mean 'run.seed'?"),
        ({"run": {"seed": "a"}}, "run.seed: expected a number (such as 42), got 'a' in --options"),
        ({"run": {"seed": True}}, "run.seed: expected a number (such as 42), got True"),
        ({"run": {"splits": "a"}}, "run.splits: expected a list"),
        ({"run": 3}, "run: expected a map with the keys seed, amp, splits, got 3"),
        ({"run": {"lanes": 2}}, "unknown key 'lanes' in --options. It is now 'run.shard_streams'."),
    ],
)
def test_what_does_not_go_is_told_and_the_base_stays(over, told):
    found, errors = merged(over)
    assert found == BASE
    assert len(errors) == 1
    assert told in errors[0]


def test_names_may_be_added_to_free_maps_only():
    found, errors = merged({"model": {"encoders": {"mine": {"type": "sslam"}}}})
    assert not errors
    assert found["model"]["encoders"] == {"x": {}, "mine": {"type": "sslam"}}
    assert is_free_map("datasets.pal_esc50.build_info.shards")
    assert not is_free_map("datasets.pal_esc50.build_info")


def test_words_and_interpolations_stand_for_values_of_other_kinds():
    assert not merged({"run": {"amp": True, "seed": "${oc.env:SEED}"}})[1]


def test_plain_maps_take_any_key_and_are_told_flat():
    assert merge_plain({"a": {"b": 1}, "c": [1]}, {"a": {"d": 2}, "c": [3]}) == {
        "a": {"b": 1, "d": 2},
        "c": [3],
    }
    assert flat({"a": {"b": 1, "c": {}}, "d": [2]}) == {"a.b": 1, "a.c": {}, "d": [2]}
    assert present({"a": None, "b": 0}) == {"b": 0}


def test_a_cache_is_a_word_or_settings_and_a_group_has_one_route_or_several():
    base = {"model": {"encoders": {"x": {"cache": True}}, "routing": {"g": {"integration": "lal"}}}}
    for cache in (False, {"dtype": "half"}):
        found, errors = merged({"model": {"encoders": {"x": {"cache": cache}}}}, base)
        assert not errors
        assert found["model"]["encoders"]["x"]["cache"] == cache
        again, errors = merged({"model": {"encoders": {"x": {"cache": True}}}}, found)
        assert not errors
        assert again["model"]["encoders"]["x"]["cache"] is True
    both = [{"integration": "plits", "pool": 2}, {"integration": "lal"}]
    found, errors = merged({"model": {"routing": {"g": both}}}, base)
    assert (found["model"]["routing"]["g"], errors) == (both, [])
    assert merged({"model": {"routing": {"g": {"pol": 2}}}}, base)[1]
