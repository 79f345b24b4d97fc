"""What stands between the features and the last layer of a task."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_ecg.tasks.static_inputs import static_columns
from ssl_ecg.tasks.task import Task

Head = Literal["linear", "hidden"]

HIDDEN = 128
DROPOUT = (0.25, 0.5)  # before the hidden layer and after it
BESIDE_RATE = 30.0
"""By how much faster the weights of static inputs learn. A column has one weight, where hundreds of features share in
every step of Adam, so that at one rate a network has learned its records by heart before a column counts."""


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


class StaticInputs(nn.Module):
    """Raw values [B, K] to inputs of a layer [B, 2 K]: standardised, 0 where unknown, and which are unknown.

    Args:
        columns: K.

    Attributes:
        mean: [K], of the known values of training.
        deviation: [K], their standard deviation; 1 where they are all alike.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, columns: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(columns))
        self.register_buffer("deviation", torch.ones(columns))

    def fit(self, values: NDArray[np.floating]) -> None:
        """Take mean and deviation from the values [n, K] of training."""
        for column, mean, deviation in zip(np.asarray(values, np.float64).T, self.mean, self.deviation, strict=True):
            if len(known := column[~np.isnan(column)]):
                mean.fill_(known.mean())
                deviation.fill_(known.std() if np.ptp(known) else 1.0)

    def forward(self, values: Tensor) -> Tensor:
        """Map values [B, K], NaN where unknown, to [B, 2 K]."""
        unknown = values.isnan()
        standard = torch.where(unknown, 0.0, (values - self.mean) / self.deviation)
        return torch.cat([standard, unknown.to(standard.dtype)], 1)


class WideHead(nn.Module):
    """A task's head with static inputs in its last layer: what the features say, and added to it what these say.

    The last layer of features and inputs one behind the other is this sum. It starts as what the features say alone.

    Args:
        kind: of the head, see ``make_head``.
        task: whose logits they are.
        width: of the features.
        static: names of static inputs.

    Attributes:
        inputs: makes inputs of raw values.
        beside: their weights.
        deep: the head of the features.

    Raises:
        ValueError: an unknown kind.
    """

    def __init__(self, kind: Head, task: Task, width: int, static: Sequence[str]) -> None:
        super().__init__()
        columns = len(static_columns(static))
        self.inputs = StaticInputs(columns)
        self.beside = nn.Linear(2 * columns, task.outputs, bias=False)
        self.deep = make_head(kind, task, width)
        nn.init.zeros_(self.beside.weight)

    def forward(self, features: Tensor, static: Tensor) -> Tensor:
        """Map features [B, D] and raw static values [B, K] to logits [B, outputs]."""
        return self.deep(features) + self.beside(self.inputs(static))
