"""CMSMLC and CMLC: leads as views (CLOCS: Kiyasseh, Zhu, Clifton, ICML 2021).

Contrastive multi-segment multi-lead coding takes every lead of every segment of a recording as a view; contrastive
multi-lead coding is the same with the whole recording as its one segment. The network sees one lead at a time.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Any, Literal

from torch import Tensor

from ssl_ecg.objectives.cmsc import CMSC
from ssl_ecg.objectives.registry import register


class CMSMLC(CMSC):
    """Contrastive multi-segment multi-lead coding: B rows, a view for every (segment, lead).

    Args:
        backbone: one that holds a network of one lead, such as ``lead_wise``.
        sampling_rate: Hz.
        segments: adjacent segments a recording is cut into; 1 leaves it whole, which is CMLC.
        leads: one at a time, and nothing else.
        augment: augmentation name to strength; CLOCS augments nothing.
        options: those of ``CMSC``.

    Raises:
        ValueError: a backbone that takes several leads together, lead masking, or a single view.
    """

    def __init__(
        self,
        backbone: Any,
        sampling_rate: float,
        segments: int = 2,
        leads: Literal["single"] = "single",
        augment: Mapping[str, float] | None = None,
        **options: Any,
    ) -> None:
        super().__init__(backbone, sampling_rate, leads=leads, segments=segments, augment=augment, **options)
        if segments * backbone.in_leads < 2:
            raise ValueError(f"segments={segments}: with {backbone.in_leads} lead there is one view; choose at least 2")

    def views(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Return views [segments * L, B, 1, T / segments], segment by segment, and the patients [B]."""
        batch_size, leads, _ = batch["signal"].shape
        if self.segments == 1:
            return self.augment(batch["signal"]).movedim(1, 0)[:, :, None], batch["patient"]
        rows, _ = super().views(batch)  # [segments, B * L, 1, T / segments]
        views = rows.unflatten(1, (batch_size, leads)).movedim(2, 1).flatten(0, 1)
        return views, batch["patient"]


register("cmlc", partial(CMSMLC, segments=1))
register("cmsmlc", CMSMLC)
