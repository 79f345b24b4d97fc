"""One self-contained HTML page of one model's result, from the folder that a verb wrote."""

from __future__ import annotations

import json
import math
import re
from base64 import b64encode
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd

from ssl_ecg.evaluation import Metric, described
from ssl_ecg.evaluation.support import ENOUGH
from ssl_ecg.report.page import inline, number, template
from ssl_ecg.report.result_figures import operating_curves_figure, plane_figure, score_figure, training_figure
from ssl_ecg.runs import write_atomically

PAGE = "report.html"
MOST_ROWS, MOST_BYTES = 500, 400_000
"""rows of a table that are shown, and the size up to which a table can be saved from the page"""
POWER = (1.96 + 0.84) / 1.96
"""half of a 95 % interval times this is the difference found with 80 % power"""
_TABLES = {
    "cohort": ("Who they are", "Sex and outcomes: count and share of the records where it is known."),
    "leakage": ("Could the score be too good?", "0 everywhere, in an honest test of patients who are known."),
    "per_class": ("By class", "Select a heading to sort. A class without positives or negatives has no metric."),
    "thresholds": (
        "Decisions",
        "A class is named from its threshold on, chosen on validation. Predictive values hold at the prevalence of "
        "these records; intervals are Wilson's, of 95 %, and count records as if of different patients.",
    ),
    "recalibration": ("Recalibration", "What was changed for the records of this site."),
    "subgroups": ("Subgroups", "Groups are small parts of the same records: a difference between two may be chance."),
    "clinical_score": ("Beside the clinical score", "What the ECG adds to the score."),
    "clinical_covariates": ("Hazard ratios", "Of one standard deviation, by Cox regression on validation records."),
}
_FIGURES = {
    "operating_curves": ("What other thresholds would do", "Left: ROC. Right: precision and sensitivity."),
    "per_class": ("Classes", "Metrics of each class, the most frequent one first."),
    "calibration": (
        "Are probabilities what they say?",
        "Share of positives against predicted probability, by tenth, with 95 % intervals; on the line they agree.",
    ),
    "kaplan_meier": ("Survival by predicted risk", "Kaplan-Meier curves of groups of predicted risk."),
    "survival_curves": ("Predicted survival", "Curves of some records."),
    "decision_curve": (
        "Is acting on it worth while?",
        "Net benefit against acting on all, or on none.",
    ),
    "subgroups": ("Subgroups at a glance", "With 95 % intervals."),
    "plane": (
        "Features in two dimensions",
        "First two principal components of what the head sees. What is apart here is apart; other directions "
        "may still part what lies together.",
    ),
}
FURTHER = (
    *(PAGE, "training.svg", "operating_curves.svg", "operating_curves.csv", "cohort.csv", "thresholds.csv"),
    *("clinical_score.csv", "clinical_covariates.csv", "recalibration.csv", "leakage.csv", "plane.csv", "plane.svg"),
)
"""files of a result beside those of ``task_figures.DRAWN``, which an earlier one may have left"""
_SHORT = {
    "true_positives": "TP",
    "false_positives": "FP",
    "false_negatives": "FN",
    "true_negatives": "TN",
    "ppv": "PPV",
    "npv": "NPV",
    "auroc": "AUROC",
    "auprc": "AUPRC",
}
_PACKAGES = ("ssl_ecg", "torch", "numpy", "scipy", "pandas", "scikit-learn")


def draw_further(folder: Path) -> list[str]:
    """Draw what thresholds would do, and the training, where a result's folder has their tables; return the names."""
    drawn = []
    if (path := folder / "operating_curves.csv").is_file() and len(curves := pd.read_csv(path)):
        operating_curves_figure(curves, folder / "operating_curves.svg")
        drawn.append("operating_curves.svg")
    if (path := folder / "plane.csv").is_file() and len(points := pd.read_csv(path)):
        plane_figure(points, folder / "plane.svg")
        drawn.append("plane.svg")
    if (path := folder / "curve.csv").is_file():
        curve, metric = pd.read_csv(path), next(iter(described(folder / "meanings.json").values()))
        training_figure(curve, metric, folder / "training.svg")
        drawn.append("training.svg")
    return drawn


