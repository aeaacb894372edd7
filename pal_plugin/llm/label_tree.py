"""Likelihood ranking of hundreds of candidate answers by a prefix tree over their tokens.

The prompt is prefilled once into a KV cache. The tokens of all candidates then go through the
decoder together, shared prefixes only once: a mask restricts each token to the prompt and the
preceding tokens of its own candidates. No row is repeated per candidate.

Shapes: R prompts of P columns, C candidates of at most L tokens, M nodes in the tree, n nodes per
forward pass, D LLM width.
"""

from __future__ import annotations

import copy
import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields

import torch
from torch import Tensor, nn
from transformers import AttentionMaskInterface, DynamicCache

from pal_plugin.llm.head import logits_of
from pal_plugin.llm.internals import attention_implementation

#: Model types tested (transformers 4.57 and 5.24) to use a 4-D mask unchanged.
FAMILIES = (
    *("llama", "mistral", "qwen2", "qwen3", "phi3"),
    *("gemma2", "gemma3_text", "smollm3", "olmo2"),
    *("gemma", "granite", "granitemoe", "mixtral", "ministral", "ministral3"),
    *("qwen2_moe", "qwen3_moe", "gpt_oss"),
)
#: Rows of logits, each of vocabulary size, computed at a time.
HEAD_ROWS = 256


@dataclass(frozen=True, eq=False)
class LabelTree:
    """Candidates as a prefix tree, with nodes in depth-first order.

    Args:
        tokens: `[M]` token id of each node.
        parent: `[M]` parent node; -1 is the prompt.
        depth: `[M]` number of tokens between the prompt and the node.
        end: `[M]` first node after the node's subtree.
        paths: `[C, L]` nodes of each candidate, padded with -1.
    """

    tokens: Tensor
    parent: Tensor
    depth: Tensor
    end: Tensor
    paths: Tensor

    @classmethod
    def build(cls, candidates: Sequence[Sequence[int]]) -> LabelTree:
        """Builds the tree of candidates given as token ids, with their end token if it counts.

        Duplicates share their nodes, and a candidate may be a prefix of another one.

        Raises:
            ValueError: if there are no candidates, or one has no tokens.
        """
        sequences = [tuple(candidate) for candidate in candidates]
        if not sequences:
            raise ValueError("expected at least one candidate")
        if () in sequences:
            raise ValueError(f"candidate {sequences.index(())} has no tokens")
        tokens, parent, depth, paths = [], [], [], {}
        path: list[int] = []
        before: tuple[int, ...] = ()
        # In sorted order neighbours share the longest prefixes, and nodes are depth-first.
        for sequence in sorted(set(sequences)):
            # Compare up to the shorter one: a neighbour may extend the other.
            pairs = enumerate(zip(before, sequence, strict=False))
            path = path[: next((i for i, (a, b) in pairs if a != b), len(before))]
            for token in sequence[len(path) :]:
                tokens.append(token)
                parent.append(path[-1] if path else -1)
                depth.append(len(path))
                path.append(len(tokens) - 1)
            paths[sequence], before = path, sequence
        end = [node + 1 for node in range(len(tokens))]
        for node in reversed(range(len(tokens))):
            if parent[node] >= 0:
                end[parent[node]] = max(end[parent[node]], end[node])
        rows = [torch.tensor(paths[sequence]) for sequence in sequences]
        padded = nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
        return cls(*map(torch.tensor, (tokens, parent, depth, end)), padded)

    def to(self, device: torch.device) -> LabelTree:
        """A copy on another device."""
        return LabelTree(*(getattr(self, field.name).to(device) for field in fields(self)))

    @property
    def counts(self) -> Tensor:
        """Number of tokens of each candidate, `[C]`."""
        return (self.paths >= 0).sum(1)

    @property
    def read(self) -> Tensor:
        """Nodes with children, in order; the decoder only has to process these."""
        return self.parent[self.parent >= 0].unique()

    def ancestors(self, nodes: Tensor) -> Tensor:
        """`[n, n]` bool: whether node i of `nodes` (long `[n]`) is or descends from node j."""
        return (nodes <= nodes[:, None]) & (nodes[:, None] < self.end[nodes])

    def chunks(self, size: int) -> Iterator[Tensor]:
        """`read` in runs of `size` nodes, each preceded by their ancestors from earlier runs.

        These are the ancestors of a run's first node: in depth-first order, the other nodes'
        ancestors are among them or in the run.
        """
        read = self.read
        for start in range(0, len(read), size):
            run = read[start : start + size]
            above = (read < run[0]) & (run[0] < self.end[read])
            yield torch.cat([read[above], run])


