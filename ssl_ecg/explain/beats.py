"""Which part of the heartbeat a heat map lies on: its shares of P, QRS, ST and T, over all beats of a record."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

SEGMENTS = {"P": (-0.22, -0.06), "QRS": (-0.05, 0.06), "ST": (0.06, 0.14), "T": (0.14, 0.38)}
"""Where the parts of a beat lie in sinus rhythm at rest, seconds from the R time."""


def beat_shares(
    heat: ArrayLike, peaks: Sequence[NDArray[np.int64]], sampling_rate: float, limits: pd.DataFrame | None = None
) -> pd.DataFrame:
    """Read the shares of P, QRS, ST and T from heat maps.

    What a map without knowledge gives, the chance shares, are those of a flat one: ``beat_shares(ones, ...)``.

    Args:
        heat: [B, T], not negative.
        peaks: R times of each record in samples, B arrays (see ``r_peaks``).
        sampling_rate: Hz.
        limits: one row per record with ``p_onset``, ``p_end``, ``qrs_onset``, ``qrs_end``, ``t_onset``, ``t_end`` in
            seconds from the R time (NaN: no such wave), as in the truth of the synthetic archive; ST lies between QRS
            and T. None: ``SEGMENTS``.

    Returns:
        A row a record: ``P``, ``QRS``, ``ST``, ``T`` and ``elsewhere``, which add up to 1; NaN where the map is 0.

    Raises:
        ValueError: numbers of records that differ.
    """
    heat = np.asarray(heat, np.float64)
    counts = {"heat": len(heat), "peaks": len(peaks)} | ({} if limits is None else {"limits": len(limits)})
    if len(set(counts.values())) > 1:
        raise ValueError("records differ: " + ", ".join(f"{name} has {count}" for name, count in counts.items()))
    names = [*SEGMENTS, "elsewhere"]
    rows = []
    for record, (values, found) in enumerate(zip(heat, peaks)):
        segments = SEGMENTS if limits is None else _segments(limits.iloc[record])
        part = _parts(segments, found, sampling_rate, heat.shape[1])
        total = np.bincount(part, values, minlength=len(names))
        rows.append(total / total.sum() if total.sum() > 0 else np.full(len(names), np.nan))
    return pd.DataFrame(rows, columns=names)


def _segments(limits: pd.Series) -> dict[str, tuple[float, float]]:
    return {
        "P": (limits["p_onset"], limits["p_end"]),
        "QRS": (limits["qrs_onset"], limits["qrs_end"]),
        "ST": (limits["qrs_end"], limits["t_onset"]),
        "T": (limits["t_onset"], limits["t_end"]),
    }


def _parts(
    segments: dict[str, tuple[float, float]], peaks: NDArray[np.int64], sampling_rate: float, samples: int
) -> NDArray[np.int64]:
    """Number of the segment that each sample belongs to; where beats overlap, the earlier segment of the later beat."""
    part = np.full(samples, len(segments))
    for number, (start, stop) in reversed(list(enumerate(segments.values()))):
        if np.isnan(start) or np.isnan(stop):
            continue
        first, last = np.round(np.array([start, stop]) * sampling_rate).astype(int)
        index = (peaks[:, None] + np.arange(first, last)).ravel()
        part[index[(index >= 0) & (index < samples)]] = number
    return part
