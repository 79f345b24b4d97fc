"""The tables of an ablation as Markdown, from its CSVs."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ssl_ecg.evaluation import Metric, format_p
from ssl_ecg.runs import markdown_table

TITLES = {"probe": "Linear probe", "finetune": "Finetuning"}
COST = ("objective", "backbone", "parameters", "epochs", "pretraining_seconds", "ecg_per_second")

Families = Mapping[tuple[str, str], Sequence[tuple[str, str]]]


def markdown(
    results: pd.DataFrame,
    summary: pd.DataFrame,
    names: Sequence[str],
    families: Families,
    metrics: Sequence[Metric],
    told: Mapping[str, Any] | None = None,
) -> str:
    """Return a table for each method and label fraction, and one of what pretraining cost.

    Args:
        results: one row per probe or finetuning.
        summary: means and differences of arms.
        names: variants, in the order of the rows.
        families: (method, what is compared with) to the pairs of arms compared.
        metrics: of the task; the first chooses on validation.
        told: what to say first: whether outcomes are ``simulated``, and whether ``patients_unknown``.
    """
    selection, told = metrics[0], told or {}
    lower = ", of which less is better" if selection.lower_is_better else ""
    drawn = "records" if told.get("patients_unknown") else "patients"
    text = [
        *(["**The outcomes are simulated**: these numbers say nothing of patients.", ""] * bool(told.get("simulated"))),
        *(["**Patients unknown: records are counted.**", ""] * (drawn == "records")),
        f"Means over seeds, 95 % intervals over {drawn} and seeds. The best validation score is bold: validation",
        f"chooses, test is only reported. Differences are of the test {selection.label}{lower}; their p-values are",
        "corrected by Holm's method over a column in all tables of its method. An interval and a difference stand on",
        f"{_counted(summary, 'positives')} test {drawn} with the outcome (of several, that of fewest) and "
        f"{_counted(summary, 'negatives')} without.",
    ]
    if "detectable" in summary and summary["detectable"].notna().any():
        found = summary.loc[summary["metric"] == selection.name, "detectable"]
        text.append(f"Differences down to {found.min():.3f} to {found.max():.3f} are found with 80 % power (p < .05).")
    if summary["low"].isna().any():
        text += [
            "A dash in place of an interval: too few patients to draw from, since no outcome of the test records has",
            "two patients with it and two without.",
        ]
    for method, title in TITLES.items():
        against = {what: dict(pairs) for (kind, what), pairs in families.items() if kind == method}
        for fraction, rows in results[results["method"] == method].groupby("fraction"):
            records = " to ".join(f"{count:,}" for count in sorted({rows["records"].min(), rows["records"].max()}))
            text += ["", f"## {title}, {100 * float(str(fraction)):g} % of the labels ({records} records)", ""]
            here = summary[summary["fraction"] == fraction]
            text += _scores(rows, here, [name for name in names if name in set(rows["variant"])], against, metrics)
    return "\n".join([*text, "", "## Pretraining", "", *_cost(results, names), ""])


def _scores(
    rows: pd.DataFrame,
    summary: pd.DataFrame,
    names: Sequence[str],
    against: Mapping[str, Mapping[str, str]],
    metrics: Sequence[Metric],
) -> list[str]:
    """One row per variant: validation and test scores of one method and fraction, and differences from others."""
    found = {(row.arm, row.metric): row for row in summary.itertuples()}
    arms = dict(zip(rows["variant"], rows["arm"]))
    selection = metrics[0]
    measured = [metric for metric in metrics if (summary["metric"] == metric.name).any()]
    validation = rows.groupby("variant")[f"validation_{selection}"].mean()
    best = selection.best(validation, key=float)
    body = []
    for name in names:
        arm = arms[name]
        score = f"{validation[name]:.3f}"
        others = [found.get((f"{arm} - {pairs.get(arm)}", selection.name)) for pairs in against.values()]
        body.append(
            [
                name,
                str((rows["variant"] == name).sum()),
                f"**{score}**" if validation[name] == best else score,
                *(_interval(found[arm, metric.name]) for metric in measured),
                *(_difference(other) for other in others),
            ]
        )
    head = ["variant", "seeds", f"validation {selection.label}", *(f"test {metric.label}" for metric in measured)]
    return [markdown_table([*head, *(f"minus {what}" for what in against)], body)]


def _counted(summary: pd.DataFrame, column: str) -> str:
    return " or ".join(f"{count:,}" for count in sorted(summary[column].unique())) if column in summary else "unknown"


def _words(name: str) -> str:
    return name.replace("_", " ").replace("ecg", "ECG")


def _interval(row: Any) -> str:
    return f"{row.mean:.3f} ({_range(row.low, row.high, '.3f')})"


def _range(low: float, high: float, form: str) -> str:
    return "\N{EN DASH}" if math.isnan(low) else f"{low:{form}} to {high:{form}}"


def _difference(row: Any) -> str:
    if row is None:
        return ""
    return f"{row.mean:+.3f} ({_range(row.low, row.high, '+.3f')}), {format_p(row.p_value)}"


def _cost(results: pd.DataFrame, names: Sequence[str]) -> list[str]:
    """What an encoder is and cost, means over seeds."""
    there = [name for name in COST if name in results]
    runs = results.drop_duplicates(["variant", "seed"])
    body = []
    for name in names:
        rows = runs.loc[runs["variant"] == name, there]
        if len(rows):
            body.append([name, *(_plain(rows[column]) for column in there)])
    return [markdown_table(["variant", *map(_words, there)], body)]


def _plain(column: pd.Series) -> str:
    if column.isna().all():
        return ""
    return f"{column.mean():,.0f}" if pd.api.types.is_numeric_dtype(column) else str(column.iloc[0])