@dataclass(frozen=True, eq=False)
class ReadPrompt:
    """The state after the prefill of prompts.

    Args:
        cache: keys and values of R rows and P columns.
        hidden: `[R, 1, D]` the decoder's output at the last column, which predicts the answer.
        mask: `[R, P]`, nonzero for valid columns; the last column always is.
        position: `[R]` position of the first token of an answer.
    """

    cache: DynamicCache
    hidden: Tensor
    mask: Tensor
    position: Tensor


def cache_keyword(decoder: nn.Module) -> str:
    """`decoder`'s name of the KV cache argument: `past_key_values`; `cache` since transformers
    5.24, which deprecates the old name."""
    known = inspect.signature(decoder.forward).parameters
    return "cache" if "cache" in known else "past_key_values"


def read_prompt(
    llm: nn.Module,
    embeds: Tensor,
    mask: Tensor,
    positions: Tensor,
    cache: DynamicCache | None = None,
    **kwargs,
) -> ReadPrompt:
    """Prefills left-padded prompts.

    Args:
        embeds: `[R, P, D]`.
        mask, positions: `[R, P]`.
        cache: of the first columns, which are not read again; it is filled further.
        kwargs: passed to the decoder (`audio=...`).

    Raises:
        RuntimeError: if the decoder does not fill the cache.
    """
    decoder = llm.get_decoder()
    cache = DynamicCache(config=decoder.config) if cache is None else cache
    past = cache.get_seq_length()
    kwargs[cache_keyword(decoder)] = cache
    hidden = decoder(
        inputs_embeds=embeds[:, past:],
        attention_mask=mask,
        position_ids=positions[:, past:],
        use_cache=True,
        **kwargs,
    ).last_hidden_state[:, -1:]
    if cache.get_seq_length() != embeds.shape[1]:  # transformers 4 silently drops the cache
        raise RuntimeError(
            f"expected {embeds.shape[1]} cached columns, got {cache.get_seq_length()}: call "
            "llm.eval(); gradient checkpointing in training disables the cache"
        )
    return ReadPrompt(cache, hidden, mask, positions[:, -1] + 1)


def supports_tree(llm: nn.Module) -> bool:
    """Whether `score` is exact for this LLM: a tested family, and attention with a dense mask."""
    return _dense_mask(llm) is not None and llm.config.get_text_config().model_type in FAMILIES


def _dense_mask(llm: nn.Module) -> str | None:
    """ "sdpa" (bool) or "eager" (additive), the mask format of the attention; None if neither.

    Determined by the registered mask function, since an extension has its own name.
    """
    known = AttentionMaskInterface()
    made_by = known.get(attention_implementation(llm.get_decoder().config))
    return next((name for name in ("sdpa", "eager") if made_by is known[name]), None)


