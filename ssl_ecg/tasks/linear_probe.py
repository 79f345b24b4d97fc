"""Linear probe of labels: what a frozen representation tells a logistic regression."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import logit

from ssl_ecg.evaluation import undefined_classes
from ssl_ecg.tasks.probe import Probe


class LinearProbe(Probe):
    """One L2-regularised logistic regression per label (scikit-learn, lbfgs), all of one strength.

    Features are standardised by all training records; each label is fitted on the records where it is known. A label
    without a positive or without a negative in training cannot be fitted: it is listed in ``undetermined``, gets its
    base rate (k + 1/2) / (n + 1) for every record, and has no say in the choice of the strength.

    Attributes:
        undetermined: names of the labels that predict their base rate.
    """

    undetermined: list[str]

    def usable(self, train: NDArray[Any], validation: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """Return all records, and the validation labels with those blanked that training does not determine.

        Raises:
            ValueError: no label that training determines has both a positive and a negative in validation.
        """
        unknown = undefined_classes(train)
        self.undetermined = [self.task.classes[c] for c in np.flatnonzero(unknown)]
        if (unknown | undefined_classes(validation)).all():
            raise ValueError(
                "no label has a positive and a negative in both training and validation, so C cannot be chosen; "
                f"undetermined in training: {', '.join(self.undetermined) or 'none'}"
            )
        return np.ones(len(train), dtype=bool), np.where(unknown, np.nan, validation)

    def path(self, x: NDArray[np.float64], targets: NDArray[Any]) -> Iterator[tuple[float, NDArray, NDArray]]:
        """Yield the fits; each starts from the one before (warm start), which is close to it."""
        from sklearn.linear_model import LogisticRegression  # a second, of which pretraining needs nothing

        y = np.asarray(targets, dtype=np.float64)
        unknown = undefined_classes(y)
        known, positive = (~np.isnan(y)).sum(axis=0), np.nansum(y, axis=0)
        weight = np.zeros((y.shape[1], x.shape[1]))
        bias = np.where(unknown, logit((positive + 0.5) / (known + 1)), 0.0)
        models = {c: LogisticRegression(tol=1e-6, max_iter=5000, warm_start=True) for c in np.flatnonzero(~unknown)}
        for strength in self.grid:
            for c, model in models.items():
                rows = ~np.isnan(y[:, c])
                model.set_params(C=strength).fit(x[rows], y[rows, c])
                weight[c], bias[c] = model.coef_[0], model.intercept_[0]
            yield strength, weight, bias
