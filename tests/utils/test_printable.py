"""Halves of characters are escaped, everything else stays."""

import json

from pal_plugin.utils.printable import json_text, printable


def test_bytes_that_are_no_utf_8_are_shown_as_such():
    name = b"j\xf6rg \xe9\x9b\xa8.wav".decode("utf-8", "surrogateescape")
    assert printable(name) == "j\\xf6rg 雨.wav"
    assert printable("\ud83d") == "\\ud83d"
    assert printable([{"a": (name, 1, None)}]) == [{"a": ["j\\xf6rg 雨.wav", 1, None]}]


def test_json_holds_the_same_text_that_is_printed():
    name = "x\udcff"
    text = json_text({name: "雨"}, separators=(",", ":"))
    text.encode("utf-8")
    assert json.loads(text) == {printable(name): "雨"}
    assert "雨" in text
