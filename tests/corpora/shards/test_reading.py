"""Which shards a name stands for; the index beside them is found however they are named."""

import io
import json
import tarfile

import pytest

from pal_plugin.corpora.shards.convert import convert
from pal_plugin.corpora.shards.reading import Shards, find_shards, parse, read_shard
from pal_plugin.corpora.shards.stats import statistics, table
from pal_plugin.corpora.shards.verify import verify
from pal_plugin.utils.errors import ConfigError

from ..conftest import clip_bytes


@pytest.fixture
def made(write_own, good, tmp_path):
    """made(name) -> a folder with three shards of seven clips; all folders hold the same clips."""

    def make(name):
        folder, annotations = write_own({**good, "gone.wav": None}, name)
        options = {"shard_clips": 3, "workers": 1, "progress": False}
        convert("own", folder, [annotations], tmp_path / name, **options)
        return tmp_path / name

    return make


PATTERNS = ["{out}", "{out}/own-{{00000..00002}}.tar", "{out}/own-*.tar", "{out}/own-0000?.tar"]


@pytest.mark.parametrize("pattern", PATTERNS)
def test_the_index_is_found_beside_shards_given_by_a_pattern(made, pattern):
    out = made("a")
    shards = find_shards(pattern.format(out=out))
    assert [url.rpartition("/")[2] for url in shards.urls] == [f"own-0000{n}.tar" for n in range(3)]
    assert shards.clips == shards.audio_clips == 7
    assert shards.index["labels"] == ["kind 0", "kind 1", "kind 2"]
    assert [entry["id"] for entry in shards.index["missing"]] == ["gone"]
    assert verify(shards) == []
    listed = find_shards([f"{out}/own-00001.tar", out / "own-00002.tar"])
    assert (listed.clips, list(listed.counts.values())) == (4, [3, 1])


def test_clips_of_conversations_are_counted_beside_their_samples():
    entries = [{"name": "a.tar", "clips": 5, "samples": 2}, {"name": "b.tar", "clips": 3}]
    shards = Shards(["x/a.tar", "x/b.tar"], {"x": {"shards": entries}})
    assert (shards.clips, shards.audio_clips) == (5, 8)
    assert Shards([*shards.urls, "y/c.tar"], shards.indices).audio_clips is None


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_shard_that_vanished_or_changed_is_seen_by_a_pattern(made, pattern):
    out = made("a")
    (out / "own-00001.tar").unlink()
    path = out / "own-00002.tar"
    path.write_bytes(path.read_bytes().replace(b"kind 0", b"kind 9"))
    faults = verify(find_shards(pattern.format(out=out)))
    assert f"{out}/own-00001.tar, the shard: no such file" in faults
    assert f"{out}/own-00001.tar: expected 3 clips, read 0" in faults
    assert f"{out}/own-00002.tar: SHA-256 differs from the index" in faults
    assert len(faults) == 3


def test_several_folders_are_checked_as_each_alone(made):
    a, b = made("a"), made("b")
    assert verify(find_shards([a, b])) == []  # the same names in two folders are no fault
    with tarfile.open(b / "own-00000.tar", "a") as tar:
        facts = json.dumps({"items": [{"task": "qa", "question": "q", "answer": "a"}]}).encode()
        for name, data in (("new.wav", clip_bytes()), ("new.json", facts)):
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    alone = [*verify(find_shards(a)), *verify(find_shards(b))]
    assert verify(find_shards([a, b])) == alone
    assert alone == [
        f"{b}/own-00000.tar: SHA-256 differs from the index",
        f"{b}/own-00000.tar, new: not in the index",
        f"{b}/own-00000.tar: expected 3 clips, read 4",
    ]
    both = find_shards([a, b])
    assert both.clips == 14
    assert len(both.index["missing"]) == 2
    (b / "index.json").unlink()
    (b / "conversion.json").unlink()
    mixed = find_shards([a, b])
    assert mixed.clips is None
    assert mixed.index["labels"] is None  # those of b are not known
    assert len(mixed.index["missing"]) == 1


def test_a_tar_beside_the_index_is_told_of(made, caplog):
    out = made("a")
    (out / "more.tar").write_bytes((out / "own-00000.tar").read_bytes())
    assert len(find_shards(out).urls) == 3
    assert "does not list 1 tar files (e.g. more.tar); ignoring them" in caplog.text
    assert f"{out}/more.tar: not in the index" in verify(find_shards(f"{out}/*.tar"))


