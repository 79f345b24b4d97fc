"""Objectives by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

from ssl_ecg.registry import Registry

OBJECTIVES: Registry[Callable[..., nn.Module]] = Registry("objective", "ssl_ecg.objectives")
"""Classes of objectives: ``OBJECTIVES[name](backbone, sampling_rate, **options)`` makes one."""

register = OBJECTIVES.register
list_objectives = OBJECTIVES.names


def create_objective(name: str, backbone: Any, sampling_rate: float, **options: Any) -> nn.Module:
    """Build an objective around a backbone.

    Args:
        name: one of ``list_objectives()``.
        backbone: a module with the contract of ``ssl_ecg.backbones.Backbone``.
        sampling_rate: Hz of the signals that it will see.
        options: those of the objective; an unknown one is a TypeError that names it.

    Returns:
        A module whose ``forward(batch)`` returns a dict with "loss" and further scalars, and which holds ``.backbone``.

    Raises:
        ValueError: unknown name.
    """
    return OBJECTIVES[name](backbone, sampling_rate, **options)
