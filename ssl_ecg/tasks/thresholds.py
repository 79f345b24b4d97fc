"""Mixin of tasks that decide: a threshold per class, chosen on validation and kept with the model."""

from __future__ import annotations

import copy
from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.tasks.task import Task


class Thresholds(Task):
    """A task whose scores are one probability per class, named from a threshold on.

    Attributes:
        thresholds: [C], or None before ``tuned`` chooses them.
    """

    thresholds: NDArray[np.float64] | None = None

    @abstractmethod
    def choose_thresholds(self, targets: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.float64]:
        """Return the thresholds [C] that suit targets and scores [n, C] of validation."""

    def tuned(self, targets: NDArray[Any], scores: NDArray[Any]) -> Self:
        """Return the task with thresholds chosen on these validation records; those it was made with stay."""
        if self.thresholds is not None:
            return self
        return self.with_thresholds(self.choose_thresholds(targets, scores))

    def with_thresholds(self, thresholds: NDArray[np.float64]) -> Self:
        """Return the task with these thresholds [C]."""
        task = copy.copy(self)
        task.set_thresholds(thresholds)
        return task

    def set_thresholds(self, thresholds: Sequence[float] | NDArray[np.float64]) -> None:
        """Take these thresholds, also into ``options``.

        Raises:
            ValueError: another number of them than classes, or one that is not between 0 and 1.
        """
        given = np.asarray(thresholds, dtype=np.float64)
        if given.shape != (len(self.classes),) or not ((given >= 0) & (given <= 1)).all():
            raise ValueError(
                f"thresholds={given.tolist()}: choose one between 0 and 1 for each of {len(self.classes)} classes"
            )
        self.thresholds = given
        self.options = {**self.options, "thresholds": given.tolist()}

    def decide(self, scores: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which classes are named, [n, C], for scores [n, C].

        Raises:
            ValueError: no thresholds were tuned or given.
        """
        if self.thresholds is None:
            raise ValueError("thresholds=None: tune them on validation with tuned(targets, scores)")
        return np.asarray(scores) >= self.thresholds

    def predictions(self, scores: NDArray[Any]) -> pd.DataFrame:
        """Return each class's score and, where there are thresholds, its decision: 1 where it is named, else 0."""
        columns: dict[str, Any] = {}
        for c, name in enumerate(self.classes):
            columns[f"{name}_score"] = scores[:, c]
            if self.thresholds is not None:
                decided = pd.Series(scores[:, c] >= self.thresholds[c], dtype="Int64")
                columns[f"{name}_decision"] = decided.mask(np.isnan(scores[:, c]))
        return pd.DataFrame(columns)
