"""What stands between the features and the last layer of a task."""

from __future__ import annotations

from typing import Literal

from torch import nn

from ssl_ecg.tasks.task import Task

Head = Literal["linear", "hidden"]

HIDDEN = 128
DROPOUT = (0.25, 0.5)  # before the hidden layer and after it


def make_head(kind: Head, task: Task, width: int) -> nn.Module:
    """Return the layers from features [B, width] to the logits of a task.

    Args:
        kind: "linear": the task's own; "hidden": a hidden layer of 128 units before it, with batch norms and dropout,
            as xresnet1d101 was published for PTB-XL (Strodthoff et al. 2021, doi:10.1109/JBHI.2020.3022989). The last
            layer starts at zero here, as all heads do.
        task: whose logits they are.
        width: of the features.

    Raises:
        ValueError: an unknown kind.
    """
    if kind == "linear":
        return task.head(width)
    if kind != "hidden":
        raise ValueError(f"head={kind!r}: choose 'linear' or 'hidden'")
    before, after = DROPOUT
    return nn.Sequential(
        nn.BatchNorm1d(width),
        nn.Dropout(before),
        nn.Linear(width, HIDDEN),
        nn.ReLU(inplace=True),
        nn.BatchNorm1d(HIDDEN),
        nn.Dropout(after),
        task.head(HIDDEN),
    )
