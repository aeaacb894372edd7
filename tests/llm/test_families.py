"""Logits of `llm(audio=)` on all nine families against the explicit reference.

That the reference itself is right is shown in `test_reference.py`, against stock transformers.
"""

import inspect

import pytest
import torch
from checks import (
    Batch,
    close,
    differ,
    each_case_and_backend,
    each_family,
    each_family_and_backend,
    tiny,
)
from families import CASES
from reference import lal_logits
from transformers import DynamicCache

from pal_plugin.integration import AudioContext, attach


@each_case_and_backend
@pytest.mark.parametrize("padding", ["left", "right", None])
def test_logits(family, backend, padding):
    llm = attach(tiny(family, backend))
    for n in (7, 20):  # sdpa treats up to 16 queries without gradients in its own way
        batch = Batch(padding, n)
        with torch.no_grad():
            expected = batch.reference(llm)
            batch.check(llm(**batch.text, audio=batch.audio()).logits, expected)
        batch.check(llm(**batch.text, audio=batch.audio()).logits, expected)


@torch.no_grad()
@each_family_and_backend
def test_a_set_of_layers(family, backend):
    llm = attach(tiny(family, backend))
    batch = Batch()
    for layers in ({1}, {0, 2}):
        logits = llm(**batch.text, audio=batch.audio(layers)).logits
        batch.check(logits, batch.reference(llm, layers))
    with pytest.raises(ValueError, match="expected at least one layer"):
        batch.audio([])


@torch.no_grad()
@each_family
def test_several_texts_about_each_clip(family):
    llm = attach(tiny(family))
    batch = Batch()
    ids, mask = (t.repeat_interleave(2, 0) for t in (batch.ids, batch.mask))
    ids[1::2] = ids[1::2].flip(-1) * mask[1::2] + (ids[1::2] == 0) * mask[1::2]
    logits = llm(input_ids=ids, attention_mask=mask, audio=batch.audio()).logits
    for row in range(6):
        text = mask[row].bool()
        close(logits[row, text], lal_logits(llm, ids[row, text], batch.heard(row // 2)))


@torch.no_grad()
@each_case_and_backend
@pytest.mark.parametrize("first", [4, 18])
@pytest.mark.parametrize("padding", ["left", None])
def test_a_text_in_two_parts_with_a_cache(family, backend, first, padding):
    """As in a conversation: several queries meet a filled cache, windows included."""
    llm = attach(tiny(family, backend))
    batch = Batch(padding, n=24)
    cache = DynamicCache(config=llm.config)
    known = inspect.signature(type(llm.model).forward).parameters
    name = "cache" if "cache" in known else "past_key_values"  # renamed in transformers 5
    parts = []
    for part in (slice(0, first), slice(first, 24)):
        out = llm(
            input_ids=batch.ids[:, part],
            attention_mask=None if padding is None else batch.mask[:, : part.stop],
            audio=batch.audio(),
            use_cache=True,
            **{name: cache},
        )
        parts.append(out.logits)
    batch.check(torch.cat(parts, 1), batch.reference(llm))


@torch.no_grad()
@each_family_and_backend
def test_audio_that_is_all_padding_is_no_audio(family, backend):
    llm = attach(tiny(family, backend))
    batch = Batch()
    deaf = AudioContext(batch.features, torch.zeros_like(batch.audio_mask))
    none = AudioContext(batch.features[:, :0], batch.audio_mask[:, :0])
    for audio in (deaf, none):
        batch.check(llm(**batch.text, audio=audio).logits, batch.reference(llm, layers=()))


@torch.no_grad()
@each_family
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision(family, dtype, autocast):
    experts = CASES[family][1].get("num_experts_per_tok")
    # All of them: rounding would let a token go to others than in the exact model.
    llm = attach(tiny(family, **({"num_experts_per_tok": 4} if experts else {})))
    batch = Batch("left", n=20)
    exact = batch.reference(llm)
    deaf = batch.reference(llm, layers=())
    if autocast:
        with torch.autocast("cpu", dtype):
            logits = llm(**batch.text, audio=batch.audio()).logits
    else:
        llm = llm.to(dtype)
        audio = AudioContext(batch.features.to(dtype), batch.audio_mask)
        logits = llm(**batch.text, audio=audio).logits
        assert logits.dtype == dtype
    tolerance = 0.1 if dtype == torch.bfloat16 else 0.015
    for row in range(3):
        close(logits[row, batch.valid(row)].float(), exact[row], tolerance)
    differ(deaf[0], exact[0], by=0.3)  # so that it shows if no audio is heard
