"""What an ECG also says of its patient: age, sex and disease before it, learned beside a task to shape the features.

(ECG-AI: Khurshid et al., Circulation 2022, which learned them beside the survival of atrial fibrillation.)
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ssl_ecg.tasks.losses import bce

WEIGHTS: Mapping[str, float] = MappingProxyType({"age": 0.0, "sex": 0.0, "prevalent": 0.0})
OLDEST = 130.0
"""Years; above, a number must be a code for something else (PTB-XL writes 300 for all above 89)."""


class Auxiliary:
    """A weighted sum of losses, one output each: squared error of age, cross-entropy of sex and of prevalent disease.

    Age counts in standard deviations from the mean age of training. Each loss is the mean over the records of a batch
    where its target is known.

    Args:
        weights: of "age", "sex" and "prevalent"; a target of weight 0, or none, is not learned.

    Attributes:
        names: The K targets that are learned.

    Raises:
        ValueError: a weight of something else, or one that is not a number of at least 0.
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        if unknown := sorted(set(weights) - set(WEIGHTS)):
            raise ValueError(f"auxiliary={unknown}: choose among {', '.join(WEIGHTS)}")
        if wrong := {name: weight for name, weight in weights.items() if not 0 <= weight < np.inf}:
            raise ValueError(f"auxiliary={wrong}: weights must be at least 0")
        self.weights = {name: float(weights.get(name, 0)) for name in WEIGHTS}
        self.names = tuple(name for name, weight in self.weights.items() if weight)
        self._age: tuple[float, float] | None = None  # mean and standard deviation in training, years

    def check(self, targets: NDArray[Any]) -> None:
        """Refuse targets [n, K] that cannot be.

        Raises:
            ValueError: an age or a 0/1 target out of range; the message names the value.
        """
        for name, column in zip(self.names, np.asarray(targets).T):
            known = column[~np.isnan(column)]
            wrong = known[(known < 0) | (known > OLDEST) if name == "age" else (known != 0) & (known != 1)]
            if len(wrong):
                wanted = f"between 0 and {OLDEST:g} years" if name == "age" else "0 or 1"
                raise ValueError(f"{name}={wrong[0]:g}: must be {wanted}, or blank ({len(wrong)} such values)")

    def known(self, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which records [n] have any of the targets [n, K]."""
        return ~np.isnan(targets).all(axis=1) if self.names else np.zeros(len(targets), dtype=bool)

    def for_training(self, targets: NDArray[Any]) -> Auxiliary:
        """Return the same with the scale of age in these targets [n, K]."""
        if "age" not in self.names:
            return self
        ages = np.asarray(targets, np.float64)[:, self.names.index("age")]
        ages = ages[~np.isnan(ages)]
        scaled = copy.copy(self)
        scaled._age = (float(ages.mean()), float(ages.std()) or 1.0) if len(ages) else (0.0, 1.0)
        return scaled

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the weighted sum, a scalar; 0 where nothing is known.

        Args:
            outputs: [B, K].
            targets: [B, K], NaN where unknown.

        Raises:
            ValueError: age is learned and its scale in training is not known.
        """
        total = outputs.new_zeros(())
        for k, name in enumerate(self.names):
            output, target = outputs[:, k : k + 1].float(), targets[:, k : k + 1]
            if name == "age":
                if self._age is None:
                    raise ValueError("age: its scale in training is not known; take for_training(targets)")
                mean, spread = self._age
                known = ~target.isnan()
                each = (output - (target.nan_to_num() - mean) / spread) ** 2
                part = (each * known).sum() / known.sum().clamp(min=1)
            else:
                part = bce(output, target)
            total = total + self.weights[name] * part
        return total
