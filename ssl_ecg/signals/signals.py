"""ECGs together with what of them was recorded."""

from __future__ import annotations

from typing import Any, NamedTuple


class Signals(NamedTuple):
    """A batch of ECGs; three arrays, or three tensors, in the order in which networks take them.

    What was not recorded holds 0, but 0 does not tell that it was not recorded: a flat lead holds 0 as well.

    Attributes:
        signal: float32 [B, L, T], millivolts unless normalised.
        recorded: int64 [B], samples of each that were recorded, from the first on.
        leads: bool [B, L], leads of each that were recorded.

    Example:
        >>> features = encoder(*map(torch.from_numpy, archive.read([0, 1])))  # doctest: +SKIP
    """

    signal: Any
    recorded: Any
    leads: Any
