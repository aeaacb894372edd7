"""Draws architectures.png: what enters the LLM where, for PLITS, LAL and PAL.

    python docs/figures/architectures.py

The one design choice: the three panels have the same columns (tokens) and the same rows (what a
decoder layer computes), so the difference between them is which cells are filled. Needs matplotlib
(the `demo` or `test` extra); writes beside itself.
"""

from __future__ import annotations

from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Polygon, Rectangle

INK, GREY, PALE, OUTLINE = "#1f2328", "#59636e", "#d0d7de", "#afb8c1"
GENERAL, SPEECH, TEXT = "#2f9e62", "#e08a1e", "#3b73c4"
FRAME = "#f6f8fa"

# Columns: one square a token, as (colour, first x, number of squares).
SIDE, STEP = 0.78, 1.0
COLUMNS = {"general": (GENERAL, 0.0, 5), "speech": (SPEECH, 5.45, 3), "text": (TEXT, 8.9, 4)}
RIGHT = 12.7
# Heights of the rows, from the clip at the bottom to the answer at the top.
ENCODER_Y, CONNECTOR_Y, TOKEN_Y = 0.0, 1.75, 3.55
ROWS = {"K, V": 5.75, "Q": 6.95, "FFN": 8.15}
LAYER_Y, LAYER_TOP, OUT_Y = 5.3, 9.35, 10.45
# Edges of a panel; the first one has the names of the rows besides.
LEFT, ROW_NAMES, BOTTOM, TOP = -0.8, 1.7, -4.0, 15.3
NOTE = (
    "Columns are tokens (m audio, n text), rows what a decoder layer computes for them; "
    "an outline is what is not computed."
)

PANELS = {
    "PLITS": {
        "routes": {"general": "plits", "speech": "plits"},
        "says": "audio is prepended and passes\nattention and FFN of every layer",
        "cost": "attention O((m+n)²), FFN O(m+n)",
    },
    "LAL": {
        "routes": {"general": "lal", "speech": "lal"},
        "says": "audio is keys and values only,\nthe same tokens at every layer",
        "cost": "attention O((m+n)·n), FFN O(n)",
    },
    "PAL": {
        "routes": {"general": "lal", "speech": "plits"},
        "says": "speech is prepended,\ngeneral audio is keys and values",
        "cost": "each group costs what its route costs",
    },
}


def middle(group: str) -> float:
    """The x of a column's centre."""
    _, first, count = COLUMNS[group]
    return first + ((count - 1) * STEP + SIDE) / 2


def squares(axes: Axes, group: str, y: float, filled: bool = True) -> None:
    """A row of tokens; where nothing is computed only their outlines."""
    colour, first, count = COLUMNS[group]
    for i in range(count):
        style = (
            {"facecolor": colour, "edgecolor": "white", "linewidth": 0.5}
            if filled
            else {
                "facecolor": "none",
                "edgecolor": OUTLINE,
                "linewidth": 0.9,
                "linestyle": (0, (2, 2)),
            }
        )
        axes.add_patch(Rectangle((first + i * STEP, y), SIDE, SIDE, zorder=3, **style))


def box(axes: Axes, x: float, right: float, y: float, label: str, colour: str) -> None:
    """A module with its name."""
    shape = FancyBboxPatch(
        (x, y),
        right - x,
        0.95,
        boxstyle="round,pad=0,rounding_size=0.18",
        zorder=3,
        facecolor="white",
        edgecolor=colour,
        linewidth=1.6,
    )
    axes.add_patch(shape)
    axes.text((x + right) / 2, y + 0.46, label, ha="center", va="center", fontsize=9, color=INK)


def arrow(
    axes: Axes, x: float, start: float, end: float, colour: str, dashed: bool = False
) -> None:
    """An upward arrow; dashed where the tokens are handed on unchanged."""
    style = (0, (2.5, 1.5)) if dashed else "solid"
    axes.plot([x, x], [start, end - 0.25], color=colour, linewidth=1.7, linestyle=style, zorder=2)
    head = [(x - 0.2, end - 0.42), (x + 0.2, end - 0.42), (x, end)]
    axes.add_patch(Polygon(head, facecolor=colour, edgecolor="none", zorder=2))


