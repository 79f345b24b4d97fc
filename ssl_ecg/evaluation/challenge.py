"""The metric of the PhysioNet/CinC challenges of 2020 and 2021 (Reyna et al., Computing in Cardiology 2021).

Clinicians set a reward W[j, k] for naming class k where class j is true: 1 for the class itself, part of it for one
that is treated alike. A record earns the sum of the rewards over all pairs of a true and a named class, divided by how
many different classes are true or named, so that naming everything does not pay. The earnings of all records are then
put on a scale: 0 is what naming the normal class for everyone earns, 1 what naming exactly the true classes earns.

The earnings are a sum over records, so each record's are computed once, and the metric of many bootstrap replicates is
one product with how often each record was drawn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_ecg.evaluation.metric import Metric
from ssl_ecg.evaluation.metrics import _check

CHALLENGE_METRIC = Metric(
    "challenge_metric",
    "challenge metric",
    "Reward of the decisions by the rules of PhysioNet/CinC 2020 and 2021: 1 where all are right, 0 where the normal "
    "class alone is named.",
)
NORMAL = "426783006"


def challenge_metric(
    labels: ArrayLike,
    outputs: ArrayLike,
    classes: Sequence[str | Iterable[str]],
    weights: ArrayLike,
    normal_class: str = NORMAL,
) -> float:
    """The challenge metric: 1 for perfect outputs, 0 for always naming the normal class.

    Args:
        labels: [n, C], 0 or 1.
        outputs: [n, C], 0 or 1, decisions rather than scores.
        classes: C class codes; classes scored as one are a collection of codes or "code|code".
        weights: [C, C], rewards with rows for labels and columns for outputs, in the order of ``classes``.
        normal_class: Code of the class that an inactive classifier names.

    Returns:
        The metric, 0 where the inactive classifier is perfect already and the scale is undefined.

    Raises:
        ValueError: Shapes differ, values are not 0 or 1, or ``normal_class`` is not among ``classes``.
    """
    each = np.ones((len(np.asarray(labels)), 1))
    return float(challenge_metrics(labels, outputs, classes, weights, each, normal_class)[0])


def challenge_metrics(
    labels: ArrayLike,
    outputs: ArrayLike,
    classes: Sequence[str | Iterable[str]],
    weights: ArrayLike,
    record_weights: ArrayLike,
    normal_class: str = NORMAL,
) -> NDArray[np.float64]:
    """``challenge_metric`` under each of R weightings of the records [n, R]: [R]."""
    label, output = _check(labels, outputs)
    reward, weight = np.asarray(weights, dtype=np.float64), np.asarray(record_weights, dtype=np.float64)
    codes = [frozenset(c.split("|") if isinstance(c, str) else c) for c in classes]
    if not (np.isin(label, (0, 1)).all() and np.isin(output, (0, 1)).all()):
        raise ValueError("challenge_metric needs labels and outputs of 0 or 1: threshold scores, fill unknown labels")
    if label.shape[1] != len(codes) or reward.shape != (len(codes), len(codes)):
        raise ValueError(
            f"labels have {label.shape[1]} classes, classes {len(codes)}, weights shape {reward.shape}: they must agree"
        )
    normal = [i for i, code in enumerate(codes) if normal_class in code]
    if not normal:
        raise ValueError(f"normal_class {normal_class!r} is not among classes {[sorted(code) for code in codes]}")
    inactive = np.zeros_like(label)
    inactive[:, normal] = 1

    def earned(decided: NDArray[np.float64]) -> NDArray[np.float64]:
        size = np.maximum(np.maximum(label, decided).sum(axis=1), 1)
        return (label @ reward * decided).sum(axis=1) / size @ weight

    lowest, highest = earned(inactive), earned(label)
    span = highest - lowest
    return np.divide(earned(output) - lowest, span, out=np.zeros_like(span), where=span != 0)
