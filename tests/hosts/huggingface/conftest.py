"""Tiny models in folders, and conversations about two clips."""

import pytest


@pytest.fixture
def stored(trained, tmp_path):
    """`stored("pal", llm="lora")` -> a model with random trained weights, and its folder."""

    def make(model_type="lal", **stage):
        model = trained(model_type, **stage)
        return model, model.save_pretrained(tmp_path / "stored")

    return make


@pytest.fixture
def talks(two_clips):
    """Conversations that end with a question: several clips and turns, one clip, and none."""
    first, second = two_clips["audio"]

    def heard(clip):
        return {"type": "audio", "audio": clip}

    def text(words):
        return {"type": "text", "text": words}

    return [
        [
            {"role": "user", "content": [heard(first), text("What is it?")]},
            {"role": "assistant", "content": "a bell"},
            {"role": "user", "content": [text("And"), heard(second), text("this?")]},
        ],
        [{"role": "user", "content": [heard(second), text("What do you hear?")]}],
        [{"role": "user", "content": "Is there anything?"}],
    ]


@pytest.fixture
def answered(talks):
    """The same conversations with their last answers."""
    return [[*talk, {"role": "assistant", "content": "rain and a bell"}] for talk in talks]
