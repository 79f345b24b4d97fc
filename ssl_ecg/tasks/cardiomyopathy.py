"""Cardiomyopathy: is the left ventricular ejection fraction low, now or soon after this ECG?

A binary outcome, learned and tuned as one class of ``Arrhythmia`` and reported as a risk: discrimination, calibration,
an operating point, and what acting on the risk is worth (Lampert et al., JACC Clinical Electrophysiology 2023: an
ejection fraction of at most 40 % within six months of the ECG).
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.evaluation import (
    AUPRC,
    AUROC,
    BRIER,
    SENSITIVITY,
    SENSITIVITY_AT_SPECIFICITY,
    SPECIFICITY,
    brier_scores,
    rank_metrics,
    sensitivity_and_specificity,
    sensitivity_at_specificity,
    threshold_at_specificity,
)
from ssl_ecg.tasks.arrhythmia import Arrhythmia
from ssl_ecg.tasks.registry import register

COLUMNS = ("low_lvef",)

logger = logging.getLogger(__name__)


class Cardiomyopathy(Arrhythmia):
    """One logit; the target is ``low_lvef``: 1, 0 or blank.

    Args:
        classes: the column of the targets, ``COLUMNS``.
        loss: as in ``Arrhythmia``; all but ``"bce"`` shift the probabilities.
        specificity: at which sensitivity is reported, and for which ``tuned`` chooses the threshold.
        thresholds: the score from which the ejection fraction is called low; by default ``tuned`` chooses it.

    Raises:
        ValueError: another column, or an impossible option.
    """

    name = "cardiomyopathy"
    columns = COLUMNS
    metrics = (AUROC, AUPRC, BRIER, SENSITIVITY_AT_SPECIFICITY, SENSITIVITY, SPECIFICITY)
    lacking = "there is no positive or no negative"

    def __init__(
        self,
        classes: Sequence[str] = COLUMNS,
        loss: str = "bce",
        specificity: float = 0.9,
        thresholds: Sequence[float] | None = None,
    ) -> None:
        if not 0 < specificity < 1:
            raise ValueError(f"specificity={specificity}: choose a share of negatives between 0 and 1")
        super().__init__(classes, loss, thresholds)
        self.specificity = float(specificity)
        self.options = {**self.options, "specificity": self.specificity}

    def choose_thresholds(self, targets: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.float64]:
        """Return the lowest threshold that keeps the specificity; .5, and a line in the log, without a negative."""
        if not (np.asarray(targets) == 0).any():
            logger.warning("threshold .5, since validation has no record without low_lvef")
        return threshold_at_specificity(targets, scores, self.specificity)

    def informative(self, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Return the records whose outcome is known."""
        return ~np.isnan(np.asarray(targets)[:, 0])

    def weighted_metrics(
        self, targets: NDArray[Any], scores: NDArray[Any], weights: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        """Return metrics under each of R weightings of the records.

        AUROC, average precision, Brier score, the sensitivity that the tested scores allow at the specificity, and with
        a threshold the sensitivity and the specificity of its decisions.
        """
        (auroc,), (auprc,) = rank_metrics(targets, scores, weights)
        found = {
            "auroc": auroc,
            "auprc": auprc,
            "brier": brier_scores(targets, scores, weights)[0],
            "sensitivity_at_specificity": sensitivity_at_specificity(targets, scores, self.specificity, weights)[0],
        }
        if self.thresholds is None:
            return found
        (sensitivity,), (specificity,) = sensitivity_and_specificity(targets, self.decide(scores), weights)
        return {**found, "sensitivity": sensitivity, "specificity": specificity}

    def per_class(self, targets: NDArray[Any], scores: NDArray[Any]) -> pd.DataFrame:
        """Return the row of ``Arrhythmia.per_class``, and with a threshold ``sensitivity`` and ``specificity`` too."""
        table = super().per_class(targets, scores)
        if self.thresholds is None:
            return table
        found = sensitivity_and_specificity(targets, self.decide(scores))
        return table.assign(sensitivity=found[0][:, 0], specificity=found[1][:, 0])


register("cardiomyopathy", Cardiomyopathy)
