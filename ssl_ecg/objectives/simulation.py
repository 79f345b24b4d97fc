"""Supervised pretraining on simulated ECGs, drawn anew for every step, with dense targets.

    batch -> its shape alone -> simulated ECGs [B, L, T] -> normalised, augmented -> steps [B, N, D'] -> pooled [B, D]
      conditions   [B, C]       binary cross-entropy of pooled features: what the ECG shows
      measurements [B, R]       Huber loss of pooled features: amplitudes of each lead, intervals, axis, rate, noise
      waves        [B, N, 3, K] binary cross-entropy of steps: where P, R and T peak, by parts of a step

The truth of a simulation is free and complete, so a network can be asked for all that a cardiologist measures, and not
for a name alone: a few easy names are learned too narrowly. What differs between sites and patients varies (domain
randomisation, Tobin et al., IROS 2017; on simulated ECGs cf. Gillette et al., Sci Data 2023, MedalCare-XL). No signal
of the archive is used: it says how many ECGs to draw, at which rate and how long.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_ecg.objectives.registry import register
from ssl_ecg.signals import SignalSettings
from ssl_ecg.signals.normalisation import normalise
from ssl_ecg.synthetic.simulator import CONDITIONS, WAVES, SimulatedEcgs, simulate
from ssl_ecg.views import Augment

AUGMENT: Mapping[str, float] = MappingProxyType({"lead_masking": 0.1})

# Weights that leave the three losses, of which the first and the last are means over mostly absent things, about equal.
CONDITION_WEIGHT, MEASUREMENT_WEIGHT, WAVE_WEIGHT = 2.0, 1.0, 1.0
PART = 0.04
"""Seconds to which a wave is located, where a step is longer."""
FURTHEST = 5.0
"""Standard deviations at which measurements are cut."""
CALIBRATION = 512
"""ECGs whose measurements say what their means and standard deviations are."""


class Simulation(nn.Module):
    """Tell what simulated ECGs show, measure them, and find their waves.

    Args:
        backbone: signal [B, L, T] in, steps and features out; where it knows no signal, that of archives by default at
            ``sampling_rate``.
        sampling_rate: Hz.
        augment: augmentation name to strength, beside all that the simulation varies; measurements stay those of the
            whole ECG.

    Raises:
        ValueError: a backbone of another number of leads than the signal it is for.
    """

    mean: Tensor
    deviation: Tensor

    def __init__(self, backbone: Any, sampling_rate: float, augment: Mapping[str, float] | None = AUGMENT) -> None:
        super().__init__()
        settings = getattr(backbone, "signal", None) or SignalSettings(sampling_rate=sampling_rate)
        if backbone.in_leads != len(settings.leads):
            raise ValueError(
                f"backbone.in_leads={backbone.in_leads}: the simulation must know which leads these are; make the "
                "network as part of an Encoder"
            )
        self.backbone, self.settings = backbone, settings
        self.augment = Augment(augment or {}, sampling_rate, settings.leads)
        steps = _steps_of(backbone, settings)
        times = _places(backbone, settings.samples, steps.shape[1])[0]
        spacing = float(times.diff().min()) if len(times) > 1 else settings.samples
        self.parts = max(1, round(spacing / sampling_rate / PART))
        with torch.random.fork_rng():
            torch.manual_seed(0)
            known = measurements(simulate(CALIBRATION, settings), settings.normalise)
        self.register_buffer("mean", known.nanmean(0))
        self.register_buffer("deviation", (known - self.mean).square().nanmean(0).sqrt().clamp(min=1e-6))
        self.conditions = nn.Linear(backbone.width, len(CONDITIONS))
        self.measure = nn.Linear(backbone.width, len(self.mean))
        self.waves = nn.Linear(steps.shape[2], len(WAVES) * self.parts)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of as many simulated ECGs as the batch has rows, of the length of its ``signal`` [B, L, T].

        Returns:
            "loss"; its parts "conditions", "measurements" and "waves", unweighted; "features" [B, D], detached.
        """
        signal = batch["signal"]
        count, _, samples = signal.shape
        with torch.autocast(signal.device.type, enabled=False):
            ecgs = simulate(count, self.settings, samples, device=signal.device)
            recorded = torch.full((count,), samples, device=signal.device)
            leads = torch.ones(ecgs.signal.shape[:2], dtype=torch.bool, device=signal.device)
            seen = self.augment(normalise(ecgs.signal, recorded, leads, self.settings.normalise))
            measured = (measurements(ecgs, self.settings.normalise) - self.mean) / self.deviation
        steps, present = self.backbone.forward_steps(seen)
        pooled = self.backbone.pool(steps, present)
        times, place = _places(self.backbone, samples, steps.shape[1])
        named, told = self.conditions(pooled), self.measure(pooled)
        found = self.waves(steps[:, (place >= 0).to(steps.device)])
        with torch.autocast(signal.device.type, enabled=False):
            conditions = F.binary_cross_entropy_with_logits(named.float(), ecgs.conditions.float())
            measurement = masked_huber(told.float(), measured.clamp(-FURTHEST, FURTHEST))
            waves = found.sum().float() * 0
            if len(times):
                where = wave_targets(ecgs.events * self.settings.sampling_rate, times.to(signal.device), self.parts)
                where = where[:, place[place >= 0].to(where.device)].flatten(2)
                waves = F.binary_cross_entropy_with_logits(found.float(), where)
        loss = CONDITION_WEIGHT * conditions + MEASUREMENT_WEIGHT * measurement + WAVE_WEIGHT * waves
        return {
            "loss": loss,
            "conditions": conditions.detach(),
            "measurements": measurement.detach(),
            "waves": waves.detach(),
            "features": pooled.detach(),
        }


