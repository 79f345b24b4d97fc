"""Mixin of tasks that learn age, sex and disease before the ECG beside what they predict, to shape the features.

(ECG-AI: Khurshid et al., Circulation 2022, which learned them beside the survival of atrial fibrillation.)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_ecg.evaluation import Metric, absolute_error, correlation, rank_metrics
from ssl_ecg.evaluation.recalibration import CLIP
from ssl_ecg.tasks.losses import bce
from ssl_ecg.tasks.task import Task

WEIGHTS: Mapping[str, float] = {"age": 0.0, "sex": 0.0, "prevalent": 0.0}
MIDDLE, UNIT = 60.0, 15.0
"""Years; age is learned as (age - MIDDLE) / UNIT, the same in every cohort, so that models can be joined."""
MEANINGS: Mapping[str, str] = {
    "age": "age in years",
    "sex": "probability of a man",
    "prevalent": "probability of the event before the ECG",
}
"""What the scores of auxiliary targets are."""
OLDEST = 130.0
"""Years; above, a number must be a code for something else (PTB-XL writes 300 for all above 89)."""

METRICS: Mapping[str, tuple[Metric, ...]] = {
    "age": (
        Metric(
            "age_error",
            "error of age",
            "Mean absolute error in years of the age that is learned beside the task; it chooses nothing.",
            lower_is_better=True,
        ),
        Metric(
            "age_correlation",
            "correlation of age",
            "Pearson's correlation of the age that is learned beside the task with the true one; it chooses nothing.",
        ),
    ),
    "sex": (
        Metric(
            "sex_auroc",
            "AUROC of sex",
            "The chance that a man is scored above a woman, by the sex that is learned beside the task; .5 is "
            "guessing; it chooses nothing.",
        ),
    ),
    "prevalent": (
        Metric(
            "prevalent_auroc",
            "AUROC of the prevalent event",
            "The chance that a record with the event before the ECG scores above one without, by what is learned "
            "beside the task; .5 is guessing; it chooses nothing.",
        ),
    ),
}


class AuxiliaryTargets(Task):
    """A task with further losses, each of a target and an output of its own, which come after those of the task.

    They are the squared error of age, in units of 15 years, and the cross-entropy of sex and of prevalent disease; each
    is the mean over the records of a batch where its target is known. Scores of the task are followed by one of each
    auxiliary target, an age in years or a probability; they have metrics of their own, which come last. A probe learns
    the task alone: there these scores are NaN, or the same for all, and have no metrics. To be named before the class
    of the task it is mixed into.

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
        self.metrics = (*type(self).metrics, *(metric for name in self.beside for metric in METRICS[name]))
        self._places = [self.classes.index(name) for name in self.beside]

    @property
    def outputs(self) -> int:
        """How many logits there are: those of the task, then one of each auxiliary target."""
        return super().outputs + len(self.beside)

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
        """Return the task's loss and the weighted losses of the auxiliary targets, 0 where they are not known."""
        own = super().outputs
        total = super().loss(logits[:, :own], targets)  # type: ignore[safe-super]  # that of the task beside
        for k, (place, (name, weight)) in enumerate(zip(self._places, self.beside.items(), strict=True), own):
            output, target = logits[:, k : k + 1].float(), targets[:, place : place + 1]
            if name == "age":
                known = ~target.isnan()
                each = (output - (target.nan_to_num() - MIDDLE) / UNIT) ** 2
                part = (each * known).sum() / known.sum().clamp(min=1)
            else:
                part = bce(output, target)
            total = total + weight * part
        return total

    def scores(self, logits: Tensor) -> Tensor:
        """Return the scores of the task and those of the auxiliary targets, NaN where there are no logits of them."""
        own = super().scores(logits[:, : super().outputs])
        said = logits[:, super().outputs :].to(own)
        if not said.shape[1]:
            said = torch.full_like(own[:, :1], torch.nan).expand(-1, len(self.beside))
        columns = [
            MIDDLE + UNIT * said[:, [k]] if name == "age" else torch.sigmoid(said[:, [k]])
            for k, name in enumerate(self.beside)
        ]
        return torch.cat([own, *columns], dim=1)

    def logits(self, scores: Tensor) -> Tensor:
        """Return logits [B, outputs] that have these scores [B, S]."""
        own = super().logits(scores)
        columns = [
            (score - MIDDLE) / UNIT if name == "age" else torch.logit(score, CLIP)
            for name, score in self._beside(scores).items()
        ]
        return torch.cat([own, *(column[:, None] for column in columns)], dim=1)

    def weighted_metrics(
        self, targets: NDArray[Any], scores: NDArray[Any], weights: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the metrics of the task, and of each auxiliary target those of the records where it is known."""
        found = super().weighted_metrics(targets, scores, weights)  # type: ignore[safe-super]
        for place, (name, score) in zip(self._places, self._beside(scores).items(), strict=True):
            truth = np.asarray(targets, np.float64)[:, place]
            known = ~np.isnan(truth)
            given = truth[known], score[known], np.asarray(weights)[known]
            if not known.any() or not np.ptp(given[1]) > 0:  # one number for all, or NaN: it was not learned
                found |= {metric.name: np.full(given[2].shape[1], np.nan) for metric in METRICS[name]}
            elif name == "age":
                found |= {"age_error": absolute_error(*given), "age_correlation": correlation(*given)}
            else:
                found[f"{name}_auroc"] = rank_metrics(given[0][:, None], given[1][:, None], given[2])[0][0]
        return found

    def predictions(self, scores: NDArray[Any]) -> pd.DataFrame:
        """Return what the task says and ``auxiliary_NAME`` of each auxiliary target, see ``MEANINGS``."""
        return super().predictions(scores).assign(**{f"auxiliary_{n}": s for n, s in self._beside(scores).items()})

    def _beside(self, scores: Any) -> dict[str, Any]:
        """Return the scores of the auxiliary targets by name, each [n], of all scores [n, S]: the last columns."""
        first = scores.shape[1] - len(self.beside)
        return {name: scores[:, first + k] for k, name in enumerate(self.beside)}

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
