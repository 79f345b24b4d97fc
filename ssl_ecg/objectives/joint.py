"""A weighted sum of objectives on one shared backbone, such as contrastive and masked training together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ecg.objectives.registry import create_objective, register

PART = {"weight", "options"}


class Joint(nn.Module):
    """Every part draws its own views or masks of the same batch.

    Args:
        backbone: signal [B, L, T] in, features [B, D] out; shared by all parts.
        sampling_rate: Hz.
        parts: objective name to ``{"weight": above 0 (1), "options": options of that objective ({})}``.

    Raises:
        ValueError: no parts, a part that is no mapping or has an unknown key, or a weight not finite and above 0.

    Example:
        >>> from ssl_ecg.backbones import create_backbone
        >>> parts = {"cmsc": {"weight": 1.0}, "vicreg": {"weight": 0.1, "options": {"embedding": 256}}}
        >>> Joint(create_backbone("xresnet1d10"), sampling_rate=100, parts=parts).weights
        {'cmsc': 1.0, 'vicreg': 0.1}
    """

    def __init__(
        self, backbone: Any, sampling_rate: float, parts: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        super().__init__()
        if not parts:
            raise ValueError("parts={}: name at least one objective, such as {cmsc: {weight: 1.0}}")
        for name, part in parts.items():
            if not isinstance(part, Mapping):
                raise ValueError(f"parts.{name}={part!r}: give weight and options, such as {{weight: 1.0}}")
            if unknown := set(part) - PART:
                raise ValueError(f"parts.{name}: {', '.join(sorted(unknown))} unknown; choose from weight, options")
        self.backbone = backbone
        self.weights = {name: float(part.get("weight", 1.0)) for name, part in parts.items()}
        for name, weight in self.weights.items():
            if not 0 < weight < math.inf:
                raise ValueError(f"parts.{name}.weight={weight}: must be finite and above 0; or leave the part out")
        self.parts = nn.ModuleDict(
            {
                name: create_objective(name, backbone, sampling_rate, **(part.get("options") or {}))
                for name, part in parts.items()
            }
        )

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the weighted sum of the parts' losses.

        Returns:
            "loss"; every scalar of a part as "part_scalar", among them its unweighted loss; "features" of the first
            part.
        """
        results = {name: part(batch) for name, part in self.parts.items()}
        scalars = {
            f"{name}_{key}": value.detach()
            for name, result in results.items()
            for key, value in result.items()
            if value.ndim == 0
        }
        loss = torch.stack([self.weights[name] * result["loss"] for name, result in results.items()]).sum()
        return {"loss": loss, **scalars, "features": next(iter(results.values()))["features"]}


register("joint", Joint)
