"""Tasks by name, and what every task offers to the engine."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_ecg.archive.archive import Archive
from ssl_ecg.labels.tables import LabelTable, read_labels
from ssl_ecg.registry import Registry

logger = logging.getLogger(__name__)


class Probe(Protocol):
    """A linear model on frozen features, fitted: its weights can start a linear head."""

    coef: NDArray[np.float64]
    """[outputs, D], in the original feature space."""
    intercept: NDArray[np.float64]
    C: float
    """The inverse regularisation strength that validation chose."""
    validation_score: float
    """The task's selection metric on validation."""

    def scores(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return the task's scores of features [n, D]."""


class Task(Protocol):
    """The same probe, finetune and comparison code serves every task through this.

    Targets [n, C] are what the label table says, scores [n, S] what a model says of the same records. What patients are
    stratified by, and what a split must not lack, are binary outcomes [n, K]; for labels these are the targets.
    """

    name: str
    columns: tuple[str, ...] | None
    """Columns of numbers that the task reads from the label table; None: a column of 1, 0 or blank a class.

    A task that names its columns can be made without ``classes``, and its options may add to the columns.
    """
    classes: tuple[str, ...]
    """Names of the C columns of the targets."""
    outcomes: tuple[str, ...]
    """Names of the K binary outcomes."""
    options: Mapping[str, Any]
    """What the task was made with, beside its classes."""
    selection: str
    """Name of the metric, higher is better, by which epochs and settings are chosen on validation."""

    def head(self, width: int) -> nn.Module:
        """Return the layer from features [B, width] to logits [B, outputs]."""

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss of logits [B, outputs] and targets [B, C], NaN where unknown."""

    def scores(self, logits: Tensor) -> Tensor:
        """Turn logits [B, outputs] into scores [B, S] between 0 and 1."""

    def for_training(self, targets: NDArray[Any]) -> Task:
        """Return the task with what its loss takes from the targets [n, C] of training, or itself."""

    def tuned(self, targets: NDArray[Any], scores: NDArray[Any]) -> Task:
        """Return the task with the decisions that it chooses on validation, or itself; never called with test."""

    def informative(self, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which records [n] training can learn from; it leaves out the others."""

    def outcome(self, targets: NDArray[Any]) -> NDArray[np.float32]:
        """Return the binary outcomes [n, K] of targets: 1, 0 or NaN.

        Raises:
            ValueError: targets that cannot be; the message names the column and the value.
        """

    def metrics(self, targets: NDArray[Any], scores: NDArray[Any]) -> dict[str, float]:
        """Name the metrics of targets and scores, the one for selection first."""

    def weighted_metrics(
        self, targets: NDArray[Any], scores: NDArray[Any], weights: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the same metrics, each [R], under weights [n, R]; NaN where undefined."""

    def per_class(self, targets: NDArray[Any], scores: NDArray[Any]) -> pd.DataFrame:
        """Return what to report of each class: ``class``, ``positives_test``, ``auroc``, ``auprc``; NaN: undefined."""

    def tables(self, targets: NDArray[Any], scores: NDArray[Any]) -> dict[str, pd.DataFrame]:
        """Return what to write of tested records: "predictions", a row a record, and further tables by name."""

    def fit_probe(
        self, train_x: NDArray[Any], train_y: NDArray[Any], validation_x: NDArray[Any], validation_y: NDArray[Any]
    ) -> Probe:
        """Fit a linear model on features [n, D] and targets [n, C]; validation chooses its strength."""


TASKS: Registry[Callable[..., Task]] = Registry("task", "ssl_ecg.tasks")
"""Classes of tasks: ``TASKS[name](classes, **options)`` makes one."""

register = TASKS.register
list_tasks = TASKS.names


def create_task(name: str, classes: Sequence[str], **options: Any) -> Task:
    """Build a task for these columns of targets.

    Raises:
        ValueError: unknown name, no classes, or an option with an impossible value.
        TypeError: an option that the task does not have.
    """
    if not classes:
        raise ValueError("classes=(): the label table has no class column")
    return TASKS[name](classes, **options)


def read_task(
    name: str,
    table: pd.DataFrame | str | Path,
    archive: Archive,
    classes: Sequence[str] | None = None,
    options: Mapping[str, Any] | None = None,
    others: Sequence[str] = (),
) -> tuple[LabelTable, Task]:
    """Read what a task needs from a label table, and build the task.

    Args:
        name: of the task.
        table: label table, or its file.
        archive: holds its records.
        classes: columns of the table; by default all, or those that the task names.
        options: of the task.
        others: columns that are no classes unless ``classes`` names them.

    Returns:
        The labels, with the outcomes that splits are stratified by, and the task.

    Raises:
        ValueError: the table lacks what the task needs; the message names it.
    """
    factory, options = TASKS[name], options or {}
    if getattr(factory, "columns", None) is None:
        labels = read_labels(table, archive, classes, others=others)
        task = create_task(name, labels.classes, **options)
    else:
        task = factory(**options)
        assert task.columns is not None
        if classes is not None and tuple(classes) != task.columns:
            raise ValueError(f"classes={list(classes)}: task {name!r} reads the columns {', '.join(task.columns)}")
        labels = read_labels(table, archive, task.columns, numbers=True)
        labels = replace(labels, status=task.outcome(labels.targets), status_names=task.outcomes)
    if labels.simulated:
        logger.warning("the outcomes of the label table are simulated: results say nothing of patients")
    if silent := np.count_nonzero(~task.informative(labels.targets)):
        logger.warning("%d of %d records carry no information that %s could learn from", silent, len(labels), name)
    return labels, task