def measurements(ecgs: SimulatedEcgs, how: str) -> Tensor:
    """Return what is to be measured in each ECG [B, R]: NaN where there is nothing to measure.

    Amplitudes and noise are in the unit in which a network sees them: of a signal that is normalised by lead no network
    can tell millivolts. Rate, variation and noise are logarithms; the axis is cosine and sine.

    Args:
        ecgs: simulated ECGs, in millivolts.
        how: their signals will be normalised, as in ``SignalSettings``.
    """
    scale = torch.ones_like(ecgs.noise)
    if how == "lead":
        scale = ecgs.signal.std(2)
    elif how == "record":
        scale = ecgs.signal.flatten(1).std(1)[:, None].expand_as(scale)
    scale = scale.clamp(min=1e-4)
    axis = torch.deg2rad(ecgs.axis)
    single = [axis.cos(), axis.sin(), ecgs.heart_rate.log(), ecgs.rr_variation.clamp(min=0.003).log()]
    return torch.cat(
        [
            (ecgs.amplitudes / scale[..., None]).flatten(1),
            ecgs.intervals,
            torch.stack(single, 1),
            (ecgs.noise / scale).clamp(min=1e-3).log(),
        ],
        1,
    )


def masked_huber(told: Tensor, true: Tensor) -> Tensor:
    """Return the mean Huber loss over what is known, a scalar; ``true`` is NaN elsewhere."""
    known = true.isfinite()
    return F.smooth_l1_loss(told[known], true[known], reduction="sum") / known.sum().clamp(min=1)


def wave_targets(events: Tensor, times: Tensor, parts: int) -> Tensor:
    """Return which part of which step holds a wave.

    Args:
        events: [B, W, M], samples; NaN for none.
        times: centres of the steps [N], samples, rising; a step reaches half-way to the next.
        parts: into how many K a step is divided.

    Returns:
        float32 [B, N, W, K], 0 or 1.
    """
    middle = (times[1:] + times[:-1]) / 2 if len(times) > 1 else times + 0.5
    edges = torch.cat([2 * times[:1] - middle[:1], middle, 2 * times[-1:] - middle[-1:]])
    if len(times) == 1:  # all of the signal, whose middle this is
        edges = torch.stack([times[0] * 0 - 0.5, 2 * times[0] + 0.5])
    share = torch.arange(parts, device=times.device) / parts
    fine = torch.cat([(edges[:-1, None] + edges.diff()[:, None] * share).flatten(), edges[-1:]])
    bins = len(fine) - 1
    index = torch.bucketize(events.nan_to_num(torch.inf), fine, right=True) - 1
    index = torch.where((index >= 0) & (index < bins), index, bins)
    target = torch.zeros(*events.shape[:2], bins + 1, device=events.device).scatter_(2, index, 1.0)
    return target[..., :-1].unflatten(2, (-1, parts)).transpose(1, 2)


def _places(backbone: Any, samples: int, steps: int) -> tuple[Tensor, Tensor]:
    """Return the times of the steps, each once, rising [S], and which of them each step has [N]; -1: none."""
    times = backbone.step_times(samples, steps).cpu().float()
    known = times.isfinite()
    once, inverse = times[known].unique(return_inverse=True)
    place = torch.full((steps,), -1)
    place[known] = inverse
    return once, place


@torch.no_grad()
def _steps_of(backbone: Any, settings: SignalSettings) -> Tensor:
    """Return the steps of a dry run on zeros, in eval mode, so that no statistics change."""
    modes = {module: module.training for module in backbone.modules()}
    backbone.eval()
    first = next(backbone.parameters())
    steps: Tensor = backbone.forward_steps(torch.zeros(1, len(settings.leads), settings.samples).to(first))[0]
    for module, mode in modes.items():
        module.training = mode
    return steps


register("simulation", Simulation)
