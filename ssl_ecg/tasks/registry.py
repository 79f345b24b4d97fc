"""Tasks by name, and how one is made for a label table."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssl_ecg.archive.archive import Archive
from ssl_ecg.labels.tables import LabelTable, read_labels
from ssl_ecg.registry import Registry
from ssl_ecg.tasks.task import Task

TASKS: Registry[Callable[..., Task]] = Registry("task", "ssl_ecg.tasks")
"""Classes of tasks: ``TASKS[name](classes, **options)`` makes one."""

register = TASKS.register
list_tasks = TASKS.names

logger = logging.getLogger(__name__)


def create_task(name: str, classes: Sequence[str], **options: Any) -> Task:
    """Build a task for these columns of targets.

    Raises:
        ValueError: unknown name, no classes, or an option with an impossible value.
        TypeError: an option that the task does not have.
    """
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
