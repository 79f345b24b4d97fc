"""Tasks by name, and what every task offers to the engine."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray
from torch import Tensor, nn


class Task(Protocol):
    """The same finetune and comparison code serves every task through this."""

    name: str
    classes: tuple[str, ...]
    selection: str
    """Name of the metric, higher is better, by which epochs and settings are chosen on validation."""

    def head(self, width: int) -> nn.Module:
        """Return the layer from features [B, width] to logits [B, C]."""

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the scalar loss of logits [B, C] and targets [B, C], NaN where unknown."""

    def scores(self, logits: Tensor) -> Tensor:
        """Turn logits [B, C] into scores [B, C] between 0 and 1."""

    def metrics(self, targets: NDArray[Any], scores: NDArray[Any]) -> dict[str, float]:
        """Name the metrics of targets and scores, both [n, C]."""


TASKS: dict[str, Callable[[Sequence[str]], Task]] = {}


def register(name: str, task: Callable[[Sequence[str]], Task]) -> None:
    """Make a task available by name."""
    if name in TASKS:
        raise ValueError(f"name={name!r}: a task of this name exists already")
    TASKS[name] = task


def list_tasks() -> list[str]:
    """Return the names that ``create_task`` knows."""
    return sorted(TASKS)


def create_task(name: str, classes: Sequence[str]) -> Task:
    """Build a task for these classes.

    Raises:
        ValueError: unknown name, or no classes.
    """
    if name not in TASKS:
        raise ValueError(f"task={name!r}: unknown; choose one of {', '.join(list_tasks())}")
    if not classes:
        raise ValueError("classes=(): the label table has no class column")
    return TASKS[name](classes)
