"""Conversion: what is written, what is listed, and that a kill at any time changes nothing."""

import hashlib
import io
import json
import os
import subprocess
import sys
import tarfile
import time
from types import SimpleNamespace

import pytest
import soundfile

from pal_plugin.commands.main import main
from pal_plugin.corpora.shards.convert import convert, read_index, summary
from pal_plugin.corpora.shards.reading import find_shards
from pal_plugin.corpora.shards.verify import verify
from pal_plugin.utils import workers
from pal_plugin.utils.errors import ConfigError

from ..conftest import BROKEN, RATE_HZ, clip_bytes


def run(folder, annotations, out, **options):
    options = {"workers": 1, "progress": False, "shard_clips": 3, **options}
    return convert("own", folder, [annotations], out, **options)


def files_of(out):
    return {path.name: path.read_bytes() for path in out.iterdir()}


def members(out):
    found = {}
    for tar in sorted(out.glob("*.tar")):
        with tarfile.open(tar) as file:
            found.update({m.name: file.extractfile(m).read() for m in file})
    return found


def test_the_bytes_are_kept_and_the_index_counts_them(write_own, good, tmp_path):
    folder, annotations = write_own(good)
    index = run(folder, annotations, tmp_path / "out", split="train")
    inside = members(tmp_path / "out")
    assert {name for name in inside if name.endswith("wav")} == set(good)
    assert all(inside[name] == data for name, data in good.items())
    facts = json.loads(inside["c4.json"])
    assert facts["id"] == "c4"
    assert facts["items"][0]["answer"] == "kind 1"
    assert facts["sha256"] == hashlib.sha256(good["c4.wav"]).hexdigest()
    assert (facts["seconds"], facts["rate_hz"], facts["channels"]) == (0.3, RATE_HZ, 1)
    assert [s["name"] for s in index["shards"]] == [f"own-train-{n:05d}.tar" for n in range(3)]
    assert [s["clips"] for s in index["shards"]] == [3, 3, 1]
    assert index["seconds"] == pytest.approx(7 * 0.3)
    assert index["labels"] == ["kind 0", "kind 1", "kind 2"]
    tar = tmp_path / "out" / "own-train-00001.tar"
    assert index["shards"][1]["sha256"] == hashlib.sha256(tar.read_bytes()).hexdigest()
    assert index == read_index(tmp_path / "out")
    assert index["annotations"][0]["sha256"] == hashlib.sha256(annotations.read_bytes()).hexdigest()
    assert verify(find_shards(tmp_path / "out")) == []


def test_everything_that_is_left_out_is_listed(write_own, good, tmp_path):
    files = {**good, **BROKEN, "gone.wav": None, "short.wav": clip_bytes(seconds=0.01)}
    files["again.wav"] = good["c2.wav"]
    folder, annotations = write_own(files)
    index = run(folder, annotations, tmp_path / "out")
    assert {entry["file"] for entry in index["broken"]} == set(BROKEN)
    reasons = {entry["file"]: entry["reason"] for entry in index["broken"]}
    assert "empty" in reasons["empty.wav"]
    assert "non-finite" in reasons["nan.wav"]
    assert "cannot decode" in reasons["text.wav"]
    assert "truncated" in reasons["half.wav"]
    assert [entry["id"] for entry in index["missing"]] == ["gone"]
    assert [(e["id"], e["seconds"]) for e in index["too_short"]] == [("short", 0.01)]
    assert index["duplicates"] == [["c2", "again"]]
    assert index["clips"] == 8
    told = summary(index)
    for words in ("missing: 1", "broken: 7", "too short: 1", "duplicates: 1"):
        assert words in told
    kept = run(folder, annotations, tmp_path / "kept", min_seconds=0.0)
    assert kept["clips"] == 9


def test_six_channels_are_kept_or_mixed(write_own, tmp_path):
    folder, annotations = write_own({"s.wav": clip_bytes(channels=6), "m.wav": clip_bytes()})
    assert run(folder, annotations, tmp_path / "out")["channels"] == {"1": 1, "6": 1}
    index = run(folder, annotations, tmp_path / "flac", form="flac", rate_hz=8000)
    assert index["channels"] == {"1": 2}
    assert index["rates_hz"] == {"8000": 2}
    data = members(tmp_path / "flac")["s.flac"]
    assert soundfile.info(io.BytesIO(data)).samplerate == 8000


