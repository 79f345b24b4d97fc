"""When atria and ventricles beat, of a whole batch at once: [B ECGs, M events], absent ones masked out."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from ssl_ecg.synthetic.simulator.conditions import Plan

LEAD_IN = 2.0
"""Seconds of rhythm before the record starts."""
FASTEST = 220.0
"""Beats a minute."""


@dataclass(frozen=True)
class Rhythm:
    """The events of B records, seconds from their first sample.

    Attributes:
        atrial: P wave onsets [B, M]; NaN where there is none.
        early: bool [B, M], P waves that start outside the sinus node.
        ventricular: QRS onsets [B, M], rising; infinite behind the last.
        ectopic: bool [B, M], beats that start in the ventricles among others that do not.
        interval: seconds before each QRS [B, M].
        pr: PR interval of a plain conducted beat [B], seconds; NaN without P waves that conduct.
        flutter: pace of fluttering or fibrillating atria [B], Hz; NaN where they do neither.
        escape: bool [B], all beats start in the ventricles because none arrives there.
        heart_rate: beats a minute [B].
        variation: standard deviation of the intervals over their mean [B].
    """

    atrial: Tensor
    early: Tensor
    ventricular: Tensor
    ectopic: Tensor
    interval: Tensor
    pr: Tensor
    flutter: Tensor
    escape: Tensor
    heart_rate: Tensor
    variation: Tensor


Draw = Callable[..., Tensor]
"""Uniform draws between two bounds, one for each of the B ECGs unless a shape is given."""


def uniform(low: float, high: float, *shape: int, device: torch.device) -> Tensor:
    """Return draws between two bounds."""
    return low + (high - low) * torch.rand(*shape, device=device)


def draw_rhythm(plan: Plan, seconds: float) -> Rhythm:
    """Draw the events of a batch.

    Rates are those of the definitions: bradycardia below 60, tachycardia above 100, junctional 35 to 60 (accelerated to
    100) and flutter 240 to 340 a minute, escape 25 to 55 (Surawicz & Knilans, Chou's Electrocardiography, 6th ed.). RR
    intervals in atrial fibrillation vary by .15 to .4 of their mean, as gamma intervals above the refractory period of
    the AV node; sinus intervals by .005 to .12, with breathing (Task Force, Circulation 1996).

    Args:
        plan: what the B ECGs show.
        seconds: their length.
    """
    device, count = plan.age.device, len(plan)
    end = seconds + 1.0
    events = math.ceil((end + LEAD_IN) * FASTEST / 60 * 1.15)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return uniform(low, high, *(shape or (count,)), device=device)

    def either(where: Tensor, one: Tensor, other: Tensor) -> Tensor:
        return torch.where(where.reshape(-1, *[1] * (max(one.ndim, other.ndim) - 1)), one, other)

    fibrillation, flutter = plan.has("atrial_fibrillation"), plan.has("atrial_flutter")
    junctional, svt = plan.has("junctional_rhythm"), plan.has("supraventricular_tachycardia")
    third = plan.has("third_degree_av_block")
    paced = plan.has("ventricular_pacing")

    rate = draw(61, 99)
    rate = either(plan.has("sinus_bradycardia"), draw(36, 58), rate)
    rate = either(plan.has("sinus_tachycardia"), draw(102, 160), rate)
    rate = either(fibrillation, draw(45, 150), rate)
    rate = either(junctional, either(draw(0, 1) < 0.75, draw(35, 60), draw(60, 100)), rate)
    rate = either(svt, draw(140, 215), rate)
    mean = (60 / rate)[:, None]

    intervals = mean * (
        1
        + _swing(mean, count, events, device)
        * either(junctional | svt, draw(0.002, 0.02), _log(draw, 0.005, 0.12))[:, None]
    ).clamp(0.5, 1.6)
    spread = draw(0.15, 0.4)[:, None]
    shape = ((1 - 0.45) / spread) ** 2
    irregular = mean * (0.45 + 0.55 * torch._standard_gamma(shape.expand(-1, events).contiguous()) / shape)
    intervals = either(fibrillation, irregular.clamp(min=0.26), intervals)
    pace = draw(240, 340) / 60
    steady = torch.randint(2, 5, (count, 1), device=device).expand(-1, events)
    varying = torch.randint(2, 5, (count, events), device=device)
    ratio = either(draw(0, 1) < 0.6, steady, varying)
    intervals = either(flutter, ratio / pace[:, None], intervals)

    start = -LEAD_IN + intervals[:, :1] * torch.rand(count, 1, device=device)
    ectopy = plan.any("ectopy")
    early = _early_beats(start + intervals.cumsum(1), seconds, draw) & ectopy[:, None]
    from_ventricles = early & plan.has("premature_ventricular_contraction")[:, None]
    coupling = either(plan.has("premature_ventricular_contraction"), draw(0.45, 0.72), draw(0.5, 0.8))[:, None]
    rest = either(plan.has("premature_ventricular_contraction"), 2 - coupling, 1 + 0.2 * draw(0, 1, count, 1))
    after = torch.nn.functional.pad(early, (1, 0))[:, :-1]
    intervals = torch.where(early, (coupling * intervals).clamp(min=0.3), intervals)
    intervals = torch.where(after, rest * intervals, intervals)
    onset = start + intervals.cumsum(1)  # of P, or where there is none of QRS

    pr = (draw(0.12, 0.195) * (72 / rate) ** 0.2).clamp(0.11, 0.199)
    pr = either(
        plan.has("first_degree_av_block"), torch.minimum(draw(0.215, 0.36), (0.55 * mean[:, 0]).clamp(min=0.215)), pr
    )
    pr = either(plan.has("wolff_parkinson_white"), draw(0.075, 0.115), pr)
    delay, conducted = _conduct(plan, pr, events, draw)
    no_p = fibrillation | flutter | svt | junctional
    ventricular = onset + either(no_p, torch.zeros_like(delay), delay)

    # Ventricles that follow a clock of their own: an escape rhythm, or a pacemaker that knows no atria.
    escape = third & (draw(0, 1) < 0.6)
    on_demand = paced & (no_p | (draw(0, 1) < 0.5))
    alone = third | on_demand
    own = 60 / either(paced, draw(55, 95), torch.minimum(either(escape, draw(25, 45), draw(38, 58)), 0.75 * rate))
    clock = -LEAD_IN + own[:, None] * (torch.arange(events, device=device) + draw(0, 1)[:, None])
    ventricular = either(alone, clock, ventricular)
    beats = either(alone, torch.ones_like(conducted), conducted) & (ventricular < end)
    from_ventricles = from_ventricles & ~alone[:, None]

    # P waves: none where the atria fibrillate; backwards, hidden or behind QRS where the junction leads.
    where = draw(0, 1)
    backwards = (junctional | svt) & (where < 0.5)
    atrial = either(backwards, onset + either(where < 0.25, -draw(0.06, 0.11), draw(0.08, 0.14))[:, None], onset)
    hidden = (fibrillation | flutter | ((junctional | svt) & ~backwards))[:, None] | from_ventricles
    hidden = hidden | (early & plan.has("premature_junctional_contraction")[:, None])
    atrial = atrial.masked_fill(hidden | (atrial > end), math.nan)
    paced_pr = either(on_demand | third | no_p, torch.full_like(pr, math.nan), pr)

    ventricular, order = torch.where(beats, ventricular, math.inf).sort(1)
    ectopic = from_ventricles.gather(1, order)
    interval = ventricular.diff(dim=1, prepend=ventricular[:, :1] - intervals[:, :1])
    inside = (ventricular > 0) & (ventricular < seconds)
    known = inside & torch.nn.functional.pad(inside, (1, 0))[:, :-1]
    seen = interval.masked_fill(~known, 0)
    number = known.sum(1).clamp(min=1)
    average = torch.where(known.any(1), seen.sum(1) / number, either(alone, own, mean[:, 0]))
    variance = ((interval - average[:, None]).masked_fill(~known, 0) ** 2).sum(1) / number
    return Rhythm(
        atrial=atrial,
        early=early | backwards[:, None],
        ventricular=ventricular,
        ectopic=ectopic,
        interval=torch.where(interval.isfinite(), interval, average[:, None]),
        pr=paced_pr,
        flutter=either(flutter, pace, either(fibrillation, draw(4.5, 9), torch.full_like(pace, math.nan))),
        escape=escape,
        heart_rate=60 / average,
        variation=variance.sqrt() / average,
    )


def _log(draw: Draw, low: float, high: float) -> Tensor:
    return torch.exp(draw(math.log(low), math.log(high)))


def _swing(mean: Tensor, count: int, events: int, device: torch.device) -> Tensor:
    """Return what moves sinus intervals [B, M], of about unit variance: breath, the Mayer wave of .1 Hz, chance."""
    beats = torch.arange(events, device=device)
    phase = 2 * math.pi * torch.rand(2, count, 1, device=device)
    breath = uniform(0.15, 0.4, count, 1, device=device)
    swing = 1.1 * torch.sin(2 * math.pi * breath * mean * beats + phase[0])
    swing = swing + 0.7 * torch.sin(2 * math.pi * 0.1 * mean * beats + phase[1])
    return swing + 0.4 * torch.randn(count, events, device=device)


def _early_beats(onset: Tensor, seconds: float, draw: Draw) -> Tensor:
    """Tell which beats come early [B, M]: every second to fourth, or now and then, at least one inside the record."""
    count, events = onset.shape
    number = torch.arange(events, device=onset.device)
    period = torch.randint(2, 5, (count, 1), device=onset.device)
    regular = (number + torch.randint(4, (count, 1), device=onset.device)) % period == 1
    sporadic = draw(0, 1, count, events) < draw(0.02, 0.2, count, 1)
    sporadic[:, 1:] &= ~sporadic[:, :-1]
    certain = (onset - draw(0.15, 0.9, count, 1) * seconds).abs().argmin(1, keepdim=True)
    sporadic = (sporadic & ((number - certain).abs() != 1)) | (number == certain)
    early = torch.where(draw(0, 1, count, 1) < 0.3, regular, sporadic)
    early[:, 0] = False
    return early


def _conduct(plan: Plan, pr: Tensor, events: int, draw: Draw) -> tuple[Tensor, Tensor]:
    """Return the delay of the AV node [B, M] in seconds, and which P waves it lets through [B, M]."""
    count, device = len(plan), pr.device
    wenckebach = plan.has("mobitz_1_av_block")[:, None]
    dropping = plan.has("mobitz_2_av_block")[:, None]
    group = torch.randint(3, 7, (count, 1), device=device)
    group = torch.where(dropping & (draw(0, 1, count, 1) < 0.3), 2, group)
    position = (torch.arange(events, device=device) + torch.randint(12, (count, 1), device=device)) % group
    delay = pr[:, None] + 0.002 * torch.randn(count, events, device=device)
    delay = delay + wenckebach * draw(0.05, 0.12, count, 1) * position.sqrt()
    return delay, ~((wenckebach | dropping) & (position == group - 1))
