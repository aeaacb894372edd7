"""Log-probabilities of candidate answers after prefilled prompts.

Uses the prefix tree if the attention takes a dense mask; otherwise, or with `tree=False`, each
candidate is a row of a padded batch with a copy of the prompt's KV cache.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pad_sequence

from pal_plugin.llm.head import logits_of
from pal_plugin.llm.label_tree import (
    LabelTree,
    ReadPrompt,
    cache_keyword,
    fork,
    score,
    supports_tree,
)

#: Candidates per padded batch: each has a copy of the prompt's cache and its own logits.
_ROWS = 32


def log_probabilities(
    llm: nn.Module,
    prompt: ReadPrompt,
    candidates: Sequence[Sequence[int]],
    tree: bool = True,
    **kwargs,
) -> tuple[Tensor, Tensor]:
    """Sum over the tokens of each candidate, float32 `[R, C]`, and the number of tokens, `[C]`.

    Args:
        prompt: R prefilled rows, from `read_prompt`; not modified.
        candidates: token ids with their end token.
        tree: use the prefix tree if the LLM supports it.
        kwargs: passed to the decoder; the same as for `read_prompt`.
    """
    if tree and supports_tree(llm):
        return score(llm, prompt, LabelTree.build(candidates), **kwargs)
    parts = [
        _padded(llm, prompt, candidates[start : start + _ROWS], **kwargs)
        for start in range(0, len(candidates), _ROWS)
    ]
    return torch.cat([sums for sums, _ in parts], 1), torch.cat([counts for _, counts in parts])


def _padded(llm: nn.Module, prompt: ReadPrompt, candidates: Sequence[Sequence[int]], **kwargs):
    rows, many = len(prompt.mask), len(candidates)
    device = prompt.mask.device
    tokens = [torch.tensor(list(candidate), device=device) for candidate in candidates]
    ids = pad_sequence(tokens, batch_first=True)
    valid = pad_sequence([torch.ones_like(t) for t in tokens], batch_first=True)
    decoder, cache = llm.get_decoder(), fork(prompt.cache)
    cache.batch_repeat_interleave(many)
    # The last token of a candidate predicts nothing, so it is not processed.
    step = torch.arange(ids.shape[1] - 1, device=device)
    read = valid[:, :-1].repeat(rows, 1).to(prompt.mask.dtype)
    first = prompt.hidden[:, None].expand(-1, many, -1, -1)
    said = first[:, :, :0]
    if len(step):
        said = decoder(
            input_ids=ids[:, :-1].repeat(rows, 1),
            attention_mask=torch.cat([prompt.mask.repeat_interleave(many, 0), read], dim=1),
            position_ids=(prompt.position[:, None] + step).repeat_interleave(many, 0),
            use_cache=True,
            **{cache_keyword(decoder): cache},
            **kwargs,
        ).last_hidden_state.unflatten(0, (rows, many))
    logits = logits_of(llm, torch.cat([first, said], dim=2))  # [R, C, length, vocabulary]
    logp = logits.log_softmax(-1).gather(-1, ids.expand(rows, -1, -1)[..., None])[..., 0]
    return (logp * valid).sum(-1), valid.sum(-1)
