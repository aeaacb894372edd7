"""Weights of a Q-Former that others trained, for transformers' `Blip2QFormerModel`.

Design choice: only what a rule below names is left out (the text half, the other parts of the whole
model in the file); whatever else is missing, left over or misshapen is an error that names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from pal_plugin.utils.weights import load_weights, read_weights

#: A Q-Former inside of a whole model: SALMONN's, LAVIS's BLIP-2, BLIP-2 of transformers.
_PREFIXES = ("speech_Qformer.", "Qformer.", "qformer.")
_QUERIES = ("speech_query_tokens", "query_tokens")
#: What such models consist of besides the Q-Former and its queries, in the same order.
_OTHER_PARTS = (
    *("speech_encoder", "beats", "ln_speech", "ln_audio", "llama_model", "speech_llama_proj"),
    *("visual_encoder", "ln_vision", "vision_proj", "text_proj", "itm_head", "temp"),
    *("opt_model", "opt_proj", "t5_model", "t5_proj", "llm_model", "llm_proj"),
    *("vision_model", "language_model", "language_projection"),
    *("embeddings", "vision_projection", "text_projection"),
)
#: No words are read here: their embeddings, their half of each FFN, the head that predicts them.
_TEXT_HALF = re.compile(
    r"cls\.|embeddings\.(word_embeddings|position_embeddings|position_ids)"
    r"|encoder\.layer\.\d+\.(intermediate|output)\."
)


def load_qformer(qformer: nn.Module, path: str | Path) -> Tensor | None:
    """Load the checkpoint `path` into a `Blip2QFormerModel`.

    Returns:
        The checkpoint's query tokens `[queries, hidden]`; None if it has none.

    Raises:
        FileNotFoundError, ValueError: nothing readable there, or it does not fit; every missing,
            unexpected and misshapen key is named.
    """
    weights, queries, unknown = from_lavis(read_weights(path))
    hint = f"check hidden, layers and cross_attention_frequency{_width_hint(weights, qformer)}"
    load_weights(qformer, weights, path, unknown=unknown, hint=hint)
    return queries


def from_lavis(
    weights: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], Tensor | None, list[str]]:
    """Sort a checkpoint's tensors; keys as LAVIS, SALMONN or transformers write them.

    Returns:
        The Q-Former's tensors by their names in `Blip2QFormerModel`; the query tokens
        `[queries, hidden]` or None; the keys that no rule knows.
    """
    prefix = next((p for p in _PREFIXES if any(k.startswith(p) for k in weights)), "")
    own, queries, unknown = {}, None, []
    for key, tensor in weights.items():
        if key in _QUERIES:
            queries = tensor.reshape(-1, tensor.shape[-1])
        elif key.startswith(prefix):
            inner = key.removeprefix(prefix).removeprefix("bert.")
            if not _TEXT_HALF.match(inner):
                own[_renamed(inner)] = tensor
        elif key.split(".")[0] not in _OTHER_PARTS:
            unknown.append(key)
    return own, queries, unknown


def _renamed(key: str) -> str:
    """LAVIS's name of a tensor -> that of transformers; one of transformers stays as it is."""
    if key.startswith("embeddings.LayerNorm."):
        return key.removeprefix("embeddings.").replace("LayerNorm", "layernorm")
    return re.sub(r"\b((?:cross)?attention)\.self\.", r"\1.attention.", key)


def _width_hint(weights: Mapping[str, Tensor], qformer: nn.Module) -> str:
    """What to do where the checkpoint reads tokens of another width."""
    for key, ours in qformer.state_dict().items():
        theirs = weights.get(key)
        if not key.endswith("crossattention.attention.key.weight") or theirs is None:
            continue
        if theirs.shape[0] == ours.shape[0] and theirs.shape[1] != ours.shape[1]:
            return (
                f". It reads encoder tokens of width {theirs.shape[1]}, here they have "
                f"{ours.shape[1]}: encoder_width: {theirs.shape[1]} projects them"
            )
    return ""
