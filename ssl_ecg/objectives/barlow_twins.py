"""Barlow Twins: the cross-correlation of two views' dimensions becomes the identity (Zbontar et al., ICML 2021)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ssl_ecg.objectives.registry import register
from ssl_ecg.objectives.siamese import Siamese, mean_over_pairs


class BarlowTwins(Siamese):
    """Each dimension agrees between views, and different dimensions do not repeat each other.

    Args:
        backbone: signal [B, L, T] in, features [B, D] out.
        sampling_rate: Hz.
        redundancy: weight of the squared correlations between different dimensions.
        projector_layers: linear layers of the projector.
        embedding: size of the embedding, of which every dimension counts.
        options: leads, segments, width of the projector and augmentation, see ``Siamese``.

    Raises:
        ValueError: a negative weight, and what ``Siamese`` refuses.
    """

    def __init__(
        self,
        backbone: Any,
        sampling_rate: float,
        redundancy: float = 0.005,
        projector_layers: int = 3,
        embedding: int = 512,
        **options: Any,
    ) -> None:
        from lightly.loss import BarlowTwinsLoss

        super().__init__(backbone, sampling_rate, projector_layers=projector_layers, embedding=embedding, **options)
        if not redundancy >= 0:
            raise ValueError(f"redundancy={redundancy}: must be at least 0")
        self.two_view_loss = BarlowTwinsLoss(redundancy)

    def loss(self, views: Tensor, patient: Tensor) -> Tensor:
        """Return the Barlow Twins loss of embeddings [V, R, E]."""
        return mean_over_pairs(self.two_view_loss, views)


register("barlow_twins", BarlowTwins)
