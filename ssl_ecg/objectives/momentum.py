"""How slowly a target network follows the trained one: a share of it stays at every step, more towards the end."""

from __future__ import annotations

import math
from collections.abc import Mapping

from torch import Tensor


def check_momentum(start: float, end: float) -> None:
    """Refuse shares outside [0, 1].

    Raises:
        ValueError: naming the option.
    """
    for name, share in (("momentum", start), ("momentum_end", end)):
        if not 0 <= share <= 1:
            raise ValueError(f"{name}={share}: choose a share between 0 and 1")


def momentum_at(start: float, end: float, batch: Mapping[str, Tensor]) -> float:
    """Return the share at a step: from start to end by half a cosine (Grill et al., NeurIPS 2020).

    Args:
        start: share at the first step.
        end: share at the last one.
        batch: ``progress``, which the engine adds, is the share of the run's steps that are done; without it a run is
            at its start.
    """
    done = float(batch["progress"]) if "progress" in batch else 0.0
    return end - (end - start) * (math.cos(math.pi * done) + 1) / 2
