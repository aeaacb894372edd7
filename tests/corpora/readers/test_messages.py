"""Conversations from JSON lines, to shards and back."""

import json

import pytest

from pal_plugin.commands.main import main
from pal_plugin.corpora.locate import AudioFolder
from pal_plugin.corpora.readers import read_corpus
from pal_plugin.corpora.shards.reading import find_shards, parse, read_shard
from pal_plugin.corpora.shards.verify import verify
from tests.corpora.conftest import clip_bytes


def audio(clip=None):
    return {"type": "audio", **({} if clip is None else {"audio": clip})}


def row(*parts, answer="no", **more):
    content = [part if isinstance(part, dict) else {"type": "text", "text": part} for part in parts]
    return {
        "messages": [
            {"role": "user", "content": content or [audio(), "?"]},
            {"role": "assistant", "content": answer},
        ],
        **more,
    }


ROWS = [
    row(audio("a.wav"), "or", audio("b.flac"), audio("a.wav"), "?", candidates=["yes", "no"]),
    row(audio(), audio(), "same?", audios=["b.flac", "a.wav"], speaker="x", id="named"),
    row("Is there anything?", task="chat"),
    row(audio(), "and?", audios=["a.wav", "b.flac"]),
    row(audio(), audio(), "and?", audios=["a.wav"]),
    row(audio("a.wav"), audio("gone.wav"), "?"),
    row(audio("a.wav"), audio("text.wav"), "?"),
]


@pytest.fixture
def folder(tmp_path):
    place = tmp_path / "audio"
    place.mkdir()
    (place / "a.wav").write_bytes(clip_bytes())
    (place / "b.flac").write_bytes(clip_bytes("FLAC", seconds=0.5))
    (place / "text.wav").write_bytes(b"no audio")
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, ROWS)))
    return tmp_path


def test_rows_become_conversations_and_bad_ones_are_listed(folder):
    rows = folder / "rows.jsonl"
    corpus = read_corpus("messages", [rows], AudioFolder(folder / "audio"))
    assert [record.audio for record in corpus.records[:3]] == [
        ("a.wav", "b.flac"),
        ("b.flac", "a.wav"),
        (),
    ]
    first, second, third = (record.items[0] for record in corpus.records[:3])
    assert (first["task"], first["question"]) == (
        "classification",
        "[audio] or [audio] [audio] ?",
    )
    assert [part["audio"] for part in first["messages"][0]["content"] if "audio" in part] == [
        0,
        1,
        0,
    ]
    assert (second["task"], third["task"]) == ("qa", "chat")
    assert corpus.records[1].id == "named"
    assert second["facts"] == {"speaker": "x"}
    assert len(corpus.problems) == 2
    assert "line 4: the messages have 1 placeholders for 2 audios" in corpus.problems[0]
    assert "line 5: the messages have 2 placeholders for 1 audios" in corpus.problems[1]


def test_shards_hold_them_and_are_verified(folder, capsys):
    out = folder / "shards"
    command = f"data convert messages --audio {folder / 'audio'} --out {out} --workers 1"
    assert main([*command.split(), "--annotations", str(folder / "rows.jsonl")]) == 0
    index = json.loads((out / "index.json").read_text())
    assert (index["samples"], index["clips"]) == (3, 4)
    assert [entry["id"] for entry in index["missing"]] == ["rows-000006"]
    assert [entry["file"] for entry in index["broken"]] == ["text.wav"]
    shards = find_shards(out)
    assert shards.clips == 3
    assert verify(shards) == []
    samples = [parse(raw) for raw in read_shard(shards.urls[0])]
    assert [len(clips) for clips, _ in samples] == [2, 2, 0]
    assert samples[0][0][0] == clip_bytes()
    capsys.readouterr()
    assert main(["data", "stats", str(out)]) == 0
    assert "conversations  3" in capsys.readouterr().out
    assert main(["data", "show", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "[audio 0]<|user|>" in shown
    assert "<|assistant|>« no<|end|>»" in shown


def test_a_sample_with_fewer_or_more_clips_than_its_messages_is_an_error():
    item = {**row(audio(0), audio(1), "?"), "task": "qa"}
    facts = {"clips": [{}], "items": [item]}
    raw = {"__key__": "x", "__url__": "u", "0.wav": b"", "json": json.dumps(facts).encode()}
    with pytest.raises(ValueError, match=r"placeholders for 2 clips \(0, 1\).* the sample has 1"):
        parse(raw)
    with pytest.raises(ValueError, match="json has 1 clips, but the sample has 2 audio files"):
        parse({**raw, "1.wav": b""})
    facts["items"] = [{"task": "qa", "question": "q", "answer": "a"}]
    with pytest.raises(ValueError, match="no messages, which a sample of 1 clips needs"):
        parse({**raw, "json": json.dumps(facts).encode()})
