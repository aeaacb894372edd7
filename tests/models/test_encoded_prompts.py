"""Prompts with clips encoded one by one are those that the model makes of the conversations."""

import pytest
import torch

from pal_plugin.llm.conversation import read_messages
from pal_plugin.models.encoded_prompts import encoded_prompts


def said(*parts):
    content = [
        {"type": "text", "text": p} if isinstance(p, str) else {"type": "audio", "audio": p}
        for p in parts
    ]
    return {"role": "user", "content": content}


@pytest.mark.parametrize(
    "model_type",
    ["pal", *(pytest.param(t, marks=pytest.mark.slow) for t in ("lal", "plits", "flamingo"))],
)
def test_prompts_are_those_of_the_model(tiny_model, two_clips, model_type):
    model, (short, long) = tiny_model(model_type), two_clips["audio"]
    conversations = [
        [said(short, "What is it, or is it", long, "?")],
        [said("Hello")],
        [said(long, "And this?"), {"role": "assistant", "content": "a bell"}, said(short)],
    ]
    rows = [read_messages(model.text, c, model.audio_place) for c in conversations]
    clips = [model.encode(clip).routed for row in rows for clip in row.clips]
    with torch.no_grad():
        mine = encoded_prompts(model, rows, clips)
        theirs = model.prompts({"messages": conversations})
        logits = [
            model.llm(inputs_embeds=p.embeds, attention_mask=p.mask, **p.audio_kwargs).logits[:, -1]
            for p in (mine, theirs)
        ]
    assert mine.count() == theirs.count()
    torch.testing.assert_close(*logits, atol=1e-5, rtol=1e-5)


def test_without_any_clip(tiny_model):
    model = tiny_model("lal")
    row = read_messages(model.text, [said("Hello")])
    prompt = encoded_prompts(model, [row], [])
    assert prompt.audio is None
    assert prompt.count() == ([len(row.ids)], [0])
