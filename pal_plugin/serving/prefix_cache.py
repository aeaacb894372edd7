"""Conversations that were answered, by their KV caches, under a memory limit: the next turn of one
reads only what is new in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from transformers import DynamicCache

from pal_plugin.llm.conversation import Turns
from pal_plugin.serving import kv_cache


@dataclass(frozen=True, eq=False)
class Prefix:
    """What was read and said.

    Args:
        ids: text tokens.
        clips: `(hash, number of ids in front of it)` of each clip.
        cache: keys and values of one row: the text, and the clips that are prepended (PLITS).
    """

    ids: list[int]
    clips: list[tuple[str, int]]
    cache: DynamicCache

    def shared(self, ids: Sequence[int], clips: Sequence[tuple[str, int]]) -> int:
        """How many of the first ids, and all clips among these, are the same."""
        least = min(len(ids), len(self.ids))
        pairs = zip(ids, self.ids, strict=False)  # either may go on where the other ends
        same = next((n for n, (one, other) in enumerate(pairs) if one != other), least)
        number = 0
        while number < min(len(clips), len(self.clips)) and clips[number] == self.clips[number]:
            number += 1
        others = [*clips[number : number + 1], *self.clips[number : number + 1]]
        return min([same, *(place for _, place in others)])


class PrefixCache:
    """The conversations used last.

    Args:
        max_bytes: memory limit; one that is larger is not kept.

    Attributes:
        nbytes: memory in use, in bytes.
    """

    def __init__(self, max_bytes: int) -> None:
        self.max_bytes, self.nbytes = max_bytes, 0
        self._kept: list[Prefix] = []  # the one used last at the end

    def put(self, prompt: Turns, said: Sequence[int], cache: DynamicCache) -> None:
        """Keeps a conversation, in place of its earlier turns.

        Args:
            prompt: as `prompt_of` makes it.
            said: ids of the answer that are in the cache.
            cache: of one row without padding.
        """
        size = kv_cache.nbytes(cache)
        if size > self.max_bytes:
            return
        new = Prefix([*prompt.ids, *said], _clips(prompt), cache)
        for old in list(self._kept):
            if old.shared(new.ids, new.clips) == len(old.ids):
                self._drop(old)
        self._kept.append(new)
        self.nbytes += size
        while self.nbytes > self.max_bytes:
            self._drop(self._kept[0])

    def find(self, prompt: Turns) -> tuple[int, Prefix | None]:
        """The conversation with the longest common beginning, and how many ids of the prompt that
        is; at least the last one is to be read."""
        ids, clips = prompt.ids[:-1], _clips(prompt)
        longest, found = 0, None
        for prefix in self._kept:
            shared = prefix.shared(ids, clips)
            if shared > longest:
                longest, found = shared, prefix
        return longest, found

    def touch(self, prefix: Prefix) -> None:
        """Used now."""
        self._kept.remove(prefix)
        self._kept.append(prefix)

    def _drop(self, prefix: Prefix) -> None:
        self._kept.remove(prefix)
        self.nbytes -= kv_cache.nbytes(prefix.cache)


def _clips(prompt: Turns) -> list[tuple[str, int]]:
    return [(key, place) for (key, _), place in zip(prompt.clips, prompt.places, strict=True)]
