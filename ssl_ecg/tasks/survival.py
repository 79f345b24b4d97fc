"""Survival in discrete time: targets, likelihood and curves, as pure functions of arrays or tensors.

One logit phi an interval; the hazard is h = sigmoid(phi). No proportional hazards are assumed. Two target encodings:

- ``gensheimer`` (Gensheimer & Narasimhan, PeerJ 2019): interval j is [b_j, b_j+1). An event marks the interval that
  holds it; a censored interval counts as survived if the person got past its midpoint.
- ``ecg_ai`` (Khurshid et al., Circulation 2022): column 0 is kept for disease before the ECG (prevalent), column j for
  (b_j-1, b_j], so an event at day d stands in column ceil(d / width); a censored person survived the columns whose end
  was passed. The last interval has no column, and an event in it, which the published encoding loses, is refused.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from torch import Tensor
from torch.nn.functional import softplus

ENCODINGS = ("gensheimer", "ecg_ai")
REDUCTIONS = ("none", "mean", "sum")


def encode_survival(
    time_days: ArrayLike | Tensor,
    event: ArrayLike | Tensor,
    breaks_days: ArrayLike | Tensor,
    encoding: str = "gensheimer",
    prevalent: ArrayLike | Tensor | None = None,
) -> tuple[Any, Any]:
    """Turn follow-up into what is known of each interval.

    A row whose time or event is not known (NaN), or that was censored too early, carries no information: it is 0
    everywhere, so that it gives neither loss nor gradient. An event after the last break is survival up to it.

    Args:
        time_days: [n], days from the ECG to the event or to the end of follow-up; NaN: not known.
        event: [n], 1 event, 0 censored; NaN: not known.
        breaks_days: [bins + 1], increasing.
        encoding: ``"gensheimer"`` or ``"ecg_ai"``. The latter also takes events at or before the first break, which are
            prevalent, and wants one break more than the horizon, since its columns end at ``breaks_days[:-1]``.
        prevalent: [n], 1 for disease before the ECG, whatever time and event say: column 0 of ``ecg_ai``, no
            information for ``gensheimer``; NaN: not known, no information.

    Returns:
        ``survived`` [n, bins], 1 where the person is known to have survived the interval, and ``event_bin`` [n, bins],
        1 in the interval of the event: tensors if ``time_days`` is one, float32 arrays otherwise.

    Raises:
        ValueError: unknown encoding, breaks that do not increase, sizes that differ, events other than 0 and 1, times
            before the first break, or an event in the interval that ``ecg_ai`` has no column for.
    """
    if encoding not in ENCODINGS:
        raise ValueError(f"encoding={encoding!r}: choose one of {', '.join(ENCODINGS)}")
    time, breaks = _floats(time_days), _floats(breaks_days)
    if breaks.ndim != 1 or len(breaks) < 2 or not breaks.isfinite().all() or not (breaks.diff() > 0).all():
        raise ValueError(f"breaks_days={breaks.tolist()}: give two days or more, increasing")
    breaks = breaks.to(time)
    happened = _floats(event).to(time)
    before = torch.zeros_like(time) if prevalent is None else _floats(prevalent).to(time)
    for name, value in (("event", happened), ("prevalent", before)):
        if value.shape != time.shape or time.ndim != 1:
            raise ValueError(f"time_days {tuple(time.shape)} and {name} {tuple(value.shape)}: both must be [n]")
        if (wrong := value[~value.isnan() & (value != 0) & (value != 1)]).numel():
            raise ValueError(f"{name}={wrong[0]:g}: must be 0, 1 or NaN ({wrong.numel()} other values)")
    early = (time < breaks[0]) & (before != 1)
    if encoding == "ecg_ai":
        early &= happened != 1
    if (wrong := time[early]).numel():
        raise ValueError(
            f"time_days={wrong[0]:g}: {wrong.numel()} times before the first break, day {breaks[0]:g}; "
            "leave these rows out, or mark them as prevalent"
        )
    survived, event_bin = encode(time, happened, before, breaks, encoding)
    if encoding == "ecg_ai":
        lost = (happened == 1) & (before == 0) & (time > breaks[-2]) & (time <= breaks[-1])
        if (wrong := time[lost]).numel():
            raise ValueError(
                f"time_days={wrong[0]:g}: {wrong.numel()} events in the last interval, ({breaks[-2]:g}, "
                f"{breaks[-1]:g}], for which 'ecg_ai' has no column, because its first one is for prevalent "
                "disease; add one more break"
            )
    if isinstance(time_days, Tensor):
        return survived, event_bin
    return survived.numpy().astype(np.float32), event_bin.numpy().astype(np.float32)


def encode(time: Tensor, event: Tensor, prevalent: Tensor, breaks: Tensor, encoding: str) -> tuple[Tensor, Tensor]:
    """Encode tensors [n] that were checked before; see ``encode_survival``."""
    t, happened = time[:, None], (event == 1)[:, None]
    known = ~(time.isnan() | event.isnan()) & (prevalent == 0)
    start, end = breaks[:-1], breaks[1:]
    if encoding == "gensheimer":
        survived = torch.where(happened, t >= end, t >= (start + end) / 2)
        event_bin = happened & (t >= start) & (t < end)
    else:
        previous = torch.cat([start.new_full((1,), -torch.inf), start[:-1]])
        survived = t > start
        event_bin = happened & (t > previous) & (t <= start)
    survived, event_bin = survived & known[:, None], event_bin & known[:, None]
    if encoding == "ecg_ai":
        event_bin[:, 0] |= prevalent == 1
    return survived.to(time), event_bin.to(time)


def discrete_survival_nll(
    hazard_logit: ArrayLike | Tensor,
    survived: ArrayLike | Tensor,
    event_bin: ArrayLike | Tensor,
    reduction: str = "none",
) -> Any:
    """Negative log-likelihood of each row, from logits: finite however saturated they are.

        NLL = sum_j survived_j softplus(phi_j) + event_bin_j softplus(-phi_j)

    (Gensheimer & Narasimhan, PeerJ 2019. The two terms are each a log; the log of their sum, as sometimes printed, is
    wrong.) A row of zeros in both gives 0 and no gradient.

    Args:
        hazard_logit: [n, bins], phi.
        survived: [n, bins], as ``encode_survival`` gives it.
        event_bin: [n, bins].
        reduction: ``"none"``, ``"mean"`` over all rows, or ``"sum"``.

    Returns:
        [n], or a scalar if reduced: a tensor if ``hazard_logit`` is one (at least float32), a float64 array otherwise.

    Raises:
        ValueError: shapes differ, or an unknown reduction.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction={reduction!r}: choose one of {', '.join(REDUCTIONS)}")
    phi = _floats(hazard_logit)
    lived, died = (_floats(part).to(phi) for part in (survived, event_bin))
    if not phi.ndim == 2 or not phi.shape == lived.shape == died.shape:
        raise ValueError(
            f"hazard_logit {tuple(phi.shape)}, survived {tuple(lived.shape)}, event_bin {tuple(died.shape)}: "
            "all must be [n, bins]"
        )
    each = (lived * softplus(phi) + died * softplus(-phi)).sum(dim=1)
    loss = each if reduction == "none" else each.mean() if reduction == "mean" else each.sum()
    return loss if isinstance(hazard_logit, Tensor) else loss.numpy()