def test_workers_do_not_change_the_shards(write_own, good, tmp_path):
    folder, annotations = write_own({**good, "bad.wav": b"x"})
    run(folder, annotations, tmp_path / "one")
    run(folder, annotations, tmp_path / "two", workers=2)
    assert files_of(tmp_path / "one") == files_of(tmp_path / "two")


def test_only_what_is_not_finished_is_done_again(write_own, good, tmp_path):
    folder, annotations = write_own(good)
    out = tmp_path / "out"
    run(folder, annotations, out)
    before = files_of(out)
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    (out / "own-00001.tar").write_bytes(before["own-00001.tar"][:700])  # not as its record says
    (out / "own-00002.json").unlink()  # killed between the tar and its record
    (out / ".own-00002.tar.999.partial").write_bytes(b"half")
    run(folder, annotations, out)
    assert files_of(out) == before
    same = {name for name, t in times.items() if (out / name).stat().st_mtime_ns == t}
    assert same == {"own-00000.tar"}


#: `pal`, whose two workers come as far as clips of the fifth and sixth shard.
HALTS = """
import sys, threading
from pal_plugin.commands.main import main
from pal_plugin.utils import workers

do = workers._do
def halting(process, job, tick):
    late = int(job["path"].rpartition("-")[2].partition(".")[0]) >= 4
    do(process, job, (lambda clips: threading.Event().wait()) if late else tick)

workers._do = halting
sys.exit(main(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_killed_conversion_goes_on_to_the_same_shards(write_own, tmp_path):
    """SIGKILL while two workers write; nothing half-written is taken for whole."""
    clips = {f"k{n:02d}.wav": clip_bytes(pitch_hz=200 + n, seconds=4.0) for n in range(60)}
    folder, annotations = write_own(clips)
    out = tmp_path / "killed"
    options = ["--audio", str(folder), "--annotations", str(annotations), "--shard-size", "5"]
    options += ["--format", "ogg", "--rate", "8000", "--workers", "2", "--out", str(out)]
    command = [sys.executable, "-c", HALTS, "data", "convert", "own", *options]
    process = subprocess.Popen(command, stderr=subprocess.PIPE)
    while len(list(out.glob("own-*.json"))) < 4:
        assert process.poll() is None
        time.sleep(0.01)
    process.kill()
    process.communicate()  # until its workers, whose output this is too, have ended
    assert 4 <= len(list(out.glob("own-*.json"))) <= 6
    with pytest.raises(ConfigError, match="unfinished"):
        read_index(out)
    run(folder, annotations, out, shard_clips=5, form="ogg", rate_hz=8000)
    run(folder, annotations, tmp_path / "whole", shard_clips=5, form="ogg", rate_hz=8000)
    assert files_of(out) == files_of(tmp_path / "whole")


HOSTILE = [
    "../../x.wav",
    "/etc/x.wav",
    "a.b.c.wav",
    ".hidden.wav",
    "__meta__.wav",
    "Öl und Wasser.wav",
    "雨.wav",
    "a b.wav",
    "a/b.wav",
    "a_b.wav",
    "A_b.wav",
    "x" * 120 + ".wav",
]


def test_hostile_names_write_nothing_outside_and_stay_apart(tmp_path):
    folder, out = tmp_path / "in" / "audio", tmp_path / "in" / "out"
    folder.mkdir(parents=True)
    rows = []
    for number, name in enumerate(HOSTILE):
        file = f"f{number}.wav"
        (folder / file).write_bytes(clip_bytes(pitch_hz=300 + 10 * number))
        rows.append({"id": name, "audio": file, "label": "x"})
    annotations = tmp_path / "in" / "rows.jsonl"
    annotations.write_text("\n".join(json.dumps(row) for row in rows))
    before = sorted(tmp_path.rglob("*"))
    index = run(folder, annotations, out)
    assert index["clips"] == len(HOSTILE)
    after = [path for path in tmp_path.rglob("*") if out not in (path, *path.parents)]
    assert sorted(after) == before
    inside = members(out)
    assert len(inside) == 2 * len(HOSTILE)
    assert all(set(name) <= set(_SAFE) for name in inside)
    assert all(name.count(".") == 1 for name in inside)
    ids = [json.loads(data)["id"] for name, data in inside.items() if name.endswith(".json")]
    assert ids == HOSTILE
    assert verify(find_shards(out)) == []


_SAFE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-."


def test_another_conversion_into_the_same_folder_is_refused(write_own, good, tmp_path):
    folder, annotations = write_own(good)
    out = tmp_path / "out"
    run(folder, annotations, out)
    before = files_of(out)
    with pytest.raises(ConfigError, match=r"a different conversion \(format 'keep' -> 'flac'\)"):
        run(folder, annotations, out, form="flac")
    assert files_of(out) == before
    run(folder, annotations, out, shard_clips=2, resume=False)
    assert len(list(out.glob("*.tar"))) == 4
    stranger = tmp_path / "stranger"
    stranger.mkdir()
    (stranger / "thesis.txt").write_text("x")
    with pytest.raises(ConfigError, match=r"holds other files \(thesis.txt\)"):
        run(folder, annotations, stranger)


def test_other_annotations_or_audio_into_the_same_folder_are_refused(write_own, good, tmp_path):
    folder, annotations = write_own(good)
    other_folder, other = write_own(good, "other")
    out = tmp_path / "out"
    run(folder, annotations, out)
    before = files_of(out)
    with pytest.raises(ConfigError, match=r"\(annotations 'own.jsonl' -> 'other.jsonl'\)"):
        run(folder, other, out)
    with pytest.raises(ConfigError, match=r"\(audio '.*/own-audio' -> '.*/other-audio'\); .*no-re"):
        run(other_folder, annotations, out)
    text = annotations.read_text()
    annotations.write_text(text.replace("kind 1", "kind 9"))
    with pytest.raises(ConfigError, match=r"\(the content of own.jsonl has changed\)"):
        run(folder, annotations, out)
    assert files_of(out) == before
    assert "kind 9" in run(folder, annotations, out, resume=False)["labels"]
    assert str(tmp_path) not in (out / "index.json").read_text()  # shards go to other machines


def test_a_repaired_file_of_the_same_size_is_read_again(write_own, good, tmp_path):
    folder, annotations = write_own({**good, "c2.wav": b"x" * len(good["c2.wav"])})
    out = tmp_path / "out"
    assert [e["id"] for e in run(folder, annotations, out)["broken"]] == ["c2"]
    times = {path.name: path.stat().st_mtime_ns for path in out.glob("*.tar")}
    (folder / "c2.wav").write_bytes(good["c2.wav"])
    index = run(folder, annotations, out)
    assert (index["clips"], index["broken"]) == (7, [])
    again = {name for name, t in times.items() if (out / name).stat().st_mtime_ns != t}
    assert again == {"own-00000.tar"}


@pytest.mark.skipif(os.name != "posix", reason="file names are bytes on POSIX only")
def test_names_in_another_encoding_are_written_escaped(tmp_path, capsys):
    folder, out = tmp_path / "audio", tmp_path / "out"
    folder.mkdir()
    for name in (b"7_j\xf6rg_0.wav", b"notes\xff.wav", "8_jörg_0.wav".encode()):
        with open(os.path.join(os.fsencode(folder), name), "wb") as file:
            file.write(clip_bytes(pitch_hz=300 + len(name)))
    command = ["data", "convert", "fsdd", "--audio", str(folder), "--out", str(out)]
    assert main([*command, "--workers", "2", "--shard-size", "1"]) == 0
    index = read_index(out)
    assert index["problems"] == [r"notes\xff.wav: expected a name like DIGIT_SPEAKER_TAKE.wav"]
    facts = [json.loads(data) for name, data in members(out).items() if name.endswith("json")]
    assert sorted(fact["source"] for fact in facts) == [r"7_j\xf6rg_0.wav", "8_jörg_0.wav"]
    assert sorted(fact["id"] for fact in facts) == [r"7_j\xf6rg_0", "8_jörg_0"]
    assert main(["data", "verify", str(out)]) == 0
    assert main(["data", "show", str(out)]) == 0
    assert main([*command, "--workers", "1", "--shard-size", "1"]) == 0  # finished already
    with open(os.path.join(os.fsencode(folder), b"7_j\xf6rg_0.wav"), "wb") as file:
        file.write(b"no audio")
    assert main([*command, "--workers", "1", "--shard-size", "1"]) == 0
    assert [entry["file"] for entry in read_index(out)["broken"]] == [r"7_j\xf6rg_0.wav"]
    assert r"notes\xff.wav" in capsys.readouterr().out


def test_unicode_names_of_files_are_found_and_kept(write_own, tmp_path):
    names = ["雨.wav", "a b.wav", "Öl/été & x.wav", "emoji 🐕.wav", "-dash.wav", "q'uote\".wav"]
    folder, annotations = write_own(
        {name: clip_bytes(pitch_hz=300 + 10 * n) for n, name in enumerate(names)}
    )
    index = run(folder, annotations, tmp_path / "out")
    assert (index["clips"], index["missing"]) == (len(names), [])
    facts = [json.loads(d) for n, d in members(tmp_path / "out").items() if n.endswith("json")]
    assert [fact["source"] for fact in facts] == names
    assert verify(find_shards(tmp_path / "out")) == []


def test_audio_that_came_later_is_taken_in(write_own, good, tmp_path):
    folder, annotations = write_own({**good, "late.wav": None})
    assert run(folder, annotations, tmp_path / "out")["clips"] == 7
    (folder / "late.wav").write_bytes(clip_bytes(pitch_hz=1000))
    index = run(folder, annotations, tmp_path / "out")
    assert (index["clips"], index["missing"]) == (8, [])
    (folder / "c0.wav").unlink()
    (folder / "c1.wav").unlink()
    index = run(folder, annotations, tmp_path / "out")
    assert len(index["shards"]) == len(list((tmp_path / "out").glob("*.tar"))) == 2


def test_no_audio_at_all_is_an_error_with_the_names_tried(write_own, tmp_path):
    folder, annotations = write_own({"a.wav": None})
    with pytest.raises(ConfigError, match=r"found no audio for any of 1 clips.*tried a\.wav"):
        run(folder, annotations, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"form": "mp3"}, "no format 'mp3'"),
        ({"rate_hz": 8000}, "needs --format flac or ogg"),
        ({"shard_clips": 0}, "shard_clips is 0"),
        ({"workers": 0}, "workers is 0"),
        ({"split": "../x"}, "as split, got '../x'"),
        ({"min_seconds": float("nan")}, "min_seconds is nan"),
    ],
)
def test_options_that_cannot_be_are_refused(write_own, good, tmp_path, options, message):
    folder, annotations = write_own(good)
    with pytest.raises(ConfigError, match=message):
        run(folder, annotations, tmp_path / "out", **options)


def test_a_shard_of_broken_clips_only_is_an_empty_tar(write_own, good, tmp_path):
    folder, annotations = write_own({"x.wav": b"", "y.wav": b"", **good})
    index = run(folder, annotations, tmp_path / "out", shard_clips=2)
    assert [shard["clips"] for shard in index["shards"]] == [0, 2, 2, 2, 1]
    assert verify(find_shards(tmp_path / "out")) == []


def test_a_worker_that_dies_leaves_shards_that_are_gone_on_with(
    write_own, good, tmp_path, monkeypatch
):
    def killed(*args, **options):
        process = subprocess.Popen(*args, **options)
        process.kill()
        return process

    folder, annotations = write_own(good)
    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(workers, "subprocess", SimpleNamespace(Popen=killed, PIPE=subprocess.PIPE))
        with pytest.raises(
            RuntimeError, match="a worker died .*own-0000.*the same command resumes"
        ):
            run(folder, annotations, out, workers=2)
    assert not list(out.glob(".*"))
    assert not (out / "index.json").exists()
    assert run(folder, annotations, out)["clips"] == 7
    assert verify(find_shards(out)) == []
