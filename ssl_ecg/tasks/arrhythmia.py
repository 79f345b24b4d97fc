"""Multi-label arrhythmia: any number of statements may hold for one ECG, and some may be unknown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_ecg.evaluation import (
    LinearProbe,
    auprc_per_class,
    auroc_per_class,
    macro_auprc,
    macro_auroc,
    macro_metrics,
)
from ssl_ecg.tasks.registry import Probe, register


class Arrhythmia:
    """One logit a class, binary cross-entropy over the labels that are known.

    Args:
        classes: names of the C classes.
    """

    name = "arrhythmia"
    columns: tuple[str, ...] | None = None
    selection = "macro_auroc"

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes: tuple[str, ...] = tuple(classes)
        self.outcomes = self.classes
        self.options: Mapping[str, Any] = {}

    def head(self, width: int) -> nn.Linear:
        """Return a linear layer from features [B, width] to logits [B, C], starting at zero."""
        head = nn.Linear(width, len(self.classes))
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        return head

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean binary cross-entropy over known labels, in float32; 0 where none is known.

        Args:
            logits: [B, C].
            targets: [B, C], 1, 0 or NaN (unknown: no loss and no gradient).
        """
        known = ~targets.isnan()
        each = F.binary_cross_entropy_with_logits(logits.float(), targets.nan_to_num(), reduction="none")
        return (each * known).sum() / known.sum().clamp(min=1)

    def scores(self, logits: Tensor) -> Tensor:
        """Return probabilities [B, C]."""
        return torch.sigmoid(logits.float())

    def informative(self, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Return every record: one without a known label still shapes the statistics of batch norms."""
        return np.ones(len(targets), dtype=bool)

    def outcome(self, targets: NDArray[Any]) -> NDArray[np.float32]:
        """Return the labels themselves."""
        return np.asarray(targets, np.float32)

    def metrics(self, targets: NDArray[Any], scores: NDArray[Any]) -> dict[str, float]:
        """Return macro AUROC and macro AUPRC over the classes that have both outcomes."""
        return {"macro_auroc": macro_auroc(targets, scores), "macro_auprc": macro_auprc(targets, scores)}

    def weighted_metrics(
        self, targets: NDArray[Any], scores: NDArray[Any], weights: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        """Return macro AUROC and macro AUPRC under each of R weightings."""
        return macro_metrics(targets, scores, weights)

    def per_class(self, targets: NDArray[Any], scores: NDArray[Any]) -> pd.DataFrame:
        """Return AUROC and AUPRC of each class; NaN where the records lack one outcome."""
        return pd.DataFrame(
            {
                "class": self.classes,
                "positives_test": np.nansum(targets, axis=0).astype(int),
                "auroc": auroc_per_class(targets, scores),
                "auprc": auprc_per_class(targets, scores),
            }
        )

    def tables(self, targets: NDArray[Any], scores: NDArray[Any]) -> dict[str, pd.DataFrame]:
        """Return "predictions": for each class its label and its probability."""
        columns: dict[str, NDArray[Any]] = {}
        for c, name in enumerate(self.classes):
            columns |= {name: targets[:, c], f"{name}_score": scores[:, c]}
        return {"predictions": pd.DataFrame(columns)}

    def fit_probe(
        self, train_x: NDArray[Any], train_y: NDArray[Any], validation_x: NDArray[Any], validation_y: NDArray[Any]
    ) -> Probe:
        """Fit a logistic regression a class."""
        return LinearProbe().fit(train_x, train_y, validation_x, validation_y)


register("arrhythmia", Arrhythmia)
