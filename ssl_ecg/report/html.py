"""One self-contained HTML page from the folder that a comparison wrote."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from pathlib import Path
from typing import Any

import pandas as pd
from markupsafe import Markup

from ssl_ecg.evaluation import Metric, described
from ssl_ecg.report import answer, figures
from ssl_ecg.report.page import inline, template
from ssl_ecg.runs import write_atomically

_COLUMNS = {
    "results.csv": ("task", "arm", "fraction", "seed", "records"),
    "summary.csv": ("task", "arm", "fraction", "seeds", "metric", "mean", "low", "high"),
    "per_class.csv": ("task", "arm", "fraction", "class", "positives_test"),
    "curves.csv": ("arm", "fraction", "seed", "step", "train_loss", "validation_loss"),
    "pretraining.csv": ("epoch",),
}
_REQUIRED = ("results.csv", "summary.csv")
_KEYS = {
    "summary.csv": ["task", "arm", "fraction", "metric"],
    "per_class.csv": ["task", "arm", "fraction", "class"],
}


def write_report(folder: str | Path, out: str = "report.html") -> Path:
    """Writes the report of a comparison: the answer in words, figures, tables, and what was run.

    The page holds its figures, has no scripts and loads nothing; it follows the reader's light or dark setting and
    prints. The figures are also written to ``figures/`` beside it.

    Args:
        folder: Holds ``results.csv`` and ``summary.csv``, and where they exist ``per_class.csv``, ``curves.csv``,
            ``pretraining.csv``, ``reconstruction.svg`` and ``cohort.svg``; and ``comparison.json``: what the "metrics"
            are, and what was run, of which "warnings", and whether outcomes are "simulated", are shown first.
        out: File name of the page, in ``folder``.

    Returns:
        The page.

    Raises:
        FileNotFoundError: ``results.csv``, ``summary.csv`` or ``comparison.json`` is missing.
        ValueError: A table lacks columns, is empty, or says the same thing twice; or ``comparison.json`` does not
            declare one of its metrics, so that nobody knows which way is better.
    """
    folder = Path(folder)
    tables = {name: _read(folder / name) for name in _COLUMNS}
    settings = folder / "comparison.json"
    summary = tables["summary.csv"]
    metrics = figures.declared(settings, summary["metric"])
    class_metrics = described(settings, "class_metrics")
    tasks = [_task(folder / "figures", str(task), tables, metrics, class_metrics) for task in summary["task"].unique()]
    what_was_run = json.loads(settings.read_text(encoding="utf-8"))
    what_was_run = {name: said for name, said in what_was_run.items() if name not in ("metrics", "class_metrics")}
    pretraining = None
    if len(tables["pretraining.csv"]):
        figures.collapse_figure(tables["pretraining.csv"], folder / "figures" / "pretraining.svg")
        pretraining = inline(folder / "figures" / "pretraining.svg")
    # As images, in which no script runs: these files came with the encoder and with the labels.
    images = {
        name: b64encode((folder / f"{name}.svg").read_bytes()).decode() if (folder / f"{name}.svg").is_file() else None
        for name in ("reconstruction", "cohort")
    }

    page = template("report.html.j2").render(
        tasks=tasks,
        pretraining=pretraining,
        **images,
        simulated=what_was_run.pop("simulated", False),
        patients_unknown=what_was_run.pop("patients_unknown", 0),
        warnings=what_was_run.pop("warnings", []),
        command=what_was_run.pop("command", None),
        what_was_run=what_was_run,
        metrics=metrics.values(),
        files=[name for name in (*_COLUMNS, settings.name) if (folder / name).exists()],
    )
    path = folder / out
    write_atomically(path, page)
    return path


def _task(
    folder: Path,
    task: str,
    tables: dict[str, pd.DataFrame],
    declared: dict[str, Metric],
    class_metrics: dict[str, Metric],
) -> dict[str, Any]:
    """What the template shows of one task; draws its figures into ``folder``."""
    here = {name: table[table["task"] == task] if "task" in table else table for name, table in tables.items()}
    summary, results = here["summary.csv"], here["results.csv"]
    mean_records = results.groupby("fraction")["records"].mean()
    records = dict(zip(mean_records.index.tolist(), mean_records.tolist(), strict=True))
    difference = figures.is_difference(summary["arm"])
    stem = re.sub(r"\W+", "_", task)
    drawn: dict[str, Markup] = {}
    metrics = [declared[str(name)] for name in summary["metric"].unique()]
    for metric in metrics:
        figures.label_efficiency_figure(summary, metric, path := folder / f"{stem}_{metric}.svg", records)
        drawn[f"{metric} curve"] = inline(path)
        if (difference & (summary["metric"] == metric.name)).any():
            figures.difference_figure(summary, metric, path := folder / f"{stem}_{metric}_difference.svg", records)
            drawn[f"{metric} difference"] = inline(path)
    if len(here["curves.csv"]):
        figures.learning_curves_figure(here["curves.csv"], metrics[0], path := folder / f"{stem}_learning_curves.svg")
        drawn["learning curves"] = inline(path)
    found = {metric.name: answer.findings(summary, metric) for metric in metrics}
    return {
        "name": task,
        "headline": answer.headline(found[metrics[0].name]),
        "sentences": answer.sentences(found[metrics[0].name], metrics[0]),
        "findings": found,
        "p_values": "p_value" in summary,
        "detectable": "detectable" in summary,
        "counted": {"positives", "negatives"} <= set(summary),
        "blanks": bool(summary["low"].isna().any()),
        "figures": drawn,
        "metrics": metrics,
        "seeds": sorted(summary["seeds"].unique().tolist()),
        "fractions": sorted(summary["fraction"].unique().tolist()),
        "records": records,
        "arms": list(dict.fromkeys(summary["arm"][~difference])),
        "cells": {(row.metric, row.arm, row.fraction): row for row in summary[~difference].itertuples(index=False)},
        "per_class": _per_class(here["per_class.csv"], list(class_metrics)),
        "class_labels": [metric.label for metric in class_metrics.values()],
        "runs": {"columns": list(results.columns), "rows": results.to_numpy(dtype=object).tolist()},
    }


def _per_class(table: pd.DataFrame, metrics: list[str]) -> list[dict[str, Any]]:
    """A table for each label fraction, with a row per class and a column per arm, whose cells hold these metrics."""
    pages = []
    metrics = [name for name in metrics if name in table]
    for fraction, rows in table.groupby("fraction") if len(table) and metrics else ():
        cells = {(row[0], row[1]): row[2:] for row in rows[["class", "arm", *metrics]].itertuples(index=False)}
        counts = [name for name in ("positives_test", "negatives_test") if name in rows]
        counted = {row[0]: row[1:] for row in rows[["class", *counts]].itertuples(index=False)}
        arms = list(rows["arm"].unique())
        pages.append({"fraction": fraction, "arms": arms, "counts": counts, "classes": counted, "cells": cells})
    return pages


def _read(path: Path) -> pd.DataFrame:
    columns = _COLUMNS[path.name]
    if not path.exists():
        if path.name in _REQUIRED:
            raise FileNotFoundError(f"{path} is missing: a report needs a folder that a comparison has written")
        return pd.DataFrame(columns=list(columns))
    table = pd.read_csv(path)
    lacking = [column for column in columns if column not in table]
    if lacking:
        raise ValueError(f"{path} lacks the columns {lacking}; it has {list(table.columns)}")
    if path.name in _REQUIRED and table.empty:
        raise ValueError(f"{path} holds no row: nothing has been run yet")
    if path.name in _KEYS and (twice := table.duplicated(_KEYS[path.name])).any():
        row = table.loc[twice, _KEYS[path.name]].iloc[0].to_dict()
        raise ValueError(f"{path} must hold one row for each {_KEYS[path.name]}, but repeats {row}")
    return table
