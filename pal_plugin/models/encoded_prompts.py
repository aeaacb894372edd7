"""Prompts with clips that were encoded before, perhaps at different times."""

from __future__ import annotations

from collections.abc import Sequence

from pal_plugin.integration.routing import LLMInputs, RoutedAudio
from pal_plugin.llm.conversation import Turns
from pal_plugin.llm.families import embedding_scale
from pal_plugin.models.audio_llm import AudioLLM
from pal_plugin.models.batching import pad_ids
from pal_plugin.models.conversations import clip_places


def encoded_prompts(
    model: AudioLLM, rows: Sequence[Turns], clips: Sequence[RoutedAudio]
) -> LLMInputs:
    """R prompts, left-padded: each row ends where its answer begins.

    Args:
        rows: what was said, with the places of the clips.
        clips: as routed to the LLM (`AudioKV.routed`), one each, those of row after row.
    """
    ids, mask = pad_ids([row.ids for row in rows], "left", model.text.pad_id, model.device)
    embeds = model.llm.get_input_embeddings()(ids)
    places = clip_places([row.places for row in rows], range(len(clips)), model.device)
    routed = RoutedAudio.stacked(clips) if clips else RoutedAudio()
    return routed.with_text(embeds, mask, embedding_scale(model.llm), "left", places)
