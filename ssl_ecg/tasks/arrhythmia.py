"""Multi-label arrhythmia: any number of statements may hold for one ECG, and some may be unknown."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ecg.evaluation import (
    AUPRC,
    AUROC,
    CHALLENGE_METRIC,
    MACRO_AUPRC,
    MACRO_AUROC,
    MACRO_F1,
    SUBSET_ACCURACY,
    Metric,
    auprc_per_class,
    auroc_per_class,
    best_thresholds,
    brier_per_class,
    calibration_error,
    challenge_metrics,
    decision_curves,
    decision_metrics,
    evolved_thresholds,
    f1_per_class,
    macro_metrics,
    reliability,
)
from ssl_ecg.evaluation.challenge import NORMAL
from ssl_ecg.evaluation.recalibration import CLIP
from ssl_ecg.tasks.losses import asymmetric, bce, challenge, focal, positive_weight, sign
from ssl_ecg.tasks.registry import register
from ssl_ecg.tasks.thresholds import Thresholds

LOSSES: dict[str, Callable[..., Tensor]] = {
    "bce": bce,
    "weighted": bce,
    "focal": focal,
    "asymmetric": asymmetric,
    "sign": sign,
    "challenge": challenge,
}
TUNED_FOR = ("macro_f1", "subset_accuracy", "challenge_metric")

logger = logging.getLogger(__name__)


class Arrhythmia(Thresholds):
    """One logit per class, and a loss over the labels that are known.

    Args:
        classes: names of the C classes.
        loss: ``"bce"``, ``"weighted"`` (positives weighted by the counts in training), ``"focal"``, ``"asymmetric"``,
            ``"sign"`` or ``"challenge"`` (with the challenge metric, for which ``challenge_weights`` are needed); see
            ``ssl_ecg.tasks.losses``.
        thresholds: C scores from which a class is named; by default ``tuned`` chooses them.
        challenge_weights: rewards of the PhysioNet/CinC challenges of 2020 and 2021, one row per label and one column
            per output, both named as the classes or by codes that are part of their names (``AF|164889003``): their CSV
            file, or what it holds, by row and column. With thresholds the metrics then have ``challenge_metric``.
        tune: what thresholds are chosen for on validation: ``"f1"`` of each class by itself, or, by differential
            evolution of all together, ``"macro_f1"``, ``"subset_accuracy"`` or ``"challenge_metric"``.

    Raises:
        ValueError: unknown loss, a class named as the scores of another, or thresholds or rewards that do not fit.
    """

    name = "arrhythmia"
    metrics: tuple[Metric, ...] = (MACRO_AUROC, MACRO_AUPRC, MACRO_F1, SUBSET_ACCURACY, CHALLENGE_METRIC)
    class_metrics = (AUROC, AUPRC)
    lacking = "no class has both a positive and a negative record"

    def __init__(
        self,
        classes: Sequence[str],
        loss: str = "bce",
        thresholds: Sequence[float] | None = None,
        challenge_weights: str | Path | Mapping[str, Mapping[str, float]] | None = None,
        tune: str = "f1",
    ) -> None:
        if tune not in ("f1", *TUNED_FOR):
            raise ValueError(f"tune={tune!r}: choose one of f1, {', '.join(TUNED_FOR)}")
        if loss not in LOSSES:
            raise ValueError(f"loss={loss!r}: choose one of {', '.join(LOSSES)}")
        if challenge_weights is None and "challenge" in (loss, tune.removesuffix("_metric")):
            raise ValueError(
                f"loss={loss!r}, tune={tune!r}: the challenge metric needs rewards; give challenge_weights"
            )
        super().__init__(classes)
        if clash := sorted({f"{name}_score" for name in self.classes} & set(self.classes)):
            raise ValueError(f"classes={clash}: predictions.csv has scores under such names; rename these columns")
        self.options = {"loss": loss} if tune == "f1" else {"loss": loss, "tune": tune}
        self._positive_weight: Tensor | None = None
        self._rewards: NDArray[np.float64] | None = None
        if challenge_weights is not None:
            self._reward(challenge_weights)
        if thresholds is not None:
            self.set_thresholds(thresholds)

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss over known labels, in float32; 0 where none is known.

        Args:
            logits: [B, C].
            targets: [B, C], 1, 0 or NaN (unknown: no loss and no gradient).

        Raises:
            ValueError: a weighted loss without the counts of training.
        """
        name = self.options["loss"]
        if name == "challenge":
            assert self._rewards is not None
            normal = [c for c, codes in enumerate(self.classes) if NORMAL in codes.split("|")]
            return challenge(logits, targets, torch.from_numpy(self._rewards).to(logits.device, torch.float32), normal)
        if name != "weighted":
            return LOSSES[name](logits, targets)
        if self._positive_weight is None:
            raise ValueError("loss='weighted': the counts of training are not known; take for_training(targets)")
        return bce(logits, targets, self._positive_weight.to(logits.device))

    def scores(self, logits: Tensor) -> Tensor:
        """Return probabilities [B, C], of at least float32."""
        return torch.sigmoid(logits if logits.dtype == torch.float64 else logits.float())

    def logits(self, scores: Tensor) -> Tensor:
        """Return the logits of probabilities [B, C]."""
        return torch.logit(scores, CLIP)

    def for_training(self, targets: NDArray[Any]) -> Self:
        """Return the task with the weights of its loss, where that has any."""
        if self.options["loss"] != "weighted":
            return self
        task = copy.copy(self)
        task._positive_weight = positive_weight(torch.from_numpy(np.asarray(targets, np.float32)))
        return task

    def choose_thresholds(self, targets: NDArray[Any], scores: NDArray[Any]) -> NDArray[np.float64]:
        """Return the thresholds that suit what ``tune`` names; .5, and a line in the log, without a positive."""
        if absent := [name for name, column in zip(self.classes, np.asarray(targets).T) if not (column == 1).any()]:
            logger.info("threshold .5, since validation has no positive record: %s", ", ".join(absent))
        best = best_thresholds(targets, scores)
        if (name := self.options.get("tune", "f1")) == "f1":
            return best
        each = np.ones((len(targets), 1))

        def value(thresholds: NDArray[np.float64]) -> float:
            return float(self.with_thresholds(thresholds)._decided(targets, scores, each)[name][0])

        return evolved_thresholds(scores, best, value)

    def informative(self, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Return every record: one without a known label still shapes the statistics of batch norms."""
        return np.ones(len(targets), dtype=bool)

    def weighted_metrics(
        self, targets: NDArray[Any], scores: NDArray[Any], weights: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        """Return macro AUROC and AUPRC over classes with both outcomes; with thresholds those of decisions too."""
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
        """Return "predictions" (each class's label and probability), "per_class", "calibration", "decision_curve"."""
        return {
            **super().tables(targets, scores),
            "per_class": self.per_class(targets, scores),
            "calibration": reliability(targets, scores, self.classes),
            "decision_curve": decision_curves(targets, scores, self.classes),
        }

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
        table.index, table.columns = (_by_code(names, self.classes) for names in (table.index, table.columns))
        table = table.loc[~table.index.duplicated(), ~table.columns.duplicated()]
        if set(table.index) != set(self.classes) or set(table.columns) != set(self.classes):
            raise ValueError(
                f"challenge_weights: the rows are {', '.join(table.index)}, the columns {', '.join(table.columns)}; "
                f"both must be the classes of the label table, {', '.join(self.classes)}"
            )
        table = table.loc[list(self.classes), list(self.classes)].astype(float)
        self._rewards = table.to_numpy(copy=True)
        # What is kept with a model does not depend on a file.
        self.options = {**self.options, "challenge_weights": table.to_dict("index")}
        nobody = np.zeros((0, len(self.classes)))
        challenge_metrics(nobody, nobody, self.classes, self._rewards, nobody)  # the normal class must be there


def _by_code(names: Iterable[Any], classes: Sequence[str]) -> list[str]:
    """Return each name, or the class that has a code in common with it, where ``|`` stands between codes."""
    of_code = {code: name for name in classes for code in name.split("|")}
    found = []
    for name in map(str, names):
        known = {of_code[code] for code in name.split("|") if code in of_code}
        found.append(known.pop() if len(known) == 1 else name)
    return found


register("arrhythmia", Arrhythmia)