def survival_curve(hazard_logit: ArrayLike | Tensor) -> Any:
    """Probability of surviving each interval and all before it: S_j = prod_k<=j (1 - h_k).

    Args:
        hazard_logit: [n, bins].

    Returns:
        [n, bins] in [0, 1], not increasing along a row; a tensor if ``hazard_logit`` is one. The risk at the end of
        interval j is 1 - S_j.
    """
    curve = torch.exp(-softplus(_floats(hazard_logit)).cumsum(dim=1))  # 1 - sigmoid(phi) = exp(-softplus(phi))
    return curve if isinstance(hazard_logit, Tensor) else curve.numpy()


def survival_at(survival: ArrayLike, breaks_days: ArrayLike, days: float) -> Any:
    """Survival at any day: linear between breaks, exact at each.

    Args:
        survival: [n, bins], at ``breaks_days[1:]``.
        breaks_days: [bins + 1]; survival at the first is 1.
        days: between the first and the last break; the risk at that day is one minus the result.

    Returns:
        [n].

    Raises:
        ValueError: ``days`` lies outside the breaks.
    """
    curve, breaks = np.asarray(survival), np.asarray(breaks_days, dtype=np.float64)
    if not breaks[0] <= days <= breaks[-1]:
        raise ValueError(f"days={days:g}: must lie between {breaks[0]:g} and {breaks[-1]:g}, where survival is known")
    whole = np.column_stack([np.ones(len(curve), curve.dtype), curve])
    upper = max(1, int(np.searchsorted(breaks, days)))
    share = (days - breaks[upper - 1]) / (breaks[upper] - breaks[upper - 1])
    return whole[:, upper - 1] * (1 - share) + whole[:, upper] * share


def _floats(values: ArrayLike | Tensor) -> Tensor:
    """A tensor of at least float32; arrays become float64."""
    if isinstance(values, Tensor):
        return values if values.dtype in (torch.float32, torch.float64) else values.float()
    return torch.as_tensor(np.array(values, dtype=np.float64))
