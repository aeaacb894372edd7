"""Files of one name that are not the same are told apart, at little cost."""

import os

import pytest

from pal_plugin.evaluation import fingerprints
from pal_plugin.evaluation.fingerprints import file_facts, files_named, model_facts


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


@pytest.fixture
def data(tmp_path):
    for folder in ("indexed", "loose"):
        for number in range(3):
            write(tmp_path / folder / f"a-{number}.tar", f"{folder} {number}")
    write(tmp_path / "indexed" / "index.json", "{}")
    write(tmp_path / "clips.csv", "audio,label")
    write(tmp_path / "audio" / "x.wav", "no audio")
    write(tmp_path / "llm" / "config.json", "{}")
    write(tmp_path / "llm" / "model.safetensors", "weights")
    return tmp_path


@pytest.mark.parametrize(
    ("named", "changed"),
    [
        ("clips.csv", "clips.csv"),
        ("indexed", "indexed/index.json"),
        ("indexed/a-{0..2}.tar", "indexed/index.json"),
        ("loose", "loose/a-1.tar"),
        ("loose/a-{0..2}.tar", "loose/a-2.tar"),
        ("loose/*.tar", "loose/a-2.tar"),
        ("loose/a-0.tar", "loose/a-0.tar"),
        ("llm", "llm/model.safetensors"),
    ],
)
def test_a_changed_file_of_the_same_name_is_seen(data, named, changed):
    section = {"build_info": {"x": {"train": [str(data / named)]}}}
    before = files_named(section)
    assert list(before) == [str(data / named)]
    assert files_named(section) == before
    write(data / changed, "something else, and longer")
    assert files_named(section) != before


def test_a_tar_beside_an_index_is_not_read(data):
    found = files_named(str(data / "indexed" / "a-{0..1}.tar"))
    ((_, facts),) = found.items()
    assert list(facts) == [str(data / "indexed" / "index.json")]


def test_what_names_no_file_has_no_facts(data):
    odd = ["pipe:cat x.tar", "What do you hear?", "x" * 2000, str(data / "audio"), "", None, 3]
    assert files_named(odd) == {}


def test_a_large_file_is_known_by_size_and_time(data, monkeypatch):
    monkeypatch.setattr(fingerprints, "_LARGEST_BYTES", 4)
    path = data / "clips.csv"
    before = file_facts(path)
    assert "sha256" not in before
    os.utime(path, ns=(1, 1))
    assert file_facts(path)["modified_ns"] == 1 != before["modified_ns"]


def test_a_hub_model_is_known_by_its_revision(data):
    assert model_facts("nobody/nothing-of-this-name") == {
        "source": "nobody/nothing-of-this-name",
        "revision": None,
    }
    assert "sha256" in model_facts("pocket://sslam.safetensors")