def draw_sources(axes: Axes) -> None:
    """Encoders, connectors and tokens: the same in all panels."""
    half = middle("general")
    box(axes, 0.0, half - 0.12, ENCODER_Y, "SSLAM", GENERAL)
    box(axes, half + 0.12, 4.78, ENCODER_Y, "CLAP", GENERAL)
    box(axes, 5.2, 8.5, ENCODER_Y, "Whisper", SPEECH)
    axes.text(
        middle("text"),
        ENCODER_Y + 0.46,
        "“What do\nyou hear?”",
        ha="center",
        va="center",
        fontsize=9,
        style="italic",
        color=INK,
        linespacing=1.05,
    )
    box(axes, 0.0, 4.78, CONNECTOR_Y, "LFST", GENERAL)
    box(axes, 5.2, 8.5, CONNECTOR_Y, "MLP", SPEECH)
    box(axes, 8.9, RIGHT, CONNECTOR_Y, "embedding", TEXT)
    for x, colour in (
        (half / 2, GENERAL),
        ((half + 4.9) / 2, GENERAL),
        (middle("speech"), SPEECH),
        (middle("text"), TEXT),
    ):
        arrow(axes, x, ENCODER_Y + 1.0, CONNECTOR_Y - 0.05, colour)
    for group, (colour, _, _) in COLUMNS.items():
        arrow(axes, middle(group), CONNECTOR_Y + 1.0, TOKEN_Y - 0.07, colour)
        squares(axes, group, TOKEN_Y)


def draw_layer(axes: Axes, routes: dict[str, str]) -> None:
    """One decoder layer: a filled cell is computed, an outline is not."""
    for offset in (0.36, 0.18, 0.0):
        axes.add_patch(
            FancyBboxPatch(
                (-0.45 + offset, LAYER_Y + offset),
                RIGHT + 0.9,
                LAYER_TOP - LAYER_Y,
                boxstyle="round,pad=0,rounding_size=0.25",
                zorder=0,
                facecolor=FRAME,
                edgecolor=PALE,
                linewidth=1.2,
            )
        )
    for group, (colour, _, _) in COLUMNS.items():
        prepended = group == "text" or routes[group] == "plits"
        for name, y in ROWS.items():
            squares(axes, group, y, filled=prepended or name == "K, V")
        arrow(axes, middle(group), TOKEN_Y + SIDE + 0.07, ROWS["K, V"] - 0.08, colour)
        top = ROWS["FFN"] + SIDE + 0.06
        if prepended:
            arrow(axes, middle(group), top, OUT_Y, colour)
        else:
            arrow(axes, middle(group), ROWS["K, V"] + SIDE + 0.06, OUT_Y, colour, dashed=True)


def draw_panel(axes: Axes, name: str, panel: dict, first: bool) -> None:
    axes.set_xlim(LEFT - (ROW_NAMES if first else 0), RIGHT + 1.3)
    axes.set_ylim(BOTTOM, TOP)
    axes.set_aspect("equal")
    axes.axis("off")
    centre = RIGHT / 2
    axes.text(centre, TOP, name, ha="center", va="top", fontsize=16, weight="bold", color=INK)
    axes.text(
        centre,
        TOP - 1.5,
        panel["says"],
        ha="center",
        va="top",
        fontsize=9.5,
        color=INK,
        linespacing=1.25,
    )
    draw_sources(axes)
    draw_layer(axes, panel["routes"])
    axes.text(RIGHT + 0.8, LAYER_Y - 0.12, "\u00d7 L", ha="right", va="top", fontsize=9, color=GREY)
    axes.text(
        middle("text"), OUT_Y + 0.15, "answer", ha="center", va="bottom", fontsize=9.5, color=INK
    )
    for group, route in panel["routes"].items():
        said = "updated by\neach layer" if route == "plits" else "same for\neach layer"
        axes.text(
            middle(group),
            OUT_Y + 0.15,
            said,
            ha="center",
            va="bottom",
            fontsize=8.5,
            color=GREY,
            linespacing=1.1,
        )
    table = ", ".join(f"{group}: {route}" for group, route in panel["routes"].items())
    axes.text(
        centre,
        -0.85,
        f"routing: {{{table}}}",
        ha="center",
        va="center",
        fontsize=9,
        family="monospace",
        color=INK,
    )
    axes.text(centre, -1.85, panel["cost"], ha="center", va="center", fontsize=9, color=GREY)
    if first:
        for row, y in ROWS.items():
            axes.text(
                -0.75,
                y + SIDE / 2,
                row,
                ha="right",
                va="center",
                fontsize=10,
                weight="bold",
                color=INK,
            )


def main() -> None:
    widths = [RIGHT + 1.3 - LEFT + (ROW_NAMES if i == 0 else 0) for i in range(len(PANELS))]
    inches = 11.0
    figure = Figure(figsize=(inches, inches * (TOP - BOTTOM) / sum(widths)), facecolor="white")
    grid = figure.add_gridspec(
        1, len(PANELS), width_ratios=widths, left=0, right=1, top=0.975, bottom=0, wspace=0
    )
    for place, (name, panel) in enumerate(PANELS.items()):
        draw_panel(figure.add_subplot(grid[place]), name, panel, first=place == 0)
    figure.text(0.5, 0.022, NOTE, ha="center", va="bottom", fontsize=9, color=INK)
    path = Path(__file__).with_suffix(".png")
    figure.savefig(path, dpi=160, metadata={"Software": None})
    print(f"{path.name}: {path.stat().st_size / 1024:.0f} KB")


if __name__ == "__main__":
    main()
