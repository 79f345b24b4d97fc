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
from ssl_ecg.objectives.siamese import Views, complete


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

    def segment(self, batch: Mapping[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Cut signals into segments as ``Siamese`` does, or leave them whole where there is one."""
        if self.segments == 1:
            return batch["signal"][None], batch["recorded"][None]
        return super().segment(batch)

    def views(self, batch: Mapping[str, Tensor]) -> Views:
        """Return views of B rows: every lead of every segment, segment by segment."""
        batch = complete(batch)
        size = batch["leads"].shape

        def by_view(rows: Tensor) -> Tensor:  # [segments, B * L, ...] -> [segments * L, B, ...]
            return rows.unflatten(1, size).movedim(2, 1).flatten(0, 1)

        signal, recorded, leads, _ = super().views(batch)
        return Views(by_view(signal), by_view(recorded), by_view(leads), batch["patient"])


register("cmlc", partial(CMSMLC, segments=1))
register("cmsmlc", CMSMLC)