def test_an_index_of_another_program_is_no_index(made, caplog):
    out = made("a")
    (out / "conversion.json").unlink()
    for text in ("[]", '{"shards": [{"raw": 1}]}', '{"version": 2}'):
        (out / "index.json").write_text(text)
        shards = find_shards(out)
        assert (len(shards.urls), shards.index, shards.clips) == (3, None, None)
        assert "index.json is not an index of shards" in caplog.text
        assert verify(find_shards(f"{out}/*.tar")) == []


def test_shards_of_an_unfinished_conversion(made, caplog):
    out = made("a")
    (out / "index.json").unlink()
    with pytest.raises(ConfigError, match="unfinished"):
        find_shards(out)
    assert len(find_shards(f"{out}/*.tar").urls) == 3
    assert "is unfinished; shards are not checked against it" in caplog.text


@pytest.fixture
def foreign(tmp_path):
    """foreign(item, ...) -> a tar of one clip with these items, as another program wrote it."""

    def make(*items):
        with tarfile.open(tmp_path / "foreign.tar", "w") as tar:
            text = json.dumps({"duration": "0.3", "items": items}).encode()
            for name, data in (("c.wav", clip_bytes()), ("c.json", text)):
                info = tarfile.TarInfo(name)
                info.size = len(data)
                tar.addfile(info, io.BytesIO(data))
        return tmp_path / "foreign.tar"

    return make


ITEM = {"task": "qa", "question": "q", "answer": "a"}


def test_a_foreign_item_without_a_type_has_its_tasks(foreign):
    path = foreign(ITEM)
    (raw,) = read_shard(str(path))
    assert parse(raw)[1]["items"] == [{**ITEM, "question_type": "qa"}]
    assert verify(find_shards(path)) == []


@pytest.mark.parametrize(
    ("item", "told"),
    [
        ({"question": "q", "answer": "a"}, "item 1 has no task"),
        ({"task": "qa"}, "item 1 has no question, answer"),
        ({**ITEM, "answer": 3}, "item 1 needs text as answer"),
        ({**ITEM, "answers": "a"}, "item 1 needs a list as answers"),
        (
            {**ITEM, "task": "captoin"},
            r"item 1 has an unknown task 'captoin'\. .*Did you mean 'caption'",
        ),
        ("q", "item 1 is 'q', expected an object"),
    ],
)
def test_a_foreign_item_that_cannot_be_asked_is_named(foreign, item, told):
    path = foreign(ITEM, item)
    (raw,) = read_shard(str(path))
    with pytest.raises(ValueError, match=told):
        parse(raw)
    (fault,) = verify(find_shards(path))
    assert fault.startswith(f"{path}, c: item 1 ")


def test_statistics_of_foreign_shards_need_no_facts(foreign):
    text = table(statistics(find_shards(foreign(ITEM))))
    assert "rates in Hz  unknown 1" in text
    assert "hours" not in text


def raw(text):
    return {"__key__": "a", "__url__": "a.tar", "wav": b"x", "json": text}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (
            b'{"items": [], "id": "a", "id": "b"}',
            "cannot parse json: key 'id' occurs 2 times",
        ),
        (b'{"items": [{"question": "caf\xe9"}]}', "cannot parse json: .*utf-8"),
        (b"[" * 100_000, "cannot parse json"),
        (
            b'{"items": [{"task": "qa", "question": "?", "answer": "2", "answers": ["2", 2]}]}',
            r"item 0 needs text as answers\[1\], got 2 \(int\)",
        ),
    ],
)
def test_what_is_wrong_with_a_clips_json_is_told(text, told):
    with pytest.raises(ValueError, match=told):
        parse(raw(text))


def test_labels_of_an_index_are_texts_in_the_form_of_the_items(made):
    path = made("a") / "index.json"
    index = json.loads(path.read_text())
    path.write_text(json.dumps({**index, "labels": ["cafe\u0301", "caf\u00e9", "dog"]}))
    assert find_shards(path.parent).index["labels"] == ["caf\u00e9", "dog"]
    for labels, told in ((["dog", None], "None .NoneType."), ("dog", "'dog'")):
        path.write_text(json.dumps({**index, "labels": labels}))
        with pytest.raises(ConfigError, match=f"index.json: .* texts as labels, got {told}"):
            find_shards(path.parent)
