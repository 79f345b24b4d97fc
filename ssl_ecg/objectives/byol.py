"""BYOL: predict what a slowly following copy of the network makes of another view (Grill et al., NeurIPS 2020)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ecg.objectives.registry import register
from ssl_ecg.objectives.siamese import Siamese, alignment, projector


class BYOL(Siamese):
    """No negatives; the target network is a moving average of the trained one and receives no gradient.

    The target moves at the start of every training forward, towards the weights that the last step left. So it is part
    of the state dict, needs no word from the engine, and a resumed run is the uninterrupted one.

    Args:
        backbone: signal [B, L, T] in, features [B, D] out.
        sampling_rate: Hz.
        momentum: share of the target that stays at every step; 0.99 is the paper's for shorter training.
        predictor_width: hidden width of the predictor.
        options: leads, segments, projector and augmentation, see ``Siamese``.

    Raises:
        ValueError: a momentum outside [0, 1].
    """

    def __init__(
        self, backbone: Any, sampling_rate: float, momentum: float = 0.99, predictor_width: int = 512, **options: Any
    ) -> None:
        super().__init__(backbone, sampling_rate, **options)
        if not 0 <= momentum <= 1:
            raise ValueError(f"momentum={momentum}: choose a share between 0 and 1")
        self.momentum = momentum
        embedding = int(self.projector[-1].out_features)  # type: ignore[arg-type]
        self.predictor = projector(embedding, predictor_width, embedding, layers=2)
        self.target = copy.deepcopy(self.online).requires_grad_(False)

    @property
    def online(self) -> nn.ModuleDict:
        """The trained counterpart of the target."""
        return nn.ModuleDict({"network": self.network, "projector": self.projector})

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of a batch, see ``Siamese``.

        Returns:
            "loss", the mean negative cosine between predictions and targets of all ordered pairs of views; "alignment"
            and "features" as in ``Siamese``.
        """
        from lightly.loss import NegativeCosineSimilarity
        from lightly.models.utils import update_momentum

        if self.training:
            update_momentum(self.online, self.target, self.momentum)
        views = self.views(batch)
        shape, there = views.recorded.shape, views.there[..., None]  # what shows nothing costs nothing
        features = self.network(*views.inputs)  # [V * R, D]
        embeddings = self.projector(features)
        predictions = self.predictor(embeddings).unflatten(0, shape).float() * there  # [V, R, E]
        with torch.no_grad():
            targets = self.target["projector"](self.target["network"](*views.inputs)).unflatten(0, shape).float()
        with torch.autocast(predictions.device.type, enabled=False):
            compare = NegativeCosineSimilarity()
            losses = [compare(predictions[i], targets[j]) for i, j in permutations(range(len(targets)), 2)]
        # Rows are independent, so the mean over processes is that of the joined batch, without gathering.
        return {
            "loss": torch.stack(losses).mean(),
            "alignment": alignment(embeddings.unflatten(0, shape)),
            "features": features.detach(),
        }


register("byol", BYOL)
