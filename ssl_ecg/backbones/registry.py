"""Backbones by name: one small factory function each, as in timm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from torch import Tensor

from ssl_ecg.registry import Registry

BACKBONES: Registry[Callable[..., Any]] = Registry("backbone", "ssl_ecg.backbones")
"""Factories: ``BACKBONES[name](in_leads=12, **options)`` makes a network."""

register = BACKBONES.register
list_backbones = BACKBONES.names


class Backbone(Protocol):
    """What every backbone offers: signal [B, L, T] in, features out."""

    width: int
    in_leads: int
    leads: tuple[str, ...] | None

    def forward_features(self, signal: Tensor) -> Tensor:
        """Map signal [B, L, T] to step or token features [B, N, D']."""

    def pool(self, features: Tensor) -> Tensor:
        """Pool features [B, N, D'] to [B, D]."""

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups from input to output, for layer-wise learning-rate decay."""


def create_backbone(name: str, in_leads: int = 12, **options: Any) -> Any:
    """Build a backbone by name.

    Args:
        name: one of ``list_backbones()``.
        in_leads: leads of the signal.
        options: those of the backbone's factory, such as ``width`` or ``kernel``; an unknown one is a TypeError.

    Returns:
        A module with the contract of ``Backbone``.

    Raises:
        ValueError: unknown name.
    """
    return BACKBONES[name](in_leads=in_leads, **options)
