"""Notes and short phrases of ten instruments, played from a General MIDI soundfont.

For telling instruments apart where recordings may not be trained on: `draw_phrase` says what is
played, `Player` plays it, `recorded` puts it into a room, `ensure_clips` writes it all once.
"""

from pal_plugin.notes.clips import SPLITS, ensure_clips
from pal_plugin.notes.phrases import LABELS

__all__ = ["LABELS", "SPLITS", "ensure_clips"]
