"""The metric of the PhysioNet/CinC challenges of 2020 and 2021, which rewards outputs near the label too.

A_jk sums, over the records with label j and output k, 1 / max(number of classes in labels or outputs, 1). The observed
sum of W * A is scaled so that outputs equal to the labels give 1 and outputs of the normal class alone give 0 (Reyna
et al., Computing in Cardiology 2021). The sum is one over records, so it is taken a record at a time here, and record
weights for many replicates at once cost one product.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ssl_ecg.evaluation.metrics import _check

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
