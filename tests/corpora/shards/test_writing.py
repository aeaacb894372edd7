"""Names within a tar."""

from pal_plugin.corpora.shards.writing import safe_keys


def test_keys_are_unique_whatever_the_case():
    keys = safe_keys(["a_b", "A_b", "a b", "", "...", "plain"])
    assert len({key.lower() for key in keys}) == 6
    assert keys[0] == "a_b"
    assert keys[5] == "plain"
    assert all(keys)
