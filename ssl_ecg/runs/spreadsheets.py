"""CSV that is safe to open in a spreadsheet: text that a spreadsheet would take for a formula gets an apostrophe.

The rule (OWASP, "CSV Injection"): an apostrophe goes before a text, or a column's name, that begins with ``=``, ``+``,
``-``, ``@``, a tab or a carriage return, or with apostrophes before one of these, and is no number. Readers of this
package take it off again, so that ids and names of classes come back as they were. Numbers stay as they are.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

_FORMULA = re.compile(r"'*[=+\-@\t\r]")


def escaped(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table with an apostrophe before every text that a spreadsheet would take for a formula."""
    return _changed(table, _escape)


def unescaped(table: pd.DataFrame) -> pd.DataFrame:
    """Return a table without the apostrophes of ``escaped``."""
    return _changed(table, _unescape)


def _changed(table: pd.DataFrame, change: Callable[[Any], Any]) -> pd.DataFrame:
    changed = table.copy(deep=False)
    for place, dtype in enumerate(table.dtypes):
        if dtype.kind == "O":
            changed.isetitem(place, table.iloc[:, place].map(change).array)
    changed.columns = [change(name) for name in table.columns]
    return changed


def _escape(value: Any) -> Any:
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) and not _is_number(value) else value


def _unescape(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("'") and _FORMULA.match(value) and not _is_number(value[1:]):
        return value[1:]
    return value


def _is_number(text: str) -> bool:
    with suppress(ValueError):
        float(text)
        return True
    return False
