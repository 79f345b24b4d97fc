"""SimCLR: every other recording of the batch is a negative (Chen et al., ICML 2020). Knows no patients."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ssl_ecg.objectives.patient_contrastive import check_temperature
from ssl_ecg.objectives.registry import register
from ssl_ecg.objectives.siamese import Siamese, mean_over_pairs


class SimCLR(Siamese):
    """Normalised-temperature cross-entropy between two views of a recording.

    Args:
        backbone: signal [B, L, T] in, features [B, D] out.
        sampling_rate: Hz.
        temperature: of the contrastive loss.
        options: leads, segments, projector and augmentation, see ``Siamese``.

    Raises:
        ValueError: a temperature not above 0, and what ``Siamese`` refuses.
    """

    def __init__(self, backbone: Any, sampling_rate: float, temperature: float = 0.1, **options: Any) -> None:
        from lightly.loss import NTXentLoss

        super().__init__(backbone, sampling_rate, **options)
        check_temperature(temperature)
        self.two_view_loss = NTXentLoss(temperature)

    def loss(self, views: Tensor, patient: Tensor) -> Tensor:
        """Return NT-Xent of embeddings [V, R, E]."""
        return mean_over_pairs(self.two_view_loss, views)


register("simclr", SimCLR)
