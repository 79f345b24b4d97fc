"""BYOL: predict what a slowly following copy of the network makes of another view (Grill et al., NeurIPS 2020)."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from itertools import permutations
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ecg.objectives.momentum import check_momentum, momentum_at
from ssl_ecg.objectives.pieces import in_pieces
from ssl_ecg.objectives.registry import register
from ssl_ecg.objectives.siamese import Siamese, alignment, projector


class BYOL(Siamese):
    """No negatives; the target network is a moving average of the trained one and receives no gradient.

    The target moves at the start of every training forward, towards the weights that the last step left. So it is part
    of the state dict, and a resumed run is the uninterrupted one.

    Args:
        backbone: signal [B, L, T] in, features [B, D] out.
        sampling_rate: Hz.
        momentum: share of the target that stays at the first step; 0.99 is the paper's for shorter training.
        momentum_end: that at the last step, to which it rises by half a cosine; the paper's is 1.
        predictor_width: hidden width of the predictor.
        options: leads, segments, projector and augmentation, see ``Siamese``.

    Raises:
        ValueError: a momentum outside [0, 1].
    """

    def __init__(
        self,
        backbone: Any,
        sampling_rate: float,
        momentum: float = 0.99,
        momentum_end: float = 1.0,
        predictor_width: int = 512,
        **options: Any,
    ) -> None:
        super().__init__(backbone, sampling_rate, **options)
        check_momentum(momentum, momentum_end)
        self.momentum, self.momentum_end = momentum, momentum_end
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
            update_momentum(self.online, self.target, momentum_at(self.momentum, self.momentum_end, batch))
        views = self.views(batch)
        shape, there = views.recorded.shape, views.there[..., None]  # what shows nothing costs nothing
        features = in_pieces(self.network, views.inputs, self.micro_batch)  # [V * R, D]
        embeddings = self.projector(features)
        predictions = self.predictor(embeddings).unflatten(0, shape).float() * there  # [V, R, E]
        with torch.no_grad():
            seen = in_pieces(self.target["network"], views.inputs, self.micro_batch)
            targets = self.target["projector"](seen).unflatten(0, shape).float()
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
