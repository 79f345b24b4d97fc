"""Several models of one task as one: how their scores are joined, and the head that joins them.

Of labels, each member's logits are moved and scaled per class, so that they can be compared, and then

- "mean": standardised on validation and averaged, each with its weight;
- "any": measured from the member's own threshold, and the highest taken: positive if any member is positive (Zhu et
  al., CinC 2020).

A logistic regression on validation (Platt 1999) makes probabilities of the result. It keeps the order of records, so
that ranking metrics do not change. Other scores, such as survival curves, are averaged as they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import expit
from torch import Tensor, nn

from ssl_ecg.tasks.heads import Head, make_head
from ssl_ecg.tasks.task import Task
from ssl_ecg.tasks.thresholds import Thresholds

Rule = Literal["mean", "any"]
Floats = NDArray[np.float64]
Scores = NDArray[np.floating]

LEAST_DEVIATION, LEAST_SLOPE = 1e-6, 1e-3
ROUNDING = 1e-5
"""of logits in single precision"""


@dataclass(frozen=True)
class Combination:
    """How the scores of M members become one.

    Attributes:
        rule: "mean" or "any".
        weight: [M], of the members; together 1.
        scale: [M, C], by which a member's logits are multiplied.
        shift: [M, C], what is added then: a member's opinion as the logit of a probability.
        zero: [C], the logit of the whole where the mean, or the highest distance from a threshold, is 0.
    """

    rule: Rule
    weight: Floats
    scale: Floats
    shift: Floats
    zero: Floats

    def scores(self, members: Sequence[Scores], task: Task) -> NDArray[np.float32]:
        """Return the scores [n, S] that those of the members make, each [n, S]."""
        logits = task.logits(torch.as_tensor(np.stack(members, 1), dtype=torch.float64).flatten(0, 1))
        held = (torch.from_numpy(part) for part in (self.weight, self.scale, self.shift))
        joined, _ = combine(logits.unflatten(0, (-1, len(members))), task, self.rule, *held)
        return task.scores(joined).float().numpy()

    def decided(self, task: Task, targets: NDArray[Any], scores: Scores) -> Task:
        """Return the task with decisions: of "any" those of its members, of "mean" tuned on what it was fitted to.

        Args:
            task: without decisions.
            targets: [n, C], of validation.
            scores: [n, S], of the whole.
        """
        if self.rule == "mean":
            return task.tuned(targets, scores)
        assert isinstance(task, Thresholds)
        return task.with_thresholds(expit(self.zero - ROUNDING))  # a threshold is often the score of a record


def combine(
    logits: Tensor, task: Task, rule: Rule, weight: Tensor, scale: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """Return the logits [B, outputs] of the whole, and the scores that each member would give, [B, M, S].

    Args:
        logits: [B, M, outputs], of the members.
        task: whose logits they are.
        rule: as in ``Combination``, also the others.
        weight: [M].
        scale: [M, C].
        shift: [M, C].
    """
    if not task.of_labels:
        scores = task.scores(logits.flatten(0, 1)).unflatten(0, (-1, len(weight)))
        return task.logits((scores * weight[:, None]).sum(1)), scores
    opinions = logits * scale + shift
    scores = task.scores(opinions.flatten(0, 1)).unflatten(0, (-1, len(weight)))
    return (opinions.amax(1) if rule == "any" else (opinions * weight[:, None]).sum(1)), scores


def fit_combination(
    task: Task,
    scores: Sequence[Scores],
    targets: NDArray[Any],
    weights: Sequence[float] | None = None,
    rule: Rule = "mean",
    thresholds: Sequence[Floats] = (),
) -> Combination:
    """Fit how members are joined to records that they did not learn from.

    Args:
        task: of all of them.
        scores: of each member [n, S]; NaN where it has learned from a record, of which the others speak alone.
        targets: [n, C].
        weights: of the members; None: all alike.
        rule: "mean", or for labels "any".
        thresholds: of each member [C], for "any".

    Raises:
        ValueError: "any" where nothing is decided.
    """
    weight = np.full(len(scores), 1 / len(scores)) if weights is None else np.asarray(weights, np.float64)
    if not task.of_labels:
        if rule != "mean":
            raise ValueError(f"rule={rule!r}: task {task.name!r} decides nothing; choose mean")
        nothing = np.zeros((len(scores), 1))
        return Combination(rule, weight, nothing, nothing, nothing[0])
    logits = task.logits(torch.as_tensor(np.stack(scores), dtype=torch.float64)).numpy()  # [M, n, C]
    if rule == "mean":
        middle, unit = np.nanmean(logits, axis=1), np.maximum(np.nanstd(logits, axis=1), LEAST_DEVIATION)
        shares = weight[:, None, None] * ~np.isnan(logits)
        standard = np.nan_to_num((logits - middle[:, None]) / unit[:, None])
        joined = (shares * standard).sum(0) / shares.sum(0)
    else:
        middle, unit = task.logits(torch.from_numpy(np.stack(thresholds))).numpy(), np.ones(logits.shape[::2])
        joined = np.nanmax(logits - middle[:, None], axis=0)
    slope, bias = platt(joined, targets)
    return Combination(rule, weight, slope / unit, bias - slope / unit * middle, bias)


def platt(logits: Floats, targets: NDArray[Any]) -> tuple[Floats, Floats]:
    """Return slope and bias of each class [C] that make logits [n, C] those of calibrated probabilities.

    Slopes are positive; where targets [n, C] lack one outcome they are 1, and the bias 0.
    """
    from sklearn.linear_model import LogisticRegression  # a second, of which pretraining needs nothing

    slope, bias = np.ones(logits.shape[1]), np.zeros(logits.shape[1])
    for c in range(logits.shape[1]):
        known = ~np.isnan(targets[:, c])
        x, y = logits[known, c][:, None], targets[known, c]
        if 0 < y.sum() < len(y):
            fitted = LogisticRegression().fit(x, y)
            slope[c], bias[c] = max(float(fitted.coef_[0, 0]), LEAST_SLOPE), float(fitted.intercept_[0])
    return slope, bias


class EnsembleHead(nn.Module):
    """The heads of several models, each on its own part of the features, and what joins them.

    Args:
        task: of all of them.
        widths: of the parts.
        members: kind of the head of each.
        rule: as in ``Combination``.

    Raises:
        ValueError: an unknown rule, or other parts than heads.
    """

    weight: Tensor
    scale: Tensor
    shift: Tensor

    def __init__(self, task: Task, widths: Sequence[int], members: Sequence[Head], rule: Rule) -> None:
        super().__init__()
        if rule not in get_args(Rule) or (rule == "any" and not task.of_labels):
            raise ValueError(f"rule={rule!r}: choose mean or, for labels, any")
        if not isinstance(members, Sequence) or len(members) != len(widths):
            raise ValueError(f"members={members!r}: must be the heads of {len(widths)} networks")
        self.task, self.widths, self.members, self.rule = task, list(widths), list(members), rule
        self.heads = nn.ModuleList(make_head(kind, task, width) for kind, width in zip(members, widths))
        columns = len(task.classes) if task.of_labels else 1
        self.register_buffer("weight", torch.full((len(widths),), 1 / len(widths)))
        self.register_buffer("scale", torch.ones(len(widths), columns))
        self.register_buffer("shift", torch.zeros(len(widths), columns))

    def forward(self, features: Tensor) -> Tensor:
        """Map the features [B, D] of all networks to logits [B, outputs]."""
        return self._joined(features)[0]

    def spread(self, features: Tensor) -> Tensor:
        """Return the standard deviation of the members' scores, each with its weight, [B, S]."""
        _, scores = self._joined(features)
        mean = (scores * self.weight[:, None]).sum(1, keepdim=True)
        return ((scores - mean).square() * self.weight[:, None]).sum(1).sqrt()

    def shares(self, features: Tensor, output: int | None) -> Tensor:
        """Return how much each member has to say, [B, M]: its weight; of "any" and one output all has the highest."""
        if self.rule == "mean" or output is None:
            return self.weight.expand(len(features), -1)
        scores = self._joined(features)[1][..., output]
        return nn.functional.one_hot(scores.argmax(1), len(self.widths)).to(features.dtype)

    def _joined(self, features: Tensor) -> tuple[Tensor, Tensor]:
        parts = zip(self.heads, features.split(self.widths, 1))
        logits = torch.stack([head(part) for head, part in parts], 1)
        return combine(logits, self.task, self.rule, self.weight, self.scale, self.shift)
