"""Two models as one: the mean of their standardised logits, with a weight that validation chooses.

A linear probe keeps what pretraining knows, a finetuned network adds what the labels teach; their errors differ, so
that their mean can beat both. It must be measured against an ensemble of two networks from random weights.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression

from ssl_ecg.tasks import Task

WEIGHTS = (0.5, 1.0, 0.0)
"""of the second model, in the order in which equals are preferred"""
_CLIP = 1e-6

Scores = NDArray[np.float32]


def blend(
    validation: tuple[Scores, Scores],
    test: tuple[Scores, Scores],
    targets: NDArray[np.float32],
    task: Task,
    weights: Sequence[float] = WEIGHTS,
) -> tuple[tuple[Scores, Scores], float, float]:
    """Return a blend's scores of validation and test, its validation score, and the weight of the second model.

    Of labels, logits are standardised per class on validation, averaged, and turned back into probabilities by a
    logistic regression on validation (Platt 1999). Other scores, such as survival curves, are averaged as they are.

    Args:
        validation: scores [m, S] of either model.
        test: scores [n, S] of either.
        targets: of validation [m, C], NaN where unknown.
        task: judges them.
        weights: to choose from; a single one is taken.
    """
    tried = [_mix(validation, test, targets, task, weight) for weight in weights]
    scores = [task.evaluate(targets, found[0])[task.selection.name] for found in tried]
    best = 0
    for place, score in enumerate(scores):
        if task.selection.better(score, scores[best]):
            best = place
    return tried[best], scores[best], weights[best]


def _mix(
    validation: tuple[Scores, Scores],
    test: tuple[Scores, Scores],
    targets: NDArray[np.float32],
    task: Task,
    weight: float,
) -> tuple[Scores, Scores]:
    """Return blended scores of validation and test."""
    shares = (1 - weight, weight)
    if not task.of_labels:
        mixed = [shares[0] * one + shares[1] * other for one, other in (validation, test)]
        return mixed[0], mixed[1]
    blended = [np.zeros(part[0].shape) for part in (validation, test)]
    for model, share in enumerate(shares):
        logits = _logit(validation[model])
        mean, deviation = logits.mean(0), np.maximum(logits.std(0), _CLIP)
        for total, part in zip(blended, (validation, test)):
            total += share * (_logit(part[model]) - mean) / deviation
    return _calibrated(blended[0], blended[1], targets)


def _logit(scores: Scores) -> NDArray[np.float64]:
    p = np.clip(scores.astype(np.float64), _CLIP, 1 - _CLIP)
    return np.log(p / (1 - p))


def _calibrated(
    validation: NDArray[np.float64], test: NDArray[np.float64], targets: NDArray[np.float32]
) -> tuple[Scores, Scores]:
    """Map each class's blended logits to probabilities; the order of records stays, so that ranking metrics do too."""
    found = np.empty_like(validation, np.float32), np.empty_like(test, np.float32)
    for c in range(validation.shape[1]):
        known = ~np.isnan(targets[:, c])
        x, y = validation[known, c][:, None], targets[known, c]
        slope, bias = 1.0, 0.0
        if 0 < y.sum() < len(y):
            fitted = LogisticRegression().fit(x, y)
            slope, bias = max(float(fitted.coef_[0, 0]), 1e-3), float(fitted.intercept_[0])
        for part, logits in zip(found, (validation, test)):
            part[:, c] = 1 / (1 + np.exp(-(slope * logits[:, c] + bias)))
    return found
