"""Loads pretrained Q-Former weights into transformers' `Blip2QFormerModel`.

Design choice: only keys matched by a rule below are skipped (the text branch, other components of
a full model); any other missing, unexpected or mismatched key is an error that names it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from torch import Tensor, nn

from pal_plugin.utils.weights import load_weights, read_weights

#: Prefix of a Q-Former within a full model: SALMONN's, LAVIS's BLIP-2, transformers' BLIP-2.
_PREFIXES = ("speech_Qformer.", "Qformer.", "qformer.")
_QUERIES = ("speech_query_tokens", "query_tokens")
#: Other components of such models, in the same order.
_OTHER_PARTS = (
    *("speech_encoder", "beats", "ln_speech", "ln_audio", "llama_model", "speech_llama_proj"),
    *("visual_encoder", "ln_vision", "vision_proj", "text_proj", "itm_head", "temp"),
    *("opt_model", "opt_proj", "t5_model", "t5_proj", "llm_model", "llm_proj"),
    *("vision_model", "language_model", "language_projection"),
    *("embeddings", "vision_projection", "text_projection"),
)
#: The unused text branch: embeddings, the text half of each FFN, the language-model head.
_TEXT_HALF = re.compile(
    r"cls\.|embeddings\.(word_embeddings|position_embeddings|position_ids)"
    r"|encoder\.layer\.\d+\.(intermediate|output)\."
)


def load_qformer(qformer: nn.Module, path: str | Path) -> Tensor | None:
    """Loads the checkpoint `path` into a `Blip2QFormerModel`.

    Returns:
        The checkpoint's query tokens `[queries, hidden]`; None if it has none.

    Raises:
        FileNotFoundError, ValueError: if the file is missing, unreadable or does not match; names
            every missing, unexpected and mismatched key.
    """
    weights, queries, unknown = from_lavis(read_weights(path))
    hint = f"check hidden, layers and cross_attention_frequency{_width_hint(weights, qformer)}"
    load_weights(qformer, weights, path, unknown=unknown, hint=hint)
    return queries


def from_lavis(
    weights: Mapping[str, Tensor],
) -> tuple[dict[str, Tensor], Tensor | None, list[str]]:
    """Sorts a checkpoint's tensors, with key names of LAVIS, SALMONN or transformers.

    Returns:
        The Q-Former's tensors by `Blip2QFormerModel` names; the query tokens `[queries, hidden]` or
        None; unknown keys.
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
    """Renames LAVIS's key to transformers'; transformers' own keys are unchanged."""
    if key.startswith("embeddings.LayerNorm."):
        return key.removeprefix("embeddings.").replace("LayerNorm", "layernorm")
    return re.sub(r"\b((?:cross)?attention)\.self\.", r"\1.attention.", key)


def _width_hint(weights: Mapping[str, Tensor], qformer: nn.Module) -> str:
    """A hint for checkpoints with another encoder width; empty if it matches."""
    for key, ours in qformer.state_dict().items():
        theirs = weights.get(key)
        if not key.endswith("crossattention.attention.key.weight") or theirs is None:
            continue
        if theirs.shape[0] == ours.shape[0] and theirs.shape[1] != ours.shape[1]:
            return (
                f". It expects encoder tokens of width {theirs.shape[1]}, got "
                f"{ours.shape[1]}: encoder_width: {theirs.shape[1]} projects them"
            )
    return ""
