"""What every task offers to the probe, the engine, the comparison and the report."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_ecg.evaluation import Metric
from ssl_ecg.tasks.linear_probe import LinearProbe
from ssl_ecg.tasks.probe import Probe


class Task(ABC):
    """A question to an ECG, such as "which arrhythmias?": what is read, predicted, learned and measured.

    Four arrays go through a task, one row per record; NaN is "not known" in the first two:

    - ``targets`` [n, C], what the label table says: labels 1 and 0, or any numbers where the task names its columns.
    - ``outcome`` [n, K], yes or no, made of the targets. Splits and draws of patients are balanced by it, and check
      that both values occur. Labels are their own outcomes; a task that predicts a number says what is balanced, such
      as whether it is high.
    - ``logits`` [n, outputs], what the head gives.
    - ``scores`` [n, S], what a model says in the end, which metrics compare with the targets.

    A task must give ``name``, ``metrics``, ``loss`` and ``weighted_metrics``; all else has a default, which is that of
    labels. The mixins are ``Thresholds`` and ``Survival``.

    Args:
        classes: names of the columns of the targets; not needed where the task names its columns.

    Attributes:
        name: by which it is created.
        columns: columns of numbers that the task reads from the label table; None: a column per class with 1, 0 or
            blank. Options may add to them.
        metrics: what it reports; the first chooses epochs, strengths and settings on validation.
        class_metrics: what it reports of each class, columns of ``per_class``.
        lacking: what records lack where the first metric is not defined, for the message.
        classes: names of the C columns of the targets.
        outcomes: names of the K outcomes; by default the classes.
        options: what the task was made with, beside its classes.

    Raises:
        ValueError: no classes, or others than those that the task names.
    """

    name: str
    columns: tuple[str, ...] | None = None
    metrics: tuple[Metric, ...]
    class_metrics: tuple[Metric, ...] = ()
    lacking: str = "no target is known"
    classes: tuple[str, ...]
    outcomes: tuple[str, ...] = ()
    options: Mapping[str, Any]

    def __init__(self, classes: Sequence[str] | None = None) -> None:
        if classes is not None and self.columns is not None and tuple(classes) != self.columns:
            raise ValueError(f"classes={list(classes)}: task {self.name!r} needs {', '.join(self.columns)}")
        self.classes = tuple(classes or self.columns or ())
        if not self.classes:
            raise ValueError("classes=(): the label table has no class column")
        self.outcomes = self.outcomes or self.classes
        self.options = {}

    @property
    def selection(self) -> Metric:
        """The metric by which validation chooses."""
        return self.metrics[0]

    @property
    def of_labels(self) -> bool:
        """Whether targets are labels, 1, 0 or unknown, and scores are of the same classes."""
        return self.outcomes == self.classes

    @property
    def outputs(self) -> int:
        """How many logits the head gives: by default one per class."""
        return len(self.classes)

    def head(self, width: int) -> nn.Module:
        """Return the layer from features [B, width] to logits [B, outputs]: by default linear, starting at zero."""
        head = nn.Linear(width, self.outputs)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return head

    @abstractmethod
    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss of logits [B, outputs] and targets [B, C], NaN where unknown."""

    def scores(self, logits: Tensor) -> Tensor:
        """Turn logits [B, outputs] into scores [B, S]; by default they are the scores."""
        return logits

    def logits(self, scores: Tensor) -> Tensor:
        """Return logits [B, outputs] that have these scores [B, S]; by default the scores."""
        return scores

    def for_training(self, targets: NDArray[Any]) -> Self:
        """Return the task with what its loss takes from the targets [n, C] of training, or itself."""
        return self

    def tuned(self, targets: NDArray[Any], scores: NDArray[Any]) -> Self:
        """Return the task with the decisions that it chooses on validation, or itself; never called with test."""
        return self

    def informative(self, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which records [n] training can learn from: by default those with a known target."""
        return ~np.isnan(np.asarray(targets)).all(axis=1)

    def outcome(self, targets: NDArray[Any]) -> NDArray[np.float32]:
        """Return the outcomes [n, K] of targets: 1, 0 or NaN; by default the labels themselves.

        Raises:
            ValueError: targets that cannot be; the message names the column and the value.
        """
        label = np.asarray(targets, np.float32)
        for name, column in zip(self.classes, label.T):
            if len(strange := column[~np.isnan(column) & ~np.isin(column, (0, 1))]):
                raise ValueError(f"{name}={strange[0]:g}: must be 1, 0 or blank ({len(strange)} such values)")
        return label

    @abstractmethod
    def weighted_metrics(
        self, targets: NDArray[Any], scores: NDArray[Any], weights: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        """Return some or all of ``metrics`` by name, each [R].

        Args:
            targets: [n, C].
            scores: [n, S].
            weights: [n, R], how often each record counts in each of R draws of the bootstrap.

        Returns:
            NaN where a draw does not define a metric.
        """

    def evaluate(self, targets: NDArray[Any], scores: NDArray[Any]) -> dict[str, float]:
        """Return the metrics that these records define, by name, each record counted once.

        Raises:
            ValueError: the metric that chooses is not defined, or one was not declared.
        """
        found = self.weighted_metrics(np.asarray(targets), np.asarray(scores), np.ones((len(targets), 1)))
        if undeclared := sorted(set(found) - {metric.name for metric in self.metrics}):
            raise ValueError(
                f"metrics: task {self.name!r} does not declare {', '.join(undeclared)}; add a Metric for it"
            )
        if np.isnan(found[self.selection.name][0]):
            raise ValueError(
                f"{self.selection.label} is not defined: {self.lacking} among these {len(targets)} records"
            )
        return {name: float(value[0]) for name, value in found.items() if not np.isnan(value[0])}

    def per_class(self, targets: NDArray[Any], scores: NDArray[Any]) -> pd.DataFrame:
        """Return what to report of each class: ``class``, ``positives_test``, ``class_metrics``; by default nothing."""
        return pd.DataFrame(columns=["class", "positives_test", *map(str, self.class_metrics)])

    def tables(self, targets: NDArray[Any], scores: NDArray[Any]) -> dict[str, pd.DataFrame]:
        """Return what to write of tested records: "predictions", one row per record, and further tables by name."""
        columns: dict[str, NDArray[Any]] = {}
        for c, name in enumerate(self.classes):
            columns |= {name: targets[:, c], f"{name}_score": scores[:, c]}
        return {"predictions": pd.DataFrame(columns)}

    def predictions(self, scores: NDArray[Any]) -> pd.DataFrame:
        """Return what scores [n, S] say of records without labels, one row per record; NaN where scores are."""
        return pd.DataFrame({f"{name}_score": scores[:, c] for c, name in enumerate(self.classes)})

    def fit_probe(
        self,
        train_x: NDArray[Any],
        train_targets: NDArray[Any],
        validation_x: NDArray[Any],
        validation_targets: NDArray[Any],
    ) -> Probe:
        """Fit a linear model on features [n, D] and targets [n, C]: by default a logistic regression per class."""
        return LinearProbe(self).fit(train_x, train_targets, validation_x, validation_targets)
