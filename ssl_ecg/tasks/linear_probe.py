"""Linear probe: what a frozen representation tells a logistic regression."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import expit, logit
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from ssl_ecg.evaluation.metrics import macro_auroc, undefined_classes

logger = logging.getLogger(__name__)

C_GRID = tuple(float(c) for c in np.logspace(-5, 1, 13))
"""Inverse regularisation strengths tried: half decades from 1e-5 (13 records, 512 features) to 10."""


class LinearProbe:
    """One L2-regularised logistic regression a label on standardised features.

    Features are standardised by the training records; each label is fitted (scikit-learn, lbfgs) on the records where
    it is known. One inverse regularisation strength ``C`` serves all labels: the one with the highest macro AUROC on
    the validation records, the smaller of equals. A label without a positive or without a negative in training cannot
    be fitted: it is listed in ``undetermined`` and gets its base rate (k + 1/2) / (n + 1) for every record.

    Attributes:
        coef: [C, D], weights in the original feature space, so that ``x @ coef.T + intercept`` are the logits.
        intercept: [C].
        C: The chosen inverse regularisation strength.
        validation_score: Macro AUROC on validation at ``C``.
        undetermined: Indices of the labels that predict their base rate.

    Example:
        >>> probe = LinearProbe().fit(train_x, train_y, validation_x, validation_y)  # doctest: +SKIP
        >>> macro_auroc(test_y, probe.scores(test_x))  # doctest: +SKIP
    """

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    C: float
    validation_score: float
    undetermined: list[int]

    def __init__(self, grid: Sequence[float] = C_GRID) -> None:
        """Takes the candidates for ``C``, in any order."""
        if not len(grid) or min(grid) <= 0:
            raise ValueError(f"grid must hold positive inverse regularisation strengths, got {list(grid)}")
        self.grid = sorted(grid)

    def fit(
        self, train_x: ArrayLike, train_y: ArrayLike, validation_x: ArrayLike, validation_y: ArrayLike
    ) -> LinearProbe:
        """Fits every label at every ``C`` and keeps the best on validation.

        Args:
            train_x: [n, D] features.
            train_y: [n, C] labels, 1, 0 or NaN (unknown).
            validation_x: [m, D].
            validation_y: [m, C].

        Raises:
            ValueError: Features are not finite, shapes disagree, or no label that training determines has both a
                positive and a negative in validation.
        """
        x, x_valid = _features("train_x", train_x), _features("validation_x", validation_x)
        y, y_valid = np.asarray(train_y, dtype=np.float64), np.asarray(validation_y, dtype=np.float64)
        if len(x) != len(y) or len(x_valid) != len(y_valid) or x.shape[1] != x_valid.shape[1]:
            raise ValueError(
                f"train {x.shape} with labels {y.shape} and validation {x_valid.shape} with labels {y_valid.shape} "
                "must agree in records and features"
            )
        undetermined = undefined_classes(y)
        judged = ~undetermined & ~undefined_classes(y_valid)
        if not judged.any():
            raise ValueError(
                "no label has a positive and a negative in both train_y and validation_y, so C cannot be chosen; "
                f"undetermined in training: {np.flatnonzero(undetermined).tolist()}"
            )
        self.undetermined = np.flatnonzero(undetermined).tolist()
        if self.undetermined:
            logger.warning("labels %s have no positive or no negative in training: base rate", self.undetermined)

        scaler = StandardScaler().fit(x)
        known, positive = (~np.isnan(y)).sum(axis=0), np.nansum(y, axis=0)
        weight = np.zeros((y.shape[1], x.shape[1]))
        bias = np.where(undetermined, logit((positive + 0.5) / (known + 1)), 0.0)
        # Along the grid each fit starts from the one before (warm start), which is close to it.
        models = {
            c: LogisticRegression(tol=1e-6, max_iter=5000, warm_start=True) for c in np.flatnonzero(~undetermined)
        }
        standardised = scaler.transform(x)
        self.validation_score = -np.inf
        for strength in self.grid:
            for c, model in models.items():
                rows = ~np.isnan(y[:, c])
                model.set_params(C=strength).fit(standardised[rows], y[rows, c])
                weight[c], bias[c] = model.coef_[0], model.intercept_[0]
            coef = weight / scaler.scale_
            intercept = bias - coef @ scaler.mean_
            score = macro_auroc(y_valid[:, judged], x_valid @ coef[judged].T + intercept[judged])
            if score > self.validation_score:
                self.C, self.validation_score, self.coef, self.intercept = strength, score, coef, intercept
        return self

    def scores(self, x: ArrayLike) -> NDArray[np.float64]:
        """Probability of each label.

        Args:
            x: [n, D] features.

        Returns:
            [n, C] in (0, 1).
        """
        features = _features("x", x)
        if features.shape[1] != self.coef.shape[1]:
            raise ValueError(f"x has {features.shape[1]} features, but the probe was fitted on {self.coef.shape[1]}")
        return np.asarray(expit(features @ self.coef.T + self.intercept))


def _features(name: str, x: ArrayLike) -> NDArray[np.float64]:
    features = np.asarray(x, dtype=np.float64)
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError(
            f"{name} must be finite features [records, width], got shape {features.shape} with "
            f"{int((~np.isfinite(features)).sum())} values that are not finite"
        )
    return features
