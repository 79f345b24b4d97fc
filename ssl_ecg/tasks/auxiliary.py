"""Mixin of tasks that learn age, sex and disease before the ECG beside what they predict, to shape the features.

(ECG-AI: Khurshid et al., Circulation 2022, which learned them beside the survival of atrial fibrillation.)
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_ecg.tasks.losses import bce
from ssl_ecg.tasks.task import Task

WEIGHTS: Mapping[str, float] = {"age": 0.0, "sex": 0.0, "prevalent": 0.0}
OLDEST = 130.0
"""Years; above, a number must be a code for something else (PTB-XL writes 300 for all above 89)."""


class AuxiliaryTargets(Task):
    """A task with further losses, each of a target and an output of its own, which come after those of the task.

    They are the squared error of age, in standard deviations from the mean age of training, and the cross-entropy of
    sex and of prevalent disease; each is the mean over the records of a batch where its target is known. Scores, and
    with them metrics and the probe, are of the task alone. To be named before the class of the task it is mixed into.

    Args:
        classes: the columns of the task, and those of the auxiliary targets.
        auxiliary: weights of ``"age"``, ``"sex"`` and ``"prevalent"``; a target of weight 0, or none, is not learned.
        options: of the task that it is mixed into.

    Raises:
        ValueError: a weight of something else, or one that is not a number of at least 0.
    """

    def __init__(
        self, classes: Sequence[str] | None = None, *, auxiliary: Mapping[str, float] = WEIGHTS, **options: Any
    ) -> None:
        if unknown := sorted(set(auxiliary) - set(WEIGHTS)):
            raise ValueError(f"auxiliary={unknown}: choose among {', '.join(WEIGHTS)}")
        if wrong := {name: weight for name, weight in auxiliary.items() if not 0 <= weight < np.inf}:
            raise ValueError(f"auxiliary={wrong}: weights must be at least 0")
        weights = {name: float(auxiliary.get(name, 0)) for name in WEIGHTS}
        self.beside = {name: weight for name, weight in weights.items() if weight}
        self.columns = tuple(dict.fromkeys((*(type(self).columns or ()), *self.beside)))
        super().__init__(classes, **options)
        self.options = {**self.options, "auxiliary": weights}
        self._places = [self.classes.index(name) for name in self.beside]
        self._age: tuple[float, float] | None = None  # mean and standard deviation in training, years

    def head(self, width: int) -> nn.Module:
        """Return the head of the task with an output more, starting at zero, for each auxiliary target.

        Raises:
            TypeError: the task's head is not linear.
        """
        own = super().head(width)
        if not self.beside:
            return own
        if not isinstance(own, nn.Linear):
            raise TypeError(f"auxiliary={self.beside}: the head of task {self.name!r} is not linear; leave it out")
        head = nn.Linear(width, own.out_features + len(self.beside))
        with torch.no_grad():
            for whole, part in ((head.weight, own.weight), (head.bias, own.bias)):
                whole.zero_()
                whole[: own.out_features] = part
        return head

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the task's loss and the weighted losses of the auxiliary targets, 0 where they are not known.

        Raises:
            ValueError: age is learned and its scale in training is not known.
        """
        own = logits.shape[1] - len(self.beside)
        total = super().loss(logits[:, :own], targets)  # type: ignore[safe-super]  # that of the task beside
        for k, (place, (name, weight)) in enumerate(zip(self._places, self.beside.items(), strict=True), own):
            output, target = logits[:, k : k + 1].float(), targets[:, place : place + 1]
            if name == "age":
                if self._age is None:
                    raise ValueError("age: its scale in training is not known; take for_training(targets)")
                mean, spread = self._age
                known = ~target.isnan()
                each = (output - (target.nan_to_num() - mean) / spread) ** 2
                part = (each * known).sum() / known.sum().clamp(min=1)
            else:
                part = bce(output, target)
            total = total + weight * part
        return total

    def for_training(self, targets: NDArray[Any]) -> Self:
        """Return the task with the scale of age in training, where age is learned."""
        task = super().for_training(targets)
        if "age" not in self.beside:
            return task
        ages = np.asarray(targets, np.float64)[:, self.classes.index("age")]
        ages = ages[~np.isnan(ages)]
        task = copy.copy(task)
        task._age = (float(ages.mean()), float(ages.std()) or 1.0) if len(ages) else (0.0, 1.0)
        return task

    def informative(self, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which records the task can learn from, or have an auxiliary target."""
        beside = np.asarray(targets)[:, self._places]
        return super().informative(targets) | (~np.isnan(beside)).any(axis=1)

    def outcome(self, targets: NDArray[Any]) -> NDArray[np.float32]:
        """Return the outcomes of the task.

        Raises:
            ValueError: an age or another auxiliary target out of range; the message names the value.
        """
        for name, column in zip(self.beside, np.asarray(targets)[:, self._places].T, strict=True):
            known = column[~np.isnan(column)]
            wrong = known[(known < 0) | (known > OLDEST) if name == "age" else (known != 0) & (known != 1)]
            if len(wrong):
                wanted = f"between 0 and {OLDEST:g} years" if name == "age" else "0 or 1"
                raise ValueError(f"{name}={wrong[0]:g}: must be {wanted}, or blank ({len(wrong)} such values)")
        return super().outcome(targets)
