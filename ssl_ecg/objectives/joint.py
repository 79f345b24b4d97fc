"""A weighted sum of objectives on one shared backbone, such as contrastive and masked training together."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Any

import torch
from annotated_types import Gt, MinLen
from pydantic import AfterValidator, AllowInfNan
from torch import Tensor, nn

from ssl_ecg.objectives.registry import OBJECTIVES, create_objective, register
from ssl_ecg.registry import nearest
from ssl_ecg.settings import Settings, SettingsError, options_of

# Half of the patches hidden is what learns most within a small budget (docs/results/masked).
PARTS: Mapping[str, Any] = MappingProxyType(
    {"cmsc": {}, "bimodal_mae": {"options": {"ratio_time": 0.5, "ratio_frequency": 0.5}}}
)


class Part(Settings):
    """One of several objectives."""

    weight: Annotated[float, Gt(0), AllowInfNan(False)] = 1.0
    """of its loss"""
    options: dict[str, Any] = {}  # noqa: RUF012
    """of the objective; those not given are its defaults"""


def _complete(parts: dict[str, Part]) -> dict[str, Part]:
    """Fill in all options of every part."""
    made = {}
    for name, part in parts.items():
        if name not in OBJECTIVES:
            raise ValueError(
                f"parts.{name}={part.options}: there is no such objective; {nearest(name, OBJECTIVES.names())}"
            )
        try:
            options = options_of(OBJECTIVES[name])(**part.options)
        except SettingsError as error:
            raise SettingsError(*(f"parts.{name}.options.{line}" for line in error.lines)) from None
        made[name] = part.replace(options=options.to_dict())
    return made


class Joint(nn.Module):
    """Every part draws its own views or masks of the same batch.

    Args:
        backbone: signal [B, L, T] in, features [B, D] out; shared by all parts.
        sampling_rate: Hz.
        parts: objective name to ``{"weight": above 0 (1), "options": options of that objective ({})}``.

    Raises:
        SettingsError: no parts, an unknown objective or option, or a weight not finite and above 0.

    Example:
        >>> from ssl_ecg.backbones import create_backbone
        >>> parts = {"cmsc": {"weight": 1.0}, "vicreg": {"weight": 0.1, "options": {"embedding": 256}}}
        >>> Joint(create_backbone("xresnet1d10"), sampling_rate=100, parts=parts).weights
        {'cmsc': 1.0, 'vicreg': 0.1}
    """

    def __init__(
        self,
        backbone: Any,
        sampling_rate: float,
        parts: Annotated[dict[str, Part], MinLen(1), AfterValidator(_complete)] = PARTS,  # type: ignore[assignment]
    ) -> None:
        super().__init__()
        parts = options_of(Joint)(parts=parts).parts  # type: ignore[attr-defined]
        self.backbone = backbone
        self.weights = {name: part.weight for name, part in parts.items()}
        self.parts = nn.ModuleDict(
            {name: create_objective(name, backbone, sampling_rate, **part.options) for name, part in parts.items()}
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
