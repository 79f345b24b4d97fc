"""Backbones by name: one small factory function each, as in timm."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from ssl_ecg.backbones.base import Backbone
from ssl_ecg.registry import Registry

BACKBONES: Registry[Callable[..., Backbone]] = Registry("backbone", "ssl_ecg.backbones")
"""Factories: ``BACKBONES[name](in_leads=12, **options)`` makes a network."""

register = BACKBONES.register
list_backbones = BACKBONES.names


def create_backbone(name: str, in_leads: int = 12, **options: Any) -> Any:
    """Build a backbone by name.

    Args:
        name: one of ``list_backbones()``.
        in_leads: leads of the signal.
        options: those of the backbone's factory, such as ``width`` or ``kernel``; an unknown one is a TypeError.

    Returns:
        A ``Backbone``.

    Raises:
        ValueError: unknown name.
    """
    return BACKBONES[name](in_leads=in_leads, **options)
