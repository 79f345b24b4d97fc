"""The flow of a cohort: from all records of an archive to the labelled ones, with what was left out beside the way."""

from __future__ import annotations

import textwrap
from html import escape
from pathlib import Path

import pandas as pd

from ssl_ecg.runs import write_atomically

_LINE, _PAD, _GAP = 18, 10, 16  # pixels
_LEFT, _RIGHT, _CHARACTERS = 340, 360, 44


def draw_flow(counts: pd.DataFrame, path: Path) -> None:
    """Draw the records of a cohort as an SVG.

    Args:
        counts: ``of``, ``what``, ``count``; of "records" the first row is all of them, then, up to "labelled", those
            left out by reason, then parts of the labelled ones. Other tables are told in a line each.
        path: the file.
    """
    records = counts.loc[counts["of"] == "records", ["what", "count"]].itertuples(index=False, name=None)
    (what, there), *rest = records
    labelled = [what for what, _ in rest].index("labelled")
    parts: list[str] = []
    y = _box(parts, 0, 0, _LEFT, [f"{there:,} records {what}"])
    for why, count in rest[:labelled]:
        if count:
            there -= count
            bottom = _box(parts, _LEFT + 40, y + _GAP, _RIGHT, textwrap.wrap(f"{count:,} {why}", _CHARACTERS))
            middle = (y + _GAP + bottom) // 2
            parts.append(f'<path d="M{_LEFT // 2} {middle}H{_LEFT + 40}" marker-end="url(#a)"/>')
            parts.append(f'<path d="M{_LEFT // 2} {y}V{bottom}"/>')
            y = bottom
    parts.append(f'<path d="M{_LEFT // 2} {y}V{y + _GAP}" marker-end="url(#a)"/>')
    ends = [f"{count:,} {what}" for what, count in rest[labelled:]]
    y = _box(parts, 0, y + _GAP, _LEFT, [line for end in ends for line in textwrap.wrap(end, _CHARACTERS)])
    for of in dict.fromkeys(counts["of"]):
        if of != "records":
            table = counts[counts["of"] == of]
            first, last = table["count"].iloc[0], table["count"].iloc[-1]
            y += _LINE + 4
            parts.append(f'<text x="0" y="{y}">{escape(f"{last:,} of {first:,} {of} usable")}</text>')
    width, height = _LEFT + 40 + _RIGHT + 2, y + _LINE
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="-1 -1 {width} {height}" width="{width}" '
        'font-family="sans-serif" font-size="13" fill="none" stroke="#444"><style>text{fill:#111;stroke:none}</style>'
        '<defs><marker id="a" viewBox="0 0 8 8" refX="8" refY="4" markerWidth="8" markerHeight="8" orient="auto">'
        '<path d="M0 0L8 4L0 8z" fill="#444" stroke="none"/></marker></defs>'
    )
    write_atomically(path, "\n".join([head, *parts, "</svg>\n"]))


def _box(parts: list[str], x: int, y: int, width: int, lines: list[str]) -> int:
    """Add a box with lines of text; return its lower edge."""
    height = _LINE * len(lines) + _PAD
    parts.append(f'<rect x="{x}" y="{y}" width="{width}" height="{height}" rx="4" fill="#fff"/>')
    for n, line in enumerate(lines):
        parts.append(f'<text x="{x + _PAD}" y="{y + _LINE * (n + 1)}">{escape(line)}</text>')
    return y + height
