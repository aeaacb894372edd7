"""Which of torch's attention kernels run: what decides over speed and memory on a GPU."""

from __future__ import annotations

import re

from torch.utils._python_dispatch import TorchDispatchMode

#: What attention is where none of them runs: plain matrix products.
PRODUCTS = "products"
_FUSED = re.compile(r"attention.*?(flash|efficient|cudnn)|(flash|efficient|cudnn)_attention")


class Kernels(TorchDispatchMode):
    """Notes the fused attention kernels of what runs under it, in the order of their first call.

    A backward pass may run in a thread of its own, which is not seen.
    """

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[str, None] = {}

    @property
    def names(self) -> str:
        """Such as "flash" or "cudnn, flash"."""
        return ", ".join(self._seen) or PRODUCTS

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        found = _FUSED.search(str(function))
        if found and "backward" not in str(function):
            self._seen[found[1] or found[2]] = None
        return function(*args, **(kwargs or {}))
