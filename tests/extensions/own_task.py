"""Age in years, judged by the mean absolute error, of which less is better."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from torch import Tensor

from ssl_ecg.evaluation import Metric
from ssl_ecg.tasks import Probe, Task, register


class RidgeProbe(Probe):
    """Ridge regression of the years from 50 on."""

    def path(self, x: NDArray[np.float64], targets: NDArray[Any]) -> Iterator[tuple[float, NDArray, NDArray]]:
        """Yield a fit for every strength."""
        for strength in self.grid:
            model = Ridge(alpha=1 / strength).fit(x, targets.astype(np.float64) - 50)
            yield strength, np.atleast_2d(model.coef_), np.atleast_1d(model.intercept_)


class Age(Task):
    """Years, from the manifest of the archive; patients are balanced by whether they are old."""

    name = "age"
    columns = ("age",)
    outcomes = ("sixty_or_older",)
    metrics = (Metric("mae", "mean absolute error", "Mean distance from the age, in years.", lower_is_better=True),)

    def scores(self, logits: Tensor) -> Tensor:
        """Return ages [B, 1]."""
        return logits + 50

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error of known ages, in decades."""
        return (((self.scores(logits) - targets) / 10) ** 2).nanmean()

    def outcome(self, targets: NDArray[Any]) -> NDArray[np.float32]:
        """Return whether patients are 60 or older."""
        return np.where(np.isnan(targets), np.nan, targets >= 60).astype(np.float32)

    def weighted_metrics(self, targets: Any, scores: Any, weights: Any) -> dict[str, NDArray[np.float64]]:
        """Return the mean absolute error."""
        return {"mae": np.average(np.abs(scores - targets).repeat(weights.shape[1], 1), axis=0, weights=weights)}

    def fit_probe(self, train_x: Any, train_targets: Any, validation_x: Any, validation_targets: Any) -> Probe:
        """Fit a ridge regression."""
        return RidgeProbe(self).fit(train_x, train_targets, validation_x, validation_targets)


register("age", Age)