@torch.no_grad()
def score(
    llm: nn.Module, prompt: ReadPrompt, tree: LabelTree, *, max_nodes: int = 1024, **kwargs
) -> tuple[Tensor, Tensor]:
    """Log-probability of every candidate after every prompt.

    Args:
        prompt: output of `read_prompt`; not modified, and reusable.
        max_nodes: larger trees are processed in several runs against the same prompt, each with the
            few ancestors repeated that it depends on.
        kwargs: passed to the decoder; the same as for `read_prompt`.

    Returns:
        Sums over the tokens, float32 `[R, C]`, and the number of tokens, `[C]`.

    Raises:
        TypeError: if the LLM is not supported, see `supports_tree`.
    """
    if not supports_tree(llm):
        raise TypeError(
            f"the prefix tree supports the model types {', '.join(FAMILIES)} with attention "
            f"implementations sdpa and eager; got {llm.config.get_text_config().model_type!r} "
            f"with {attention_implementation(llm.config)!r}"
        )
    decoder, rows = llm.get_decoder(), len(prompt.mask)
    tree = tree.to(prompt.hidden.device)
    # One more column than nodes: it stays 0, and padding in the paths points to it.
    logp = prompt.hidden.new_zeros(rows, len(tree.tokens) + 1, dtype=torch.float)
    _predict(llm, prompt.hidden, torch.full_like(tree.end[:1], -1), tree, logp)
    for nodes in tree.chunks(max_nodes):
        kwargs[cache_keyword(decoder)] = fork(prompt.cache)
        hidden = decoder(
            input_ids=tree.tokens[nodes].expand(rows, -1),
            attention_mask=_masks(llm, prompt, tree, nodes),
            position_ids=prompt.position[:, None] + tree.depth[nodes],
            use_cache=True,
            **kwargs,
        ).last_hidden_state
        _predict(llm, hidden, nodes, tree, logp)
    return logp[:, tree.paths].sum(-1), tree.counts


def _predict(llm: nn.Module, hidden: Tensor, nodes: Tensor, tree: LabelTree, logp: Tensor) -> None:
    """Writes the log-probabilities of the children of `nodes` (`[n]`), given their output `hidden`
    `[R, n, D]`, into `logp` `[R, M + 1]`."""
    step = max(1, HEAD_ROWS // len(hidden))
    for states, parents in zip(hidden.split(step, dim=1), nodes.split(step), strict=True):
        logits = logits_of(llm, states)
        at, child = (tree.parent == parents[:, None]).nonzero(as_tuple=True)
        logp[:, child] = logits[:, at, tree.tokens[child]] - logits.logsumexp(-1)[:, at]


def fork(cache: DynamicCache) -> DynamicCache:
    """A cache that grows independently and shares its present content.

    Growing rebinds the tensors of a layer, so the prompt's are unchanged. `crop` is no alternative:
    the meaning of its argument has changed, and sliding-window layers cannot be cropped once full.
    """
    fork = copy.copy(cache)
    fork.layers = [copy.copy(layer) for layer in cache.layers]
    return fork


def _masks(
    llm: nn.Module, prompt: ReadPrompt, tree: LabelTree, nodes: Tensor
) -> Tensor | dict[str, Tensor]:
    """Attention masks of the nodes, `[R, 1, n, P + n]`; by layer type if a model has two.

    A layer with a sliding window of w sees the last w columns, and only caches these. A node's
    column is the one it would have if its candidate followed the prompt alone.
    """
    rows, columns = prompt.mask.shape
    seen = prompt.mask.bool()[:, None, None].expand(-1, -1, len(nodes), -1)
    full = torch.cat([seen, tree.ancestors(nodes).expand(rows, 1, -1, -1)], dim=-1)
    layers = {layer.is_sliding: layer for layer in prompt.cache.layers}
    masks = {"full_attention": full} if False in layers else {}
    if True in layers:
        own = columns + tree.depth[nodes]
        key = torch.cat([torch.arange(columns, device=own.device), own])
        near = own[:, None] - key < layers[True].sliding_window
        masks["sliding_attention"] = (full & near)[..., columns - layers[True].keys.shape[-2] :]
    if _dense_mask(llm) == "eager":
        zero = prompt.hidden.new_zeros(())
        floor = torch.finfo(zero.dtype).min / 2  # avoids -inf in float16
        masks = {kind: torch.where(mask, zero, floor) for kind, mask in masks.items()}
    return masks if len(masks) == 2 else next(iter(masks.values()))
