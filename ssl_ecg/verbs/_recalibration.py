"""How ``evaluate`` fits a model's decisions to another site."""

from __future__ import annotations

import logging
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.evaluation.recalibration import label_shift, prior_shift, shifted
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.tasks import Task
from ssl_ecg.tasks.thresholds import Thresholds

logger = logging.getLogger(__name__)

Rows = NDArray[np.int64]


def local_records(count: int, labels: LabelTable, index: Rows) -> tuple[Rows, Rows]:
    """Draw patients until they have ``count`` records; return the places of these in ``index``, and of the others.

    Raises:
        ValueError: nobody is left to test.
    """
    patients, records = np.unique(labels.patient[index], return_counts=True)
    order = np.random.default_rng(0).permutation(len(patients))
    drawn = patients[order[: np.searchsorted(np.cumsum(records[order]), count) + 1]]
    mine = np.isin(labels.patient[index], drawn)
    if mine.all():
        raise ValueError(f"recalibrate={count}: nobody of {len(patients)} patients is left to test; choose fewer")
    return np.flatnonzero(mine), np.flatnonzero(~mine)


def recalibrate(
    how: str | int, task: Task, scores: NDArray[Any], targets: NDArray[Any], prevalence: dict[str, float] | None
) -> tuple[Task, NDArray[np.float64], pd.DataFrame]:
    """Return the task with its decisions here, the shift of each class's logits [C], and a table of both sites.

    Args:
        how: "prior", by unlabelled scores alone; or a number, by labelled records.
        task: with thresholds.
        scores: probabilities [n, C], of the records that test or of those that recalibrate.
        targets: [n, C] of the latter.
        prevalence: of the labels that the model learned from.

    Raises:
        ValueError: a task without decisions, or a model that does not know its prevalence.
    """
    if not isinstance(task, Thresholds) or task.thresholds is None:
        raise ValueError(f"recalibrate={how!r}: task {task.name!r} decides nothing; leave it out")
    names = list(task.classes)
    if prevalence is None or set(names) - set(prevalence):
        raise ValueError(f"recalibrate={how!r}: the model does not know how common its classes were; train it again")
    trained = np.array([prevalence[name] for name in names])
    before = task.thresholds
    if how == "prior":
        shift = prior_shift(scores, trained, before)
        if alike := [name for name, moved in zip(names, shift) if not moved]:
            logger.warning("recalibrate=prior: left as they were, their scores do not tell: %s", ", ".join(alike))
        after = before
        here = shifted(trained, shift)
    else:
        shift = label_shift(scores, targets)
        known = (targets == 1).any(axis=0) & (targets == 0).any(axis=0)
        after = np.where(known, task.choose_thresholds(targets, shifted(scores, shift)), before)
        here = np.nanmean(targets, axis=0)
    local = task.with_thresholds(after)
    table = pd.DataFrame(
        {
            "class": names,
            "prevalence_trained": trained,
            "prevalence_here": here,
            "threshold_trained": before,
            # As a threshold of the scores that the model gives.
            "threshold_here": shifted(after, -shift),
        }
    )
    return local, shift, table
