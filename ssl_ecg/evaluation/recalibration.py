"""Probabilities at another site: where a finding is more or less common there, all logits of its class are shifted.

By Bayes' rule a change of prevalence alone, with ECGs of either outcome looking as before, adds the same number to
every logit: the difference of the logits of both prevalences. Ranks, and so AUROC, do not change; decisions do.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

Floats = NDArray[np.float64]

CLIP = 1e-6
ROUNDS, TOLERANCE, NONE = 1000, 1e-6, 1e-4
DEVIATION = 2.0
"""of the normal prior of a shift that labels tell: without labels it is 0, and one positive does not make it endless"""


def shifted(scores: ArrayLike, shift: ArrayLike) -> Floats:
    """Return probabilities [n, C] whose logits are shifted by [C]."""
    return np.asarray(expit(logit(np.clip(np.asarray(scores, np.float64), CLIP, 1 - CLIP)) + np.asarray(shift)))


def prior_shift(scores: ArrayLike, prevalence: ArrayLike, thresholds: ArrayLike) -> Floats:
    """Return the shift of each class [C] that fits its prevalence where nothing is labelled.

    Expectation maximisation (Saerens, Latinne and Decaestecker, Neural Computation 2002): the mean of the
    probabilities, adjusted to the prevalence that was found last, is the next prevalence, until it stays. It needs
    probabilities that were right where the model was trained, and findings that look alike at both sites. Where they
    are not, it runs away; so a class is left as it is where its prevalence ends at 0 or 1, or where more than twice as
    many would have it, or lack it, as the model's own decisions say: these would then miss more than half.

    Args:
        scores: probabilities [n, C].
        prevalence: of the labels that the model learned from [C].
        thresholds: from which the model names a class [C].
    """
    named = (np.asarray(scores) >= np.asarray(thresholds)).mean(axis=0)
    known = np.clip(np.asarray(prevalence, dtype=np.float64), CLIP, 1 - CLIP)
    found = known
    for _ in range(ROUNDS):
        before, found = found, np.clip(shifted(scores, logit(found) - logit(known)).mean(axis=0), CLIP, 1 - CLIP)
        if np.abs(found - before).max(initial=0) < TOLERANCE:
            break
    told = (found > NONE) & (found < 1 - NONE) & (found <= 2 * named) & (1 - found <= 2 * (1 - named))
    return np.where(told, logit(found) - logit(known), 0.0)


def label_shift(scores: ArrayLike, targets: ArrayLike) -> Floats:
    """Return the shift of each class [C] that fits some labels best: maximum a posteriori, one number per class.

    Args:
        scores: probabilities [n, C].
        targets: 1, 0 or NaN (unknown) [n, C].
    """
    score, target = np.asarray(scores, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    shifts = np.zeros(score.shape[1])
    for c in range(score.shape[1]):
        known = ~np.isnan(target[:, c])
        z, y = logit(np.clip(score[known, c], CLIP, 1 - CLIP)), target[known, c]

        def loss(shift: float, z: Floats = z, y: Floats = y) -> float:
            return float(np.sum(np.logaddexp(0, z + shift) - y * (z + shift)) + (shift / DEVIATION) ** 2 / 2)

        shifts[c] = minimize_scalar(loss, bounds=(-20, 20), method="bounded", options={"xatol": 1e-6}).x
    return shifts