def write_result_page(folder: Path, about: Mapping[str, Any], worst: Sequence[bytes] = ()) -> Path:
    """Write the report of a result: what was asked and found, and every table and figure in its folder.

    The page loads nothing; a script of a few lines sorts its tables.

    Args:
        folder: with ``metrics.json``, ``meanings.json``, tables, figures and, where there is training, ``curve.csv``.
        about: ``verb``, ``task``, ``simulated``, and whatever else was asked.
        worst: ECGs on paper, PNG: the worst errors.

    Returns:
        The page.
    """
    found = json.loads((folder / "metrics.json").read_text("utf-8"))
    metrics = {name: math.nan if value is None else float(value) for name, value in found.items()}
    declared = described(folder / "meanings.json")
    tables = {name: pd.read_csv(folder / f"{name}.csv") for name in _TABLES if (folder / f"{name}.csv").is_file()}
    said = dict(about)
    verb, task, simulated = said.pop("verb"), said.pop("task"), said.pop("simulated", False)
    page = template("result.html.j2").render(
        title=f"{task.replace('_', ' ')}: what the model is worth on records that it has not learned from",
        verb=verb,
        headline=_headline(declared, metrics),
        sentences=_sentences(declared, metrics),
        simulated=simulated,
        metrics=[(m, metrics[m.name], *_ends(metrics, m.name)) for m in declared.values() if m.name in metrics],
        others={name: value for name, value in metrics.items() if value == value and _is_other(name, declared)},
        figures=[_figure(folder, name, *told) for name, told in _FIGURES.items() if (folder / f"{name}.svg").is_file()],
        training=inline(folder / "training.svg") if (folder / "training.svg").is_file() else None,
        tables=[_table(tables[name], name, *told) for name, told in _TABLES.items() if name in tables],
        examples=[b64encode(png).decode() for png in worst],
        said=said,
        downloads=_downloads(folder),
        versions={name: version(name) for name in _PACKAGES},
    )
    write_atomically(folder / PAGE, page)
    return folder / PAGE


def write_prediction_page(folder: Path, table: pd.DataFrame, about: Mapping[str, Any]) -> Path:
    """Write the report of predictions: how many records were scored, why others were not, and how scores lie.

    Args:
        folder: for the page, and with ``predictions.csv``.
        table: ``record_id``, ``abstained`` and what the task predicts.
        about: what was asked.
    """
    reasons = table["abstained"].fillna("")
    kinds = reasons[reasons != ""].str.split(":").str[0].value_counts()
    scores = [str(name) for name in table if str(name).endswith("_score")]
    decided = [str(name) for name in table if str(name).endswith("_decision")]
    scored = table[reasons == ""]
    drawn = []
    if scores and len(scored):
        score_figure(scored[scores], folder / "scores.svg")
        drawn.append(_figure(folder, "scores", "How scores lie", "Records by score."))
    said = ["No labels were given: nothing here says how good the predictions are."]
    if scores and not decided:
        said.append("The model has no thresholds: compare its scores of one class; they rank records and name nothing.")
    tables = []
    if len(kinds):
        left = pd.DataFrame({"reason": kinds.index, "records": kinds.to_numpy()})
        tables.append(_table(left, "reasons", "Not scored", "Records that the model abstains from."))
    if decided and len(scored):
        named = pd.DataFrame({"class": [name.removesuffix("_decision") for name in decided]})
        named["named"] = [int(scored[name].fillna(0).sum()) for name in decided]
        named["share"] = named["named"] / len(scored)
        tables.append(_table(named, "named", "Named", "Records that reach the threshold of a class."))
    tables.append(_table(table, "predictions", "Records", "Select a heading to sort."))
    page = template("result.html.j2").render(
        title="Predictions",
        verb="predict",
        headline=f"{len(scored):,} of {len(table):,} records scored",
        sentences=said,
        simulated=False,
        metrics=[],
        others={},
        figures=drawn,
        training=None,
        tables=tables,
        examples=[],
        said=dict(about),
        downloads=_downloads(folder),
        versions={name: version(name) for name in _PACKAGES},
    )
    write_atomically(folder / PAGE, page)
    return folder / PAGE


