"""VICReg: invariance of views, variance and decorrelation of dimensions (Bardes, Ponce, LeCun, ICLR 2022)."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ssl_ecg.objectives.registry import register
from ssl_ecg.objectives.siamese import Siamese, mean_over_pairs


class VICReg(Siamese):
    """Views agree; every dimension keeps a standard deviation of 1 over the batch; dimensions do not covary.

    Args:
        backbone: signal [B, L, T] in, features [B, D] out.
        sampling_rate: Hz.
        invariance: weight of the mean squared difference of views.
        variance: weight of the hinge on standard deviations.
        covariance: weight of squared covariances.
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
        invariance: float = 25.0,
        variance: float = 25.0,
        covariance: float = 1.0,
        projector_layers: int = 3,
        embedding: int = 512,
        **options: Any,
    ) -> None:
        from lightly.loss import VICRegLoss

        super().__init__(backbone, sampling_rate, projector_layers=projector_layers, embedding=embedding, **options)
        for name, weight in {"invariance": invariance, "variance": variance, "covariance": covariance}.items():
            if not weight >= 0:
                raise ValueError(f"{name}={weight}: must be at least 0")
        self.two_view_loss = VICRegLoss(invariance, variance, covariance)

    def loss(self, views: Tensor, patient: Tensor) -> Tensor:
        """Return the VICReg loss of embeddings [V, R, E]."""
        return mean_over_pairs(self.two_view_loss, views)


register("vicreg", VICReg)
