"""CMSC: contrastive multi-segment coding (CLOCS: Kiyasseh, Zhu, Clifton, ICML 2021).

Two adjacent, non-overlapping time segments of one recording are views of the same patient. All leads enter the network
together, as in later work with random lead masking (Oh et al., CHIL 2022), which is the default here, or one at a time,
as in CLOCS. Then every lead of every recording is a row of its own: its other view is the adjacent segment of the same
lead (the diagonal of the loss), and the patient's further leads, of this recording and of others, are further rows of
the same patient, never negatives.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, get_args

from torch import Tensor

from ssl_ecg.objectives.patient_contrastive import (
    Reduction,
    check_reduction,
    check_temperature,
    multiview_contrastive_loss,
)
from ssl_ecg.objectives.registry import register
from ssl_ecg.objectives.siamese import Siamese

Positives = Literal["patient", "record"]


class CMSC(Siamese):
    """Contrastive multi-segment coding.

    Args:
        backbone: signal [B, L, T] in, features [B, D] out; for single leads one such as ``lead_wise``.
        sampling_rate: Hz.
        temperature: of the contrastive loss.
        reduction: "pooled", or "clocs" as published, see ``patient_contrastive_loss``; they differ where
            recordings of a patient meet in a batch.
        positives: "patient": all recordings of a patient attract each other; "record": a recording is its own patient,
            and other visits are negatives, as in methods that know no patients.
        options: leads, segments, projector and augmentation, see ``Siamese``.

    Raises:
        ValueError: a temperature not above 0, unknown ``reduction`` or ``positives``, and what ``Siamese`` refuses.
    """

    def __init__(
        self,
        backbone: Any,
        sampling_rate: float,
        temperature: float = 0.1,
        reduction: Reduction = "pooled",
        positives: Positives = "patient",
        **options: Any,
    ) -> None:
        super().__init__(backbone, sampling_rate, **options)
        check_temperature(temperature)
        check_reduction(reduction)
        if positives not in get_args(Positives):
            raise ValueError(f"positives={positives!r}: choose one of {', '.join(get_args(Positives))}")
        self.temperature, self.reduction, self.positives = temperature, reduction, positives

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss as ``Siamese`` does; with positives by record the batch's ``row`` stands for its patients."""
        return super().forward(batch if self.positives == "patient" else {**batch, "patient": batch["row"]})

    def loss(self, views: Tensor, patient: Tensor) -> Tensor:
        """Return the patient-contrastive loss of embeddings [V, R, E], the mean over all pairs of views."""
        return multiview_contrastive_loss(views, patient, self.temperature, self.reduction)


register("cmsc", CMSC)
