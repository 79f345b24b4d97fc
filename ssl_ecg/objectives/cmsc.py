"""CMSC: contrastive multi-segment coding (CLOCS: Kiyasseh, Zhu, Clifton, ICML 2021).

Two adjacent, non-overlapping time segments of one recording are views of the same patient. All leads enter the network
together, as in later work with random lead masking (Oh et al., CHIL 2022), which is the default here.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ecg.objectives.patient_contrastive import multiview_contrastive_loss
from ssl_ecg.objectives.registry import register
from ssl_ecg.views import Augment, adjacent_segments


def gather_rows(rows: Tensor) -> Tensor:
    """Join rows [B, ...] of all processes, with gradients for floating-point rows; one process: as they are."""
    if not torch.distributed.is_initialized() or torch.distributed.get_world_size() == 1:
        return rows
    if rows.is_floating_point():
        from lightly.utils.dist import gather

        return torch.cat(gather(rows))
    parts = [torch.empty_like(rows) for _ in range(torch.distributed.get_world_size())]
    torch.distributed.all_gather(parts, rows)
    return torch.cat(parts)


def projector(inputs: int, hidden: int, outputs: int, layers: int) -> nn.Sequential:
    """Return an MLP of ``layers`` linear layers with batch norm and ReLU between; dropped after pretraining."""
    widths = [inputs, *[hidden] * (layers - 1)]
    body: list[nn.Module] = []
    for before, after in pairwise(widths):
        body += [nn.Linear(before, after, bias=False), nn.BatchNorm1d(after), nn.ReLU(inplace=True)]
    return nn.Sequential(*body, nn.Linear(widths[-1], outputs))


class CMSC(nn.Module):
    """Contrastive multi-segment coding on all leads together.

    Args:
        backbone: signal [B, L, T] in, features [B, D] out.
        sampling_rate: Hz.
        segments: adjacent segments a recording is cut into; each is a view.
        temperature: of the contrastive loss.
        reduction: "clocs" or "pooled", see ``patient_contrastive_loss``.
        projector_width: hidden width of the projector.
        projector_layers: linear layers of the projector.
        embedding: size of the embedding that the loss compares.
        augment: augmentation name to strength, drawn anew for every view.
    """

    def __init__(
        self,
        backbone: Any,
        sampling_rate: float,
        segments: int = 2,
        temperature: float = 0.1,
        reduction: str = "clocs",
        projector_width: int = 512,
        projector_layers: int = 2,
        embedding: int = 128,
        augment: Mapping[str, float] | None = None,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.projector = projector(backbone.width, projector_width, embedding, projector_layers)
        self.augment = Augment(augment or {}, sampling_rate)
        self.segments = segments
        self.temperature = temperature
        self.reduction = reduction

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of a batch with ``signal`` [B, L, T] and ``patient`` [B].

        Returns:
            "loss"; "alignment", the mean cosine of a recording's views; "features" [V * B, D], detached, from which the
            engine watches for collapse.
        """
        views = adjacent_segments(batch["signal"], self.segments)  # [V, B, L, T / V]
        features = self.backbone(torch.cat([self.augment(view) for view in views]))  # [V * B, D]
        embeddings = self.projector(features).unflatten(0, (self.segments, -1))  # [V, B, E]
        embeddings = gather_rows(embeddings.movedim(0, 1).contiguous()).movedim(0, 1)
        patient = gather_rows(batch["patient"])
        loss = multiview_contrastive_loss(embeddings, patient, self.temperature, self.reduction)
        alignment = torch.cosine_similarity(embeddings[0].detach(), embeddings[1].detach()).mean()
        return {"loss": loss, "alignment": alignment, "features": features.detach()}


register("cmsc", CMSC)
