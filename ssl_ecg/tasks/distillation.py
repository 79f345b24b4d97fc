"""What a student learns from its teacher: soft targets of each label, and the teacher's features.

The loss of multi-label distillation is that of the labels and, weighted,

- T^2 BCE(sigmoid(teacher / T), sigmoid(student / T)), the mean over labels (Hinton et al. 2015, arXiv:1503.02531, for
  labels that do not exclude each other); T^2 keeps its gradient alike at every temperature T;
- the squared error of a linear map from the student's features to the teacher's (FitNets: Romero et al. 2015,
  arXiv:1412.6550), which are standardised, so that it is 1 where the map knows nothing.

A teacher of twelve leads teaches a student of fewer in the same way (after MVKT-ECG: Qin et al. 2023).
"""

from __future__ import annotations

import copy
from typing import Annotated, Any, Self

import numpy as np
import pandas as pd
import torch
from annotated_types import Ge, Gt
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_ecg.settings import Settings
from ssl_ecg.tasks.probe import Probe
from ssl_ecg.tasks.task import Task

Targets = NDArray[np.float32]


class DistilSettings(Settings):
    """What counts how much."""

    temperature: Annotated[float, Gt(0)] = 2.0
    """by which logits of teacher and student are divided for the soft targets; above 1 the unlikely is seen as well"""
    soft: Annotated[float, Ge(0)] = 1.0
    """weight of the soft targets, beside the labels' loss of weight 1; 0 is off"""
    features: Annotated[float, Ge(0)] = 1.0
    """weight of the teacher's features; 0 is off. With both off the student learns from labels alone: the control"""


def soft_targets_loss(logits: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """Return T^2 BCE(sigmoid(teacher / T), sigmoid(logits / T)), the mean over what is known.

    Args:
        logits: [B, C], of the student.
        teacher: [B, C], its logits; NaN where it was not asked.
        temperature: T.
    """
    known = ~teacher.isnan()
    soft = torch.sigmoid(teacher.nan_to_num().float() / temperature)
    each = F.binary_cross_entropy_with_logits(logits.float() / temperature, soft, reduction="none")
    return temperature**2 * (each * known).sum() / known.sum().clamp(min=1)


def features_loss(mapped: Tensor, teacher: Tensor) -> Tensor:
    """Return the mean squared error of mapped features [B, D] to the teacher's, NaN where it was not asked."""
    known = ~teacher.isnan()
    return ((mapped.float() - teacher.nan_to_num()).square() * known).sum() / known.sum().clamp(min=1)


class Taught(Task):
    """A task whose targets are followed by what a teacher says of the same records.

    Targets are labels [n, C], the teacher's logits [n, C] and its features [n, D], D = 0 where they count nothing;
    logits are those of the task [B, C] and features mapped to the teacher's [B, D], by rows of the same last layer.
    Scores and metrics are of the task alone.

    Args:
        task: of the labels.
        settings: weights.
        width: of the teacher's features; not used where they count nothing.
    """

    def __init__(self, task: Task, settings: DistilSettings, width: int) -> None:
        self.task, self.settings = task, settings
        self.mapped = width if settings.features else 0
        self.name, self.metrics, self.class_metrics, self.lacking = (
            task.name,
            task.metrics,
            task.class_metrics,
            task.lacking,
        )
        self.outcomes = task.outcomes
        logits = [f"teacher's logit of {name}" for name in task.classes]
        super().__init__((*task.classes, *logits, *(f"teacher's feature {d}" for d in range(self.mapped))))

    @property
    def labels(self) -> int:
        """How many labels C there are."""
        return len(self.task.classes)

    def targets(self, labels: Targets, said: tuple[Targets, Targets] | None) -> Targets:
        """Return the targets of records.

        Args:
            labels: [n, C].
            said: the teacher's logits [n, C] and standardised features [n, D]; None: it was not asked.
        """
        unknown = np.full((len(labels), len(self.classes) - self.labels), np.nan, np.float32)
        if said is None:
            return np.hstack([labels, unknown])
        logits, features = said
        return np.hstack([labels, logits if self.settings.soft else np.full_like(logits, np.nan), features])[
            :, : len(self.classes)
        ]

    def head(self, width: int) -> nn.Module:
        """Return the head of the task, a linear one, with an output more, zero, for each of the teacher's features."""
        own = self.task.head(width)
        assert isinstance(own, nn.Linear)
        head = nn.Linear(width, self.labels + self.mapped)
        with torch.no_grad():
            for whole, part in ((head.weight, own.weight), (head.bias, own.bias)):
                whole.zero_()
                whole[: self.labels] = part
        return head

    def untaught(self, head: nn.Module) -> Task:
        """Take from a head what only the teacher was for, and return the task."""
        last = list(head.modules())[-1]
        assert isinstance(last, nn.Linear)
        last.weight, last.bias = (
            nn.Parameter(part[: self.labels].detach().clone()) for part in (last.weight, last.bias)
        )
        last.out_features = self.labels
        return self.task

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the loss of the labels and the weighted ones of the teacher, 0 where it was not asked."""
        labels, soft, features = targets.split([self.labels, self.labels, self.mapped], 1)
        own, mapped = logits.split([self.labels, self.mapped], 1)
        total = self.task.loss(own, labels)
        total = total + self.settings.soft * soft_targets_loss(own, soft, self.settings.temperature)
        return total + self.settings.features * features_loss(mapped, features)

    def scores(self, logits: Tensor) -> Tensor:
        """Return the scores of the task."""
        return self.task.scores(logits[:, : self.labels])

    def for_training(self, targets: NDArray[Any]) -> Self:
        """Return the task with what the loss of the labels takes from them."""
        made = copy.copy(self)
        made.task = self.task.for_training(targets[:, : self.labels])
        return made

    def outcome(self, targets: NDArray[Any]) -> Targets:
        """Return the outcomes of the labels."""
        return self.task.outcome(targets[:, : self.labels])

    def weighted_metrics(
        self, targets: NDArray[Any], scores: NDArray[Any], weights: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the metrics of the labels."""
        return self.task.weighted_metrics(targets[:, : self.labels], scores, weights)

    def per_class(self, targets: NDArray[Any], scores: NDArray[Any]) -> pd.DataFrame:
        """Return what to report of each label."""
        return self.task.per_class(targets[:, : self.labels], scores)

    def fit_probe(
        self,
        train_x: NDArray[Any],
        train_targets: NDArray[Any],
        validation_x: NDArray[Any],
        validation_targets: NDArray[Any],
    ) -> Probe:
        """Fit the task's probe to the labels."""
        parts = (targets[:, : self.labels] for targets in (train_targets, validation_targets))
        train_y, validation_y = parts
        known = self.task.informative(train_y)
        return self.task.fit_probe(train_x[known], train_y[known], validation_x, validation_y)
