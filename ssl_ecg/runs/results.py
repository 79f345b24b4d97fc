"""The folder of a result: metrics, tables and what is drawn of them."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ssl_ecg.runs.files import whole_folder, write_csv, write_json

if TYPE_CHECKING:
    import pandas as pd


def write_result(
    folder: str | Path,
    tables: Mapping[str, pd.DataFrame],
    metrics: Mapping[str, float],
    meanings: Mapping[str, Any],
    draw: Callable[[Path], list[str]] = lambda folder: [],
    clear: Iterable[str] = (),
) -> list[str]:
    """Write ``metrics.json``, ``meanings.json``, a CSV for each table and the figures, all or nothing.

    Args:
        folder: made where it does not exist.
        tables: by name of the file, without ``.csv``.
        metrics: NaN becomes null, since JSON has no NaN.
        meanings: what the metrics are, for readers and figures; JSON-ready.
        draw: draws figures into a folder that holds the tables and the metrics; returns the names of their files.
        clear: names of files of an earlier result, removed unless they are written again: they would be read as if they
            belonged to this one.

    Returns:
        What ``draw`` returned.
    """
    with whole_folder(folder, "metrics.json", clear) as part:
        for name, table in tables.items():
            write_csv(part / f"{name}.csv", table, float_format="%.6g")
        write_json(part / "metrics.json", {k: None if math.isnan(value) else value for k, value in metrics.items()})
        write_json(part / "meanings.json", meanings)
        return draw(part)


def read_metrics(folder: str | Path) -> dict[str, float]:
    """Read the metrics that ``write_result`` wrote."""
    metrics = json.loads((Path(folder) / "metrics.json").read_text(encoding="utf-8"))
    return {name: math.nan if value is None else value for name, value in metrics.items()}
