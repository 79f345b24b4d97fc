"""What an encoder has learned, and what those that it started from had."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def objectives_of(origin: Mapping[str, Any]) -> list[str]:
    """Return the objectives that an encoder and those that it started from learned, its own first.

    Of a joint objective the parts are named. What an origin does not say as ``pretrain`` writes it is left out.
    """
    named = origin.get("objectives")
    if isinstance(named, list):
        return [name for name in named if isinstance(name, str)]
    settings, start = origin.get("settings"), origin.get("start")
    objective = settings.get("objective") if isinstance(settings, Mapping) else None
    told: list[Any] = []
    if isinstance(objective, Mapping):
        parts = objective.get("parts")
        told = list(parts) if isinstance(parts, Mapping) else [objective.get("name")]
    if isinstance(start, Mapping):
        told.append(start.get("objective"))
    return [name for name in told if isinstance(name, str)]
