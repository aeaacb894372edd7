"""Clips with several questions to one batch."""

from types import SimpleNamespace

import torch

from pal_plugin.datasets.collate import SkippedClip, audio_clips_of, collate_clips


def clip(name, *items):
    return {"audio": torch.ones(2), "sample_id": name, "items": list(items)}


def item(question, **more):
    return {"question": question, "answer": "yes", "task": "qa", **more}


def test_rows_point_to_their_clips():
    clips = [
        clip("a", item("q1", number=4), item("q2", answers=["yes", "yeah"])),
        SkippedClip("broken.flac", "cannot be decoded"),
        clip("without questions"),
        clip("b", item("q3", task="classification", candidates=["yes", "no"])),
    ]
    batch = collate_clips(clips, torch.stack)
    assert batch["audio"].shape == (2, 2)
    assert batch["clip_index"].tolist() == [0, 0, 1]
    assert batch["text_input"] == ["q1", "q2", "q3"]
    assert batch["answers"] == [["yes"], ["yes", "yeah"], ["yes"]]
    assert batch["candidates"] == [None, None, ["yes", "no"]]
    assert batch["question_type"] == ["qa", "qa", "classification"]
    assert batch["question_id"] == ["a#4", "a#1", "b#0"]
    assert batch["num_clips"] == 2
    assert batch["skipped"] == ["broken.flac (cannot be decoded)"]


def test_a_batch_of_broken_clips_has_no_rows_and_keeps_their_names():
    batch = collate_clips([SkippedClip("x", "why")])
    assert batch["text_input"] == []
    assert "audio" not in batch
    assert batch["skipped"] == ["x (why)"]


def talk(*clips, answer="yes", **more):
    content = [{"type": "audio", "audio": number} for number in clips]
    content.append({"type": "text", "text": "same?"})
    messages = [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
    return item("same?", answer=answer, messages=messages, **more)


def numbers(messages):
    return [part["audio"] for part in messages[0]["content"] if part["type"] == "audio"]


def test_conversations_refer_to_the_clips_of_the_batch():
    one, two = torch.ones(2), torch.zeros(2)
    clips = [
        {"audio": [one, two], "sample_id": "a", "items": [talk(1, 0), talk(0, 1, answer="no")]},
        SkippedClip("broken", "why"),
        {"audio": [], "sample_id": "t", "items": [talk()]},
        {"audio": one, "sample_id": "single", "items": [item("q")]},
        {"audio": [two], "sample_id": "b", "items": [talk(0)]},
    ]
    batch = collate_clips(clips, torch.stack)
    assert torch.equal(batch["audio"], torch.stack([one, two, one, two]))
    assert list(map(numbers, batch["messages"])) == [[1, 0], [0, 1], [], [2], [3]]
    assert {messages[-1]["role"] for messages in batch["messages"]} == {"user"}
    assert batch["text_output"] == ["yes", "no", "yes", "yes", "yes"]
    assert batch["num_clips"] == 4
    assert "clip_index" not in batch
    text = collate_clips(clips[2:3])
    assert "audio" not in text
    assert list(map(numbers, text["messages"])) == [[]]


def test_a_dataset_of_conversations_tells_its_clips():
    assert audio_clips_of(["a", "b"]) == 2  # a clip each
    assert audio_clips_of(SimpleNamespace(audio_clips=lambda: 5)) == 5
    assert audio_clips_of(object()) is None
