"""Notes and short phrases of ten instruments, rendered from a General MIDI soundfont.

For instrument recognition where recordings may not be used for training: `draw_phrase` draws the
notes, `Player` synthesizes them, `recorded` adds room acoustics, `ensure_clips` writes and caches
clips.
"""

from pal_plugin.notes.clips import SPLITS, ensure_clips
from pal_plugin.notes.phrases import LABELS

__all__ = ["LABELS", "SPLITS", "ensure_clips"]
