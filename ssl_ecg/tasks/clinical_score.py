"""What an ECG adds to a clinical score, such as CHARGE-AF, and the score to the ECG.

The score is a column of numbers; higher need not mean a higher risk. Cox regression combines it
with the logit of the predicted risk (ECG-AI: Khurshid et al., Circulation 2022), on validation; test only ranks.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray
from scipy.special import logit

from ssl_ecg.evaluation import bootstrap_metrics, concordance_index, cox_regression, paired_difference
from ssl_ecg.tasks.survival_task import Survival

MODELS = ("score", "ecg", "score_and_ecg")
_NEVER = 1e-9  # a risk of 0 or 1 has no logit

logger = logging.getLogger(__name__)


class Scored(NamedTuple):
    """Records with what a model and a clinical score say of them.

    Attributes:
        targets: [n, C], of the task.
        scores: [n, S], of the task.
        clinical: [n, P], the clinical score and what is weighed beside it; NaN where it is not known.
    """

    targets: NDArray[np.floating]
    scores: NDArray[np.floating]
    clinical: NDArray[np.floating]


def combine_clinical(
    task: Survival,
    validation: Scored,
    test: Scored,
    patient: NDArray[np.int64],
    names: Sequence[str] = ("score",),
    replicates: int = 1000,
    seed: int = 0,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Rank test records by a clinical score, by the ECG, and by both, as Cox regression on validation weighs them.

    Further columns, such as vital signs and laboratory values, go with the score.

    Records whose score or follow-up is not known are left out of all three. Follow-up counts up to the horizon.

    Args:
        task: whose scores these are.
        validation: records that the coefficients come from.
        test: records that are ranked.
        patient: [n], patients of the test records.
        names: of the P columns, "score" and the others.
        replicates: bootstrap draws of patients.
        seed: of these.

    Returns:
        One row per ``model``, "score", "ecg" and "score_and_ecg": ``c_index`` with ``c_index_low`` and
        ``c_index_high``; ``gain`` in C-index over the score alone, with ``gain_low``, ``gain_high`` and
        ``gain_p_value``; ``records_validation``, ``events_validation``, ``records_test`` and ``events_test``. And one
        row per ``model`` and ``covariate``, the names and "ecg", the logit of the risk at the horizon:
        ``coefficient``, ``standard_error`` and ``p_value``, and ``hazard_ratio`` of one standard deviation among the
        validation records, with the ends of its 95 % interval, ``hazard_ratio_low`` and ``hazard_ratio_high``.

    Raises:
        ValueError: validation has no event, or in test nothing can be ranked.
    """
    time, event, numbers, _ = _numbers(task, validation, "validation")
    tested_time, tested_event, tested, kept = _numbers(task, test, "test")
    spread = numbers.std(axis=0)

    def ranked(follow_up: ArrayLike, risk: ArrayLike, weights: ArrayLike) -> dict[str, NDArray[np.float64]]:
        days, happened = np.asarray(follow_up).T
        return {"c_index": concordance_index(days, happened, np.asarray(risk)[:, 0], weights)}

    given: dict[str, Any] = {
        "patient": patient[kept],
        "replicates": replicates,
        "seed": seed,
        "metrics": ranked,
        "outcome": task.outcome(test.targets)[kept],
    }
    follow_up = np.column_stack([tested_time, tested_event])
    rows, weighed, risks = [], [], {}
    covariates, ecg = [*names, "ecg"], len(names)
    for model, columns in zip(MODELS, ([*range(ecg)], [ecg], [*range(ecg + 1)])):
        fit = cox_regression(numbers[:, columns], time, event)
        ratio, low, high = fit.hazard_ratio(spread[columns])
        weighed.append(
            pd.DataFrame(
                {
                    "model": model,
                    "covariate": [covariates[column] for column in columns],
                    "coefficient": fit.coefficient,
                    "standard_error": fit.standard_error,
                    "p_value": fit.p_value,
                    "hazard_ratio": ratio,
                    "hazard_ratio_low": low,
                    "hazard_ratio_high": high,
                }
            )
        )
        risks[model] = tested[:, columns] @ fit.coefficient[:, None]  # [n, 1]
        found = bootstrap_metrics(follow_up, risks[model], **given)["c_index"]
        row: dict[str, Any] = {"model": model}
        row |= {"c_index": found.mean, "c_index_low": found.low, "c_index_high": found.high}
        if model != "score":
            gain = paired_difference(follow_up, risks[model], risks["score"], **given)["c_index"]
            row |= {"gain": gain.mean, "gain_low": gain.low, "gain_high": gain.high, "gain_p_value": gain.p_value}
        rows.append(row)
    table = pd.DataFrame(rows).assign(
        records_validation=len(time),
        events_validation=int(event.sum()),
        records_test=len(tested_time),
        events_test=int(tested_event.sum()),
    )
    return table, pd.concat(weighed, ignore_index=True)


def _numbers(task: Survival, part: Scored, name: str) -> tuple[NDArray[np.float64], ...]:
    """Days and event up to the horizon, [*clinical, logit of the risk] where all are known, and which these are."""
    time, event, curve, followed = task.tested(part.targets, part.scores)
    clinical = np.asarray(part.clinical, np.float64)
    known = ~np.isnan(clinical[followed]).any(axis=1)
    if not known.all():
        logger.warning(
            "%d of %d records of %s have no clinical score, or lack a covariate", (~known).sum(), len(known), name
        )
    risk = np.clip(1 - curve[known, -1], _NEVER, 1 - _NEVER)
    numbers = np.column_stack([clinical[followed][known], logit(risk)])
    event = event * (time <= task.horizon)
    return np.minimum(time, task.horizon)[known], event[known], numbers, np.flatnonzero(followed)[known]
