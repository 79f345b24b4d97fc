"""Linear probes: what frozen features tell a linear model, whose strength of regularisation validation chooses."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import nn

if TYPE_CHECKING:
    from ssl_ecg.tasks.task import Task

GRID = tuple(10 ** (k / 2) for k in range(-10, 3))
"""Inverse regularisation strengths tried: half decades from 1e-5 (13 records, 512 features) to 10."""


class Probe(ABC):
    """A linear model on standardised features, one output per logit; its weights can start a linear head.

    Fitted at every inverse regularisation strength of the grid, it keeps the one with the best selection metric of the
    task on validation, the smallest of equals. A class that derives from it says in ``path`` how it is fitted.

    Args:
        task: turns logits into scores, and judges them.
        grid: inverse regularisation strengths to try, in any order.

    Attributes:
        coef: [outputs, D], weights in the original feature space: ``x @ coef.T + intercept`` are the logits.
        intercept: [outputs].
        C: the inverse regularisation strength that validation chose.
        scale: [D], by which features were divided to standardise them.
        validation_score: the task's selection metric on validation at ``C``.

    Raises:
        ValueError: a strength that is not above 0.
    """

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    C: float
    scale: NDArray[np.float64]
    validation_score: float

    def __init__(self, task: Task, grid: Sequence[float] = GRID) -> None:
        if not len(grid) or min(grid) <= 0:
            raise ValueError(f"grid={list(grid)}: must hold positive inverse regularisation strengths")
        self.task, self.grid = task, sorted(grid)

    @abstractmethod
    def path(self, x: NDArray[np.float64], targets: NDArray[Any]) -> Iterator[tuple[float, NDArray, NDArray]]:
        """Yield each strength of the grid, upwards, with the weights [outputs, D] and biases [outputs] fitted at it.

        Args:
            x: [n, D], standardised features of the records to learn from.
            targets: [n, C], NaN where unknown.
        """

    def as_layer(self) -> nn.Linear:
        """Return the linear layer that the probe is; outputs of the task that it lacks are 0."""
        layer = nn.Linear(self.coef.shape[1], max(self.task.outputs, len(self.coef)))
        with torch.no_grad():
            for whole, part in ((layer.weight, self.coef), (layer.bias, self.intercept)):
                whole.zero_()
                whole[: len(part)] = torch.from_numpy(part)
        return layer

    def usable(self, train: NDArray[Any], validation: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """Return which training records [n] to learn from, and the validation targets [m, C] that can judge.

        Args:
            train: targets [n, C].
            validation: targets [m, C].
        """
        return self.task.informative(train), validation

    def fit(
        self, train_x: ArrayLike, train_targets: ArrayLike, validation_x: ArrayLike, validation_targets: ArrayLike
    ) -> Self:
        """Fit at every strength and keep the best on validation.

        Args:
            train_x: [n, D] features.
            train_targets: [n, C], NaN where unknown.
            validation_x: [m, D].
            validation_targets: [m, C].

        Raises:
            ValueError: features that are not finite, shapes that disagree, or targets that teach or judge nothing.
        """
        from sklearn.preprocessing import StandardScaler  # a second, of which pretraining needs nothing

        x, x_valid = _features("train_x", train_x), _features("validation_x", validation_x)
        y, y_valid = np.asarray(train_targets), np.asarray(validation_targets)
        if len(x) != len(y) or len(x_valid) != len(y_valid) or x.shape[1] != x_valid.shape[1]:
            raise ValueError(
                f"train {x.shape} with targets {y.shape} and validation {x_valid.shape} with targets {y_valid.shape} "
                "must agree in records and features"
            )
        learnt, judged = self.usable(y, y_valid)
        scaler = StandardScaler().fit(x[learnt])
        self.scale = scaler.scale_
        tried = []
        for strength, weight, bias in self.path(scaler.transform(x[learnt]), y[learnt]):
            coef = weight / scaler.scale_
            intercept = bias - coef @ scaler.mean_
            found = self.task.evaluate(judged, self._scored(coef, intercept, x_valid))
            tried.append((found[self.task.selection.name], strength, coef, intercept))
        best = self.task.selection.best(tried, key=lambda one: one[0])
        self.validation_score, self.C, self.coef, self.intercept = best
        return self

    def scores(self, x: ArrayLike) -> NDArray[np.float64]:
        """Return the task's scores [n, S] of features [n, D].

        Raises:
            ValueError: features that are not finite, or of another width.
        """
        features = _features("x", x)
        if features.shape[1] != self.coef.shape[1]:
            raise ValueError(f"x has {features.shape[1]} features, but the probe was fitted on {self.coef.shape[1]}")
        return self._scored(self.coef, self.intercept, features)

    def _scored(self, coef: NDArray, intercept: NDArray, x: NDArray[np.float64]) -> NDArray[np.float64]:
        return self.task.scores(torch.from_numpy(x @ coef.T + intercept)).numpy()


def _features(name: str, x: ArrayLike) -> NDArray[np.float64]:
    features = np.asarray(x, dtype=np.float64)
    if features.ndim != 2 or not np.isfinite(features).all():
        raise ValueError(
            f"{name} must be finite features [records, width], got shape {features.shape} with "
            f"{int((~np.isfinite(features)).sum())} values that are not finite"
        )
    return features
