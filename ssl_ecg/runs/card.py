"""Model cards: what a stranger must know before using the weights, filled with facts that others gather."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

_CARD = """\
# {{ title | cell }}
{% for block in blocks %}

{{ block if block is string else table(block.head, block.rows) }}
{% endfor %}
{% for figure in figures %}

![{{ figure.rsplit(".", 1)[0].replace("_", " ") }}]({{ figure }})
{% endfor %}

## Limits
{{ limits }}

## Settings
```json
{{ settings }}
```
"""


class Table(NamedTuple):
    """A table of a card: the names of the columns, and the rows."""

    head: Sequence[str]
    rows: Sequence[Sequence[object]]


def model_card(
    title: str,
    blocks: Iterable[str | Table],
    limits: str,
    settings: Mapping[str, Any],
    figures: Sequence[str] = (),
) -> str:
    """Return a model card, Markdown.

    Args:
        title: what the model is.
        blocks: paragraphs, in Markdown, and tables, whose cells are plain text.
        limits: what the model must not be used for, in Markdown.
        settings: how it was made, JSON-ready.
        figures: names of the files of figures beside the card.
    """
    from jinja2 import Environment

    environment = Environment(trim_blocks=True, keep_trailing_newline=True, autoescape=False)
    environment.filters["cell"] = cell
    return environment.from_string(_CARD).render(
        title=title,
        blocks=blocks,
        figures=figures,
        limits=limits,
        settings=json.dumps(settings, indent=1),
        table=markdown_table,
    )


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table in Markdown; its cells are plain text."""
    lines = (head, ["---"] * len(head), *rows)
    return "\n".join(f"| {' | '.join(map(cell, line))} |" for line in lines)


def cell(value: object) -> str:
    """Return what Markdown shows as this text in one cell: no other column, line, tag or link begins in it."""
    text = " ".join(str(value).split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"([\\|\[\]`])", r"\\\1", text)