def _headline(declared: Mapping[str, Metric], metrics: Mapping[str, float]) -> str:
    first = next((metric for metric in declared.values() if metric.name in metrics), None)
    if first is None or math.isnan(metrics[first.name]):
        return "These records do not define the metric by which models are judged"
    low, high = _ends(metrics, first.name)
    within = "" if math.isnan(low) else f", 95 % interval {low:.3f} to {high:.3f}"
    return f"{first.label[:1].upper()}{first.label[1:]} {metrics[first.name]:.3f}{within}"


def _sentences(declared: Mapping[str, Metric], metrics: Mapping[str, float]) -> list[str]:
    """Say who stands behind the numbers, what they could have shown, and what to do next."""
    said = []
    few = min(metrics.get("positive_patients", math.nan), metrics.get("negative_patients", math.nan))
    if few == few:
        said.append(
            f"Patients with the rarest outcome: {metrics['positive_patients']:,.0f}; without it: "
            f"{metrics['negative_patients']:,.0f}."
        )
    if metrics.get("step") == 0:
        said.append("Finetuning never beat what it began with on validation (step 0): the model is that.")
    if unknown := metrics.get("records_of_unknown_patients"):
        said.append(f"{unknown:,.0f} records are of unknown patients; where some are of one, intervals are too narrow.")
    if seen := metrics.get("records_of_seen_patients"):
        said.append(f"{seen:,.0f} records carry ids of patients that the model has learned from.")
    first = next(iter(declared.values()), None)
    low, high = _ends(metrics, first.name) if first is not None else (math.nan, math.nan)
    if first is not None and low == low:
        said.append(
            f"These records would show with 80 % power that the true {first.label} differs from a given value by "
            f"{POWER * (high - low) / 2:.3f} or more; smaller differences they can miss."
        )
    if few == few and few < ENOUGH:
        said.append(f"Next: fewer than {ENOUGH} patients on one side judge nothing; collect more labels.")
    else:
        said.append(
            "Next: look at calibration before probabilities are acted upon, and test at another site with "
            "ssl-ecg evaluate before anybody relies on it."
        )
    return said


def _ends(metrics: Mapping[str, float], name: str) -> tuple[float, float]:
    return metrics.get(f"{name}_low", math.nan), metrics.get(f"{name}_high", math.nan)


def _is_other(name: str, declared: Mapping[str, Metric]) -> bool:
    return re.sub(r"_(low|high)$", "", name) not in declared and name not in ("positive_patients", "negative_patients")


def _figure(folder: Path, name: str, title: str, text: str) -> dict[str, Any]:
    return {"title": title, "text": text, "svg": inline(folder / f"{name}.svg")}


def _table(table: pd.DataFrame, name: str, title: str, text: str) -> dict[str, Any]:
    """Return a table as the template shows it; ends of an interval join what they are of."""
    outcomes = [
        str(column) for column in table if name == "subgroups" and str(column).startswith(("positives_", "negatives_"))
    ]
    aside = outcomes if len(outcomes) > 2 else []
    shown = [str(c) for c in table if not str(c).endswith(("_low", "_high")) and c not in ("low", "high", *aside)]
    rows = table.head(MOST_ROWS).astype(object).to_dict("records")
    cells = [[_cell(row, column) for column in shown] for row in rows]
    more = f" The first {MOST_ROWS} of {len(table):,}." if len(table) > MOST_ROWS else ""
    return {
        "name": name,
        "title": title,
        "text": text + more,
        "columns": [_SHORT.get(c, c) for c in shown],
        "rows": cells,
    }


def _cell(row: Mapping[Any, Any], name: str) -> tuple[str, str]:
    """Return the text of a cell, and of the interval below it where there is one."""
    prefix = "" if name == "mean" else f"{name}_"
    low, high = (row.get(f"{prefix}{end}", math.nan) for end in ("low", "high"))
    if not isinstance(low, float | int) or math.isnan(low) or math.isnan(high):
        return number(row[name]), ""
    return f"{row[name]:.3f}", f"{low:.3f} to {high:.3f}"


def _downloads(folder: Path) -> list[tuple[str, str]]:
    files = [path for path in sorted(folder.glob("*.csv")) if path.stat().st_size <= MOST_BYTES]
    return [(path.name, b64encode(path.read_bytes()).decode()) for path in files]
