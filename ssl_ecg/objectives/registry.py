"""Objectives by name."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from torch import nn

OBJECTIVES: dict[str, Callable[..., nn.Module]] = {}


def register(name: str, objective: Callable[..., nn.Module]) -> None:
    """Make an objective available by name."""
    if name in OBJECTIVES:
        raise ValueError(f"name={name!r}: an objective of this name exists already")
    OBJECTIVES[name] = objective


def list_objectives() -> list[str]:
    """Return the names that ``create_objective`` knows."""
    return sorted(OBJECTIVES)


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
    if name not in OBJECTIVES:
        raise ValueError(f"objective={name!r}: unknown; choose one of {', '.join(list_objectives())}")
    return OBJECTIVES[name](backbone, sampling_rate, **options)
