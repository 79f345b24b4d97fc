"""Multi-label arrhythmia: any number of statements may hold for one ECG, and some may be unknown."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_ecg.evaluation import macro_auprc, macro_auroc
from ssl_ecg.tasks.registry import register


class Arrhythmia:
    """One logit a class, binary cross-entropy over the labels that are known.

    Args:
        classes: names of the C classes.
    """

    name = "arrhythmia"
    selection = "macro_auroc"

    def __init__(self, classes: Sequence[str]) -> None:
        self.classes = tuple(classes)

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

    def metrics(self, targets: NDArray[Any], scores: NDArray[Any]) -> dict[str, float]:
        """Return macro AUROC and macro AUPRC over the classes that have both outcomes."""
        return {"macro_auroc": macro_auroc(targets, scores), "macro_auprc": macro_auprc(targets, scores)}


register("arrhythmia", Arrhythmia)
