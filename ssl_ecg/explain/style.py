"""How every figure looks, and how it is saved.

SVG keeps text as text and names three colours (``INK``, ``PAPER``, ``LINE``) that the HTML report replaces by those of
the reader's light or dark page.
"""

from __future__ import annotations

from io import BytesIO
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from ssl_ecg.runs import write_atomically

INK, PAPER, LINE = "#1f2a37", "#fefefe", "#d5dbe3"
BLUE, ORANGE = "#1273c4", "#d1570f"

STYLE: Any = {
    "axes.edgecolor": INK,
    "axes.facecolor": PAPER,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.labelcolor": INK,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "figure.facecolor": PAPER,
    "font.size": 9.5,
    "grid.color": LINE,
    "grid.linewidth": 0.8,
    "legend.frameon": False,
    "lines.markersize": 5.5,
    "lines.linewidth": 1.8,
    "savefig.facecolor": PAPER,
    "svg.fonttype": "none",
    "text.color": INK,
    "text.parse_math": False,
    "xtick.color": INK,
    "ytick.color": INK,
}


def grid_of(figure: Figure, count: int, columns: int, **shared: Any) -> list[Axes]:
    """Return ``count`` axes, row by row, so many in a row; what is left of the last row stays empty."""
    axes = figure.subplots(-(-count // columns), columns, squeeze=False, **shared).ravel()
    for empty in axes[count:]:
        empty.set_axis_off()
    return list(axes[:count])


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure; the suffix decides the format."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    svg, drawn = path.suffix == ".svg", BytesIO()
    with matplotlib.rc_context({"svg.hashsalt": path.stem}):  # the same table gives the same file
        metadata = dict.fromkeys(("Date", "Creator", "Format", "Type")) if svg else None
        figure.savefig(drawn, format=path.suffix[1:], dpi=200, metadata=metadata)
    write_atomically(path, drawn.getvalue())
