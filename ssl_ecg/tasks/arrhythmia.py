"""Multi-label arrhythmia: any number of statements may hold for one ECG, and some may be unknown."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_ecg.evaluation import (
    auprc_per_class,
    auroc_per_class,
    best_thresholds,
    brier_per_class,
    calibration_error,
    challenge_metrics,
    decision_metrics,
    f1_per_class,
    macro_auprc,
    macro_auroc,
    macro_metrics,
    reliability,
)
from ssl_ecg.tasks import LinearProbe
from ssl_ecg.tasks.losses import asymmetric, bce, focal, positive_weight, sign
from ssl_ecg.tasks.registry import Probe, register

LOSSES: dict[str, Callable[..., Tensor]] = {
    "bce": bce,
    "weighted": bce,
    "focal": focal,
    "asymmetric": asymmetric,
    "sign": sign,
}

logger = logging.getLogger(__name__)


class Arrhythmia:
    """One logit a class, and a loss over the labels that are known.

    Args:
        classes: names of the C classes.
        loss: ``"bce"``, ``"weighted"`` (positives weighted by the counts in training), ``"focal"``, ``"asymmetric"`` or
            ``"sign"``; see ``ssl_ecg.tasks.losses``.
        thresholds: C scores from which a class is named; by default ``tuned`` chooses them.
        challenge_weights: rewards of the PhysioNet/CinC challenges of 2020 and 2021, a row a label and a column an
            output, both named as the classes: their CSV file, or what it holds, by row and column. With thresholds the
            metrics then have ``challenge_metric``.

    Raises:
        ValueError: unknown loss, a class named as the scores of another, or thresholds or rewards that do not fit.
    """

    name = "arrhythmia"
    columns: tuple[str, ...] | None = None
    selection = "macro_auroc"

    def __init__(
        self,
        classes: Sequence[str],
        loss: str = "bce",
        thresholds: Sequence[float] | None = None,
        challenge_weights: str | Path | Mapping[str, Mapping[str, float]] | None = None,
    ) -> None:
        if loss not in LOSSES:
            raise ValueError(f"loss={loss!r}: choose one of {', '.join(LOSSES)}")
        self.classes: tuple[str, ...] = tuple(classes)
        if clash := sorted({f"{name}_score" for name in self.classes} & set(self.classes)):
            raise ValueError(f"classes={clash}: predictions.csv has scores under such names; rename these columns")
        self.outcomes = self.classes
        self.options: Mapping[str, Any] = {"loss": loss}
        self.thresholds: NDArray[np.float64] | None = None
        self._positive_weight: Tensor | None = None
        self._rewards: NDArray[np.float64] | None = None
        if challenge_weights is not None:
            self._reward(challenge_weights)
        if thresholds is not None:
            self._set(np.asarray(thresholds, dtype=np.float64))

    def head(self, width: int) -> nn.Linear:
        """Return a linear layer from features [B, width] to logits [B, C], starting at zero."""
        head = nn.Linear(width, len(self.classes))
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return head

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss over known labels, in float32; 0 where none is known.

        Args:
            logits: [B, C].
            targets: [B, C], 1, 0 or NaN (unknown: no loss and no gradient).

        Raises:
            ValueError: a weighted loss without the counts of training.
        """
        name = self.options["loss"]
        if name != "weighted":
            return LOSSES[name](logits, targets)
        if self._positive_weight is None:
            raise ValueError("loss='weighted': the counts of training are not known; take for_training(targets)")
        return bce(logits, targets, self._positive_weight.to(logits.device))

    def scores(self, logits: Tensor) -> Tensor:
        """Return probabilities [B, C]."""
        return torch.sigmoid(logits.float())

    def for_training(self, targets: NDArray[Any]) -> Arrhythmia:
        """Return the task with the weights of its loss, where that has any."""
        if self.options["loss"] != "weighted":
            return self
        task = copy.copy(self)
        task._positive_weight = positive_weight(torch.from_numpy(np.asarray(targets, np.float32)))
        return task

    def tuned(self, targets: NDArray[Any], scores: NDArray[Any]) -> Arrhythmia:
        """Return the task with the thresholds that give the best F1 of each class on these validation records.

        A class without a positive there keeps .5 and is named in the log. Thresholds that the task was made with stay.
        """
        if self.thresholds is not None:
            return self
        if absent := [name for name, column in zip(self.classes, np.asarray(targets).T) if not (column == 1).any()]:
            logger.warning("threshold .5, since validation has no positive record: %s", ", ".join(absent))
        task = copy.copy(self)
        task._set(best_thresholds(targets, scores))
        return task

    def decide(self, scores: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which classes are named, [n, C], for scores [n, C].

        Raises:
            ValueError: no thresholds were tuned or given.
        """
        if self.thresholds is None:
            raise ValueError("thresholds=None: tune them on validation with tuned(targets, scores)")
        return np.asarray(scores) >= self.thresholds

    def informative(self, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Return every record: one without a known label still shapes the statistics of batch norms."""
        return np.ones(len(targets), dtype=bool)

    def outcome(self, targets: NDArray[Any]) -> NDArray[np.float32]:
        """Return the labels themselves."""
        return np.asarray(targets, np.float32)

    def metrics(self, targets: NDArray[Any], scores: NDArray[Any]) -> dict[str, float]:
        """Return macro AUROC and AUPRC over classes with both outcomes; with thresholds those of decisions too."""
        found = {"macro_auroc": macro_auroc(targets, scores), "macro_auprc": macro_auprc(targets, scores)}
        decided = self._decided(targets, scores, np.ones((len(targets), 1)))
        return found | {name: float(value[0]) for name, value in decided.items() if not np.isnan(value[0])}

    def weighted_metrics(
        self, targets: NDArray[Any], scores: NDArray[Any], weights: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        """Return the same metrics under each of R weightings."""
        return macro_metrics(targets, scores, weights) | self._decided(targets, scores, weights)

    def per_class(self, targets: NDArray[Any], scores: NDArray[Any]) -> pd.DataFrame:
        """Return the metrics of each class; ranking metrics and F1 are NaN where the records lack one outcome.

        Columns: ``class``, ``positives_test``, ``auroc``, ``auprc``, ``brier``, ``calibration_error``, and with
        thresholds ``threshold`` and ``f1``.
        """
        table = pd.DataFrame(
            {
                "class": self.classes,
                "positives_test": np.nansum(targets, axis=0).astype(int),
                "auroc": auroc_per_class(targets, scores),
                "auprc": auprc_per_class(targets, scores),
                "brier": brier_per_class(targets, scores),
                "calibration_error": calibration_error(targets, scores),
            }
        )
        if self.thresholds is None:
            return table
        return table.assign(threshold=self.thresholds, f1=f1_per_class(targets, self.decide(scores))[:, 0])

    def tables(self, targets: NDArray[Any], scores: NDArray[Any]) -> dict[str, pd.DataFrame]:
        """Return "predictions" (for each class its label and its probability), "per_class" and "calibration"."""
        columns: dict[str, NDArray[Any]] = {}
        for c, name in enumerate(self.classes):
            columns |= {name: targets[:, c], f"{name}_score": scores[:, c]}
        return {
            "predictions": pd.DataFrame(columns),
            "per_class": self.per_class(targets, scores),
            "calibration": reliability(targets, scores, self.classes),
        }

    def fit_probe(
        self, train_x: NDArray[Any], train_y: NDArray[Any], validation_x: NDArray[Any], validation_y: NDArray[Any]
    ) -> Probe:
        """Fit a logistic regression a class, whatever the loss."""
        return LinearProbe().fit(train_x, train_y, validation_x, validation_y)

    def _decided(
        self, targets: NDArray[Any], scores: NDArray[Any], weights: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        if self.thresholds is None:
            return {}
        decisions = self.decide(scores)
        found = decision_metrics(targets, decisions, weights)
        if self._rewards is not None:
            complete = ~np.isnan(targets).any(axis=1)
            known = targets[complete], decisions[complete], self.classes, self._rewards, weights[complete]
            undefined = np.full(weights.shape[1], np.nan)
            found["challenge_metric"] = challenge_metrics(*known) if complete.any() else undefined
        return found

    def _reward(self, given: str | Path | Mapping[str, Mapping[str, float]]) -> None:
        table = pd.read_csv(given, index_col=0) if isinstance(given, str | Path) else pd.DataFrame(given).T
        table.index = table.index.map(str)
        if set(table.index) != set(self.classes) or set(table.columns) != set(self.classes):
            raise ValueError(
                f"challenge_weights: the rows are {', '.join(table.index)}, the columns {', '.join(table.columns)}; "
                f"both must be the classes of the label table, {', '.join(self.classes)}"
            )
        table = table.loc[list(self.classes), list(self.classes)].astype(float)
        self._rewards = table.to_numpy()
        # What is kept with a model does not depend on a file.
        self.options = {**self.options, "challenge_weights": table.to_dict("index")}
        nobody = np.zeros((0, len(self.classes)))
        challenge_metrics(nobody, nobody, self.classes, self._rewards, nobody)  # the normal class must be there

    def _set(self, thresholds: NDArray[np.float64]) -> None:
        if thresholds.shape != (len(self.classes),) or not ((thresholds >= 0) & (thresholds <= 1)).all():
            raise ValueError(
                f"thresholds={thresholds.tolist()}: choose one between 0 and 1 for each of {len(self.classes)} classes"
            )
        self.thresholds = thresholds
        self.options = {**self.options, "thresholds": thresholds.tolist()}


register("arrhythmia", Arrhythmia)
