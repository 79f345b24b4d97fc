"""The answer in plain words, composed from the rows of a summary."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import pandas as pd

from ssl_ecg.evaluation import SIGNIFICANCE, Metric, format_p
from ssl_ecg.report.figures import arm_label, is_difference, percent, signed

MAIN_DIFFERENCE = "pretrained_finetune - scratch"
CONTROL_DIFFERENCE = "pretrained_probe - random_probe"
TOO_FEW = "too few to judge"
VERDICTS = ("better", "worse", "no clear difference", TOO_FEW)


class Finding(NamedTuple):
    """One paired difference at one label fraction.

    ``verdict`` is one of ``VERDICTS``; ``p_value``, ``detectable`` (the difference that 80 % power finds) and the
    counts of test patients are NaN if not given.
    """

    difference: str
    fraction: float
    mean: float
    low: float
    high: float
    verdict: str
    p_value: float = math.nan
    detectable: float = math.nan
    positives: float = math.nan
    negatives: float = math.nan


def verdict(low: float, high: float, p_value: float | None = None, lower_is_better: bool = False) -> str:
    """What a difference allows one to say: nothing where its interval contains 0 or its corrected p is .05 or more.

    A p-value of NaN is one that too few patients do not allow; None where the table has no p-values.
    """
    if p_value is not None and math.isnan(p_value):
        return TOO_FEW
    if p_value is not None and p_value >= SIGNIFICANCE:
        return "no clear difference"
    if lower_is_better:
        low, high = -high, -low
    if low > 0:
        return "better"
    return "worse" if high < 0 else "no clear difference"


def findings(summary: pd.DataFrame, metric: Metric) -> list[Finding]:
    """The paired differences of one task, by difference (pretrained and fine-tuned against scratch first) and fraction.

    Args:
        summary: ``arm, fraction, metric, mean, low, high`` and, if there, ``p_value``, ``detectable``, ``positives``
            and ``negatives``; differences are rows whose arm is "a - b".
        metric: Which rows, and which way is better.
    """
    rows = summary[is_difference(summary["arm"]) & (summary["metric"] == metric.name)]
    order = sorted(rows["arm"].unique(), key=lambda arm: arm != MAIN_DIFFERENCE)  # stable: the others as they stand
    found = []
    for arm in order:
        for row in rows[rows["arm"] == arm].sort_values("fraction").itertuples():
            clear = verdict(row.low, row.high, getattr(row, "p_value", None), metric.lower_is_better)
            optional = (getattr(row, name, math.nan) for name in ("p_value", "detectable", "positives", "negatives"))
            found.append(Finding(str(arm), row.fraction, row.mean, row.low, row.high, clear, *optional))
    return found


def headline(found: Sequence[Finding]) -> str:
    """Does pretraining pay here, judged by the first difference of ``found``.

    Where that is better, but a probe on random weights does as well as one on the pretrained encoder, the gain may be
    that of a frozen network or of the probe, and a second sentence says so.
    """
    if not found:
        return "This comparison holds no pair of arms to tell whether pretraining pays."
    first = [f for f in found if f.difference == found[0].difference]
    better, worse, unclear, few = ([f for f in first if f.verdict == kind] for kind in VERDICTS)
    rest = f"; at {_at(unclear)} there is no clear difference" if unclear else ""
    rest += f"; at {_at(few)} there are too few patients to judge" if few else ""
    if better and worse:
        return (
            f"It depends: with {_at(better)} of the labels pretraining pays, with {_at(worse)} it is worse{rest}."
            f"{_doubt(better, found)}"
        )
    if better:
        return f"Pretraining pays here with {_at(better)} of the labels{rest}.{_doubt(better, found)}"
    if worse:
        return f"Pretraining does not pay here: it is worse with {_at(worse)} of the labels{rest}."
    if not unclear:
        return f"Too few test patients to judge whether pretraining pays, with {_at(few)} of the labels."
    few_too = f"; at {_at(few)} there are too few patients to judge" if few else ""
    return f"Pretraining makes no clear difference here, with {_at(unclear)} of the labels{few_too}."


def _doubt(better: Sequence[Finding], found: Sequence[Finding]) -> str:
    unproven = {f.fraction for f in found if f.difference == CONTROL_DIFFERENCE and f.verdict != "better"}
    doubted = [f for f in better if f.fraction in unproven]
    if not doubted:
        return ""
    return f" At {_at(doubted)} a linear probe is not clearly better on the pretrained encoder than on random weights."


def sentences(found: Sequence[Finding], metric: Metric) -> list[str]:
    """One sentence for each difference: where it is clear, and by how much."""
    told = []
    label = metric.label + (", of which less is better," if metric.lower_is_better else "")
    for difference in dict.fromkeys(f.difference for f in found):
        rows = [f for f in found if f.difference == difference]
        first, second = (arm_label(arm) for arm in difference.split(" - ", 1))
        largest = max(rows, key=lambda f: abs(f.mean))
        verdicts = ((kind, [f for f in rows if f.verdict == kind]) for kind in VERDICTS)
        counts = "; ".join(f"{kind} at {_at(group)}" for kind, group in verdicts if group)
        interval = "no interval: too few patients"
        if not math.isnan(largest.low):
            interval = f"95\N{NO-BREAK SPACE}% interval {signed(largest.low, 3)} to {signed(largest.high, 3)}"
        if not math.isnan(largest.p_value):
            interval += f", corrected {format_p(largest.p_value)}"
        told.append(
            f"{first} against {second[0].lower()}{second[1:]}: {counts}. The largest difference in "
            f"{label} is {signed(largest.mean, 3)} ({interval}), "
            f"at {percent(largest.fraction)}.{_could_find(rows)}"
        )
    return told


def _could_find(rows: Sequence[Finding]) -> str:
    """What these data could have found: the range of the detectable differences over fractions."""
    every = [f.detectable for f in rows if not math.isnan(f.detectable)]
    if not every:
        return ""
    least, most = (f"{end:.3f}" for end in (min(every), max(every)))
    span = least if least == most else f"{least} to {most}, by fraction,"
    return f" True differences of {span} would be found with 80\N{NO-BREAK SPACE}% power."


def _at(group: Sequence[Finding]) -> str:
    """The fractions of a group as a list, e.g. "1, 5 and 10 %"."""
    *others, last = (percent(f.fraction) for f in group)
    return f"{', '.join(share[:-2] for share in others)} and {last}" if others else last
