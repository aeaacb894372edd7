"""`pal data fetch` from a server on this machine."""

import json
from pathlib import Path

import pytest

from pal_plugin.commands.main import main
from pal_plugin.corpora.fetching.fetch import SOURCES, default_folder, fetch, source_of
from pal_plugin.utils.errors import ConfigError

from .conftest import ESC10_CLIPS, FSDD_CLIPS, encoded, samples

ESC10, FSDD = SOURCES["esc10"], SOURCES["fsdd"]


def names(folder):
    return {path.name for path in folder.iterdir()} - {".fetching.lock"}


def test_clips_are_laid_out_as_recipes_read_them(github, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("PAL_DATA", str(tmp_path))
    assert main(["data", "fetch", "esc10", "fsdd"]) == 0
    esc10, fsdd = tmp_path / "audio" / "esc10_f1234", tmp_path / "audio" / "fsdd"
    tables = {"esc10_f1234.csv", "esc10_f5.csv", "attribution.csv", "SOURCE.json"}
    clips = {"1-100-A-0.ogg", "4-2000-B-1.ogg", "5-300-A-10.ogg", "5-400-C-12.ogg"}
    assert names(esc10) == clips | tables
    assert (esc10 / "1-100-A-0.ogg").read_bytes() == ESC10_CLIPS["001 - Dog bark/1-100-A.ogg"]
    clips = {"0_george_0.flac", "0_george_10.flac", "7_nicolas_3.flac", "1_theo_0.flac"}
    assert names(fsdd) == clips | {"fsdd.csv", "fsdd_other_speakers.csv", "SOURCE.json"}
    told = capsys.readouterr().out
    assert told.index("CC BY 3.0 as a set") < told.index("4 clips in")
    assert "NOT verified by hash: 2 (fold 5)" in told
    assert "NOT verified by hash: 1 (speakers other than" in told


def test_what_is_written_beside_the_clips(github, tmp_path):
    facts = fetch(ESC10, tmp_path)
    assert json.loads((tmp_path / "esc10_f1234" / "SOURCE.json").read_text()) == facts
    assert facts["from"] == f"{github.url}/karolpiczak/ESC-10/archive/{ESC10.commit}.zip"
    assert (facts["clips"], facts["checked_by_hash"]) == (4, 2)
    assert facts["not_checked_by_hash"] == {"clips": 2, "which": "fold 5"}
    assert facts["licence_url"].startswith("http://creativecommons.org/licenses/by/3.0")


def test_what_is_whole_is_not_fetched_again(github, tmp_path):
    first = fetch(FSDD, tmp_path)
    (tmp_path / "fsdd" / "notes.txt").write_text("mine")
    assert fetch(FSDD, tmp_path) == first
    assert len(github.asked) == 1
    clip, other = (tmp_path / "fsdd" / name for name in ("1_theo_0.flac", "0_george_0.flac"))
    good, time = clip.read_bytes(), other.stat().st_mtime_ns
    clip.write_bytes(good[:-20])
    assert fetch(FSDD, tmp_path) == first
    assert clip.read_bytes() == good
    assert other.stat().st_mtime_ns == time  # what is right stays
    assert len(github.asked) == 2


def test_an_archive_that_is_whole_is_used_after_a_kill(github, tmp_path, monkeypatch):
    with monkeypatch.context() as killed:
        killed.setattr(type(FSDD), "kept", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            fetch(FSDD, tmp_path)
    assert not (tmp_path / "fsdd" / "SOURCE.json").exists()
    assert fetch(FSDD, tmp_path)["clips"] == 4
    assert len(github.asked) == 1


@pytest.mark.parametrize(
    ("name", "clips", "path"),
    [
        ("esc10", ESC10_CLIPS, "009 - Rooster/4-2000-B.ogg"),
        ("fsdd", FSDD_CLIPS, "recordings/0_george_10.wav"),
    ],
)
def test_another_clip_than_expected_is_an_error_by_its_name(github, tmp_path, name, clips, path):
    form = ("OGG", 44100) if name == "esc10" else ("WAV", 8000)
    other = encoded(samples(99), form[1], form[0])
    github.put(name, {**clips, path: other})
    with pytest.raises(ConfigError, match=rf"{path}: expected SHA-256 \w+, got"):
        fetch(SOURCES[name], tmp_path)
    folder = tmp_path / SOURCES[name].folder
    kept = next(c.name for c in SOURCES[name].known() if c.path == path)
    assert not {kept, "SOURCE.json"} & names(folder)
    github.put(name)
    assert fetch(SOURCES[name], tmp_path)["clips"] == 4


def test_a_clip_that_is_not_there_is_named(github, tmp_path):
    path, *_ = ESC10_CLIPS
    github.put("esc10", {p: d for p, d in ESC10_CLIPS.items() if p != path})
    with pytest.raises(ConfigError, match=f"lacks 1 of 2 clips .*: {path}"):
        fetch(ESC10, tmp_path)


def test_a_clip_of_no_known_hash_must_be_decoded(github, tmp_path, capsys):
    github.put("esc10", {**ESC10_CLIPS, "002 - Rain/5-300-A.ogg": b"no audio"})
    argv = ["data", "fetch", "esc10", "--out", str(tmp_path), "--from", github.url]
    assert main(argv) == 0
    assert "skipped, unusable: 002 - Rain/5-300-A.ogg: cannot decode" in (capsys.readouterr().out)
    facts = json.loads((tmp_path / "esc10_f1234" / "SOURCE.json").read_text())
    assert (facts["clips"], len(facts["left_out"])) == (3, 1)
    assert "300" not in (tmp_path / "esc10_f1234" / "esc10_f5.csv").read_text()


def test_names_that_lead_out_of_the_archive_are_not_taken(github, tmp_path):
    clip = ESC10_CLIPS["002 - Rain/5-300-A.ogg"]
    inside = ("../x.ogg", "002 - Rain/../../5-1-A.ogg", "002 - Rain/5-1-A.ogg/../../y.ogg")
    outside = ("/tmp/pal_slip.ogg", "../../pal_slip.ogg", "other-1/002 - Rain/5-9-A.ogg")
    others = {f"{ESC10.top}/{name}": clip for name in inside} | dict.fromkeys(outside, clip)
    github.put("esc10", others=others)
    out = tmp_path / "deep" / "out"
    assert fetch(ESC10, out)["clips"] == 4
    assert [p.name for p in tmp_path.rglob("*.ogg") if p.parent != out / "esc10_f1234"] == []
    assert len(list(out.rglob("*.ogg"))) == 4
    assert not Path("/tmp/pal_slip.ogg").exists()


def test_a_damaged_archive_is_fetched_again(github, tmp_path):
    path = github.put("esc10")
    data = bytearray(github.files[path])
    middle = data.find(b"OggS") if b"OggS" in data else len(data) // 3
    data[middle : middle + 200] = bytes(200)
    github.files[path] = bytes(data)
    with pytest.raises(ConfigError, match="archive .* is damaged"):
        fetch(ESC10, tmp_path)
    github.put("esc10")
    assert fetch(ESC10, tmp_path)["clips"] == 4


def test_an_archive_whose_list_is_damaged_is_not_kept_either(github, tmp_path):
    path = github.put("esc10")
    data = bytearray(github.files[path])
    end = data.rfind(b"PK\5\6")
    data[end + 17] += 1  # where its list begins: zipfile then reads in front of the file
    github.files[path] = bytes(data)
    with pytest.raises(ConfigError, match="archive .* is damaged"):
        fetch(ESC10, tmp_path)
    github.put("esc10")
    assert fetch(ESC10, tmp_path)["clips"] == 4


def test_mistakes_are_told_before_anything_is_downloaded(github, tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("PAL_DATA", raising=False)
    assert main(["data", "fetch", "esc11", "--out", str(tmp_path)]) == 2
    assert "Did you mean 'esc10'" in capsys.readouterr().err
    assert main(["data", "fetch", "esc10"]) == 2
    assert "give --out FOLDER, or set PAL_DATA" in capsys.readouterr().err
    assert github.asked == []
    with pytest.raises(ConfigError, match="no source 'x' to fetch"):
        source_of("x")
    with pytest.raises(ConfigError, match="PAL_DATA"):
        default_folder()
