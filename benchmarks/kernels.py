"""Which of torch's attention kernels run, which determines speed and memory on a GPU."""

from __future__ import annotations

import re

from torch.profiler import ProfilerActivity, profile

#: What attention is where none of them runs: plain matrix products.
PRODUCTS = "products"
#: A fused kernel's operation, forward.
FUSED = re.compile(r"(flash|efficient|cudnn)_attention(?!.*backward)")


class Kernels:
    """Records the fused attention kernels that run under it, from torch's profiler.

    A dispatch mode would be simpler, but prevents `causal_lower_right`, through which LAL reaches
    the flash kernel.
    """

    def __init__(self) -> None:
        self._names: frozenset[str] = frozenset()
        self._profile = profile(activities=[ProfilerActivity.CPU], acc_events=True)

    @property
    def names(self) -> str:
        """Such as "flash" or "cudnn, flash"; known when it has ended."""
        return ", ".join(sorted(self._names)) or PRODUCTS

    def __enter__(self) -> Kernels:
        self._profile.__enter__()
        return self

    def __exit__(self, *raised) -> None:
        self._profile.__exit__(*raised)
        found = (FUSED.search(event.name) for event in self._profile.events())
        self._names = frozenset(match[1] for match in found if match)
