"""Metrics averaged over rounds in each of which other patients tested."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ssl_ecg.evaluation.intervals import Bootstrap, Inference, Replicates
from ssl_ecg.evaluation.support import ENOUGH, Support


class Rotation(Inference):
    """Several bootstraps as one: a replicate is the mean over rounds of a metric, each on its own draw of patients.

    Scores of different rounds come from different models and are never ranked together. The mean of P rounds of equal
    variance has the mean of their inflations, and the sum of their degrees of freedom; what their models share by
    training on overlapping records is not in the interval, as in any cross-validation (Bengio & Grandvalet, JMLR 2004).

    Args:
        parts: one per round, with draws that are independent of each other's and of equal number.
    """

    def __init__(self, parts: Sequence[Bootstrap]) -> None:
        self.parts = parts
        supports = [part.support for part in parts]
        positives, negatives = sum(one.positives for one in supports), sum(one.negatives for one in supports)
        freedom = float(np.sum([one.freedom for one in supports]))
        enough = len(parts) > 1 and min(positives, negatives) >= ENOUGH and freedom >= ENOUGH - 1
        judged = supports[0].judged if len(parts) == 1 else enough
        self.support = Support(positives, negatives, float(np.mean([s.inflation for s in supports])), freedom, judged)

    def score(self, scores: Sequence[ArrayLike]) -> Replicates:
        """Return the mean over rounds of the metrics of one run each, whose scores are [n of the round, D]."""
        each = [part.score(one) for part, one in zip(self.parts, scores, strict=True)]
        return {name: np.mean([one[name] for one in each], axis=0) for name in each[0]}
