"""The page that every report is made of: its template, how values are written, figures inside it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from ssl_ecg.evaluation import format_p
from ssl_ecg.explain.style import INK, LINE, PAPER
from ssl_ecg.report import figures


def template(name: str) -> Template:
    """Return a template of this room, with the filters of reports."""
    environment = Environment(loader=PackageLoader("ssl_ecg.report", "."), autoescape=True, undefined=StrictUndefined)
    environment.filters |= {
        "number": number,
        "p": lambda value: "\N{EN DASH}" if value != value else format_p(value).removeprefix("p "),
        "setting": lambda value: f"{value:,.6g}" if isinstance(value, float) else number(value),
        "percent": figures.percent,
        "signed": lambda value: figures.signed(value, 3),
        "arm": figures.arm_label,
        "capital": figures.capital,
        "words": lambda name: str(name).replace("_", " "),
    }
    environment.tests["table"] = _is_table
    return environment.get_template(name)


def _is_table(rows: Any) -> bool:
    """Whether several settings are best shown as rows: all have the same names, and plain values."""
    rows = list(rows)
    return (
        len(rows) > 1
        and all(isinstance(row, dict) and row.keys() == rows[0].keys() for row in rows)
        and not any(isinstance(part, dict | list) for row in rows for part in row.values())
    )


def number(value: Any, decimals: int = 3) -> str:
    """Return the text of a table cell: blanks as a dash, whole numbers whole, others rounded or scientific."""
    if isinstance(value, float):
        if value != value:
            return "\N{EN DASH}"
        if value.is_integer() and abs(value) >= 1:
            return f"{value:,.0f}"
        return f"{value:.{decimals}f}" if abs(value) >= 0.01 or value == 0 else f"{value:.2g}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)


def inline(path: Path) -> Markup:
    """Return an SVG as part of the page: its colours become the page's, ids that nothing refers to go."""
    svg = path.read_text(encoding="utf-8")
    svg = svg[svg.index("<svg") :]
    for colour, variable in ((INK, "--ink"), (PAPER, "--paper"), (LINE, "--line")):
        svg = svg.replace(colour, f"var({variable})")
    used = set(re.findall(r"#([\w-]+)", svg))
    svg = re.sub(r' id="([^"]*)"', lambda match: match[0] if match[1] in used else "", svg)
    return Markup(svg)  # written by matplotlib, which escapes every text in it
