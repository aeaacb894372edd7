"""The fast way to the audio's keys and values: the equations', made once where they are kept."""

import torch
from checks import Batch, close, each_family, tiny

from pal_plugin.attention.attached import attached
from pal_plugin.attention.keys_values import (
    audio_keys_values,
    cached_keys_values,
    normed_once,
    precompute,
)
from pal_plugin.integration import attach, lal


@torch.no_grad()
@each_family
def test_each_layer_gives_what_the_equations_give(family):
    llm = attach(tiny(family))
    decoder, layers = llm.get_decoder(), len(llm.get_decoder().layers)
    gains = torch.linspace(0.2, 1.5, layers * 6).view(layers, 6)
    audio = Batch("left").audio(gains=gains)
    shared = normed_once(decoder, audio)
    once = precompute(llm, audio)
    for index, (attention, _) in enumerate(attached(decoder, "audio").adapters):
        gain = gains[index][:, None]
        expected = lal.keys_values(attention, audio.features, audio.positions, gain)
        for way in (audio, shared, once):
            for made, wanted in zip(
                audio_keys_values(attention, way, audio.features), expected, strict=True
            ):
                close(made, wanted)
        assert all(made.is_contiguous() for made in once.clip_kv[index])


@torch.no_grad()
def test_they_are_kept_where_the_context_says_so():
    llm = attach(tiny("llama"))
    attention, _ = attached(llm.get_decoder(), "audio").adapters[1]
    audio = Batch(None).audio()
    assert (
        cached_keys_values(attention, audio, audio.features)[0]
        is not cached_keys_values(attention, audio, audio.features)[0]
    )
    remembering = audio.with_kv_cache()
    first, again = (cached_keys_values(attention, remembering, audio.features) for _ in range(2))
    assert first[0] is again[0]
    assert list(remembering.kv) == [1]
