"""R peaks as a pretext task: tell where the heart beats (Li et al., Computing in Cardiology 2021).

    signal -> steps -> probability of an R peak in stretches of at most 50 ms -> binary cross-entropy

The targets need no human: a classical detector (``views.find_r_peaks``) finds the beats of each batch, and a beat is in
a stretch whose centre is no more than 25 ms away. A step of the network answers for all the time that is nearer to it
than to other steps: one that lasts longer than 50 ms has several outputs. Alone it teaches rate and rhythm; beside
other objectives, in ``joint``, it is the auxiliary loss of the paper.

Known from the abstract and a review alone, so these are assumptions: the detector, the linear head, and that beats and
stretches without one are weighted alike.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_ecg.objectives.registry import register
from ssl_ecg.views import Augment, find_r_peaks

WIDTH = 0.05
"""Seconds that a beat is widened to."""
SECONDS = 10.0  # of the signal by which a network shows the length of its steps


class RPeaks(nn.Module):
    """Tell in which stretches of at most 50 ms there is an R peak.

    Args:
        backbone: a network with steps in time, at most a second long.
        sampling_rate: Hz.
        augment: augmentation name to strength, of what the network sees; the beats are found before. None that changes
            times, such as ``time_warp``.

    Raises:
        ValueError: a network without such steps, or an augmentation that moves beats.
    """

    def __init__(self, backbone: Any, sampling_rate: float, augment: Mapping[str, float] | None = None) -> None:
        super().__init__()
        if moving := sorted({"crop_and_resize", "time_warp"} & {name for name, by in (augment or {}).items() if by}):
            raise ValueError(f"augment.{moving[0]}: moves the beats that are to be found; leave it out")
        self.backbone = backbone
        self.sampling_rate = sampling_rate
        self.augment = Augment(augment or {}, sampling_rate, backbone.leads)
        width, self.length = _step_of(backbone, round(SECONDS * sampling_rate))
        if not self.length <= sampling_rate:
            raise ValueError(
                f"backbone={type(backbone).__name__}: a step is {self.length / sampling_rate:.2g} s long, too long to "
                "tell beats apart; choose a network with steps of at most a second"
            )
        self.outputs = max(1, math.ceil(self.length / (WIDTH * sampling_rate) - 1e-6))
        self.head = nn.Linear(width, self.outputs)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of a batch: ``signal`` [B, L, T] and, where not all was recorded, ``recorded``, ``leads``.

        Returns:
            "loss", the mean over stretches that were recorded; "beat" and "no_beat", the mean probabilities of a beat
            where there is one and where there is none; "features" [B, D], detached.
        """
        signal, recorded, leads = batch["signal"], batch.get("recorded"), batch.get("leads")
        beats = find_r_peaks(signal, self.sampling_rate, recorded, leads)
        features, present = self.backbone.forward_steps(self.augment(signal, recorded, leads), recorded, leads)
        steps = features.shape[1]
        times = self.backbone.step_times(signal.shape[2], steps)
        target, counted = stretches(beats, times, self.length, self.outputs, self.sampling_rate, recorded)
        if present is not None:
            counted = counted & present[..., None]
        logits = self.head(features).float()  # [B, N, outputs]
        each = F.binary_cross_entropy_with_logits(logits, target.float(), reduction="none")
        chance = logits.detach().sigmoid()
        return {
            "loss": _mean(each, counted),
            "beat": _mean(chance, counted & target),
            "no_beat": _mean(chance, counted & ~target),
            "features": self.backbone.pool(features, present).detach(),
        }


def stretches(
    beats: Tensor, times: Tensor, length: float, outputs: int, sampling_rate: float, recorded: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Tell in which stretches of time a beat is: no more than 25 ms from their centres.

    Args:
        beats: bool [B, T].
        times: centres of the steps in samples [N]; NaN for a step that lies nowhere in time.
        length: of a step in samples.
        outputs: equal stretches that the time of a step is divided into.
        sampling_rate: Hz.
        recorded: int64 [B], samples of each record that were recorded; None: all T.

    Returns:
        bool [B, N, outputs], where a beat is; and bool of a shape that broadcasts to it, stretches whose centre lies in
        what was recorded.
    """
    samples = beats.shape[1]
    part = (torch.arange(outputs) + 0.5) / outputs - 0.5  # centres, in lengths of a step
    centre = (times[:, None] + length * part).to(beats.device)  # [N, outputs]
    reach = WIDTH / 2 * sampling_rate
    first = (centre - reach).nan_to_num().ceil().long().clamp(0, samples)
    after = ((centre + reach).nan_to_num().floor().long() + 1).clamp(0, samples)
    before = F.pad(beats.long().cumsum(1), (1, 0))  # [B, 1 + T], beats before each sample
    end = torch.full((1,), samples, device=beats.device) if recorded is None else recorded
    return before[:, after] > before[:, first], (centre >= -0.5) & (centre < end[:, None, None] - 0.5)


def _step_of(backbone: Any, samples: int) -> tuple[int, float]:
    """Return the features of a step of a network, and its length in samples."""
    was_training = backbone.training
    with torch.no_grad():
        features = backbone.eval().forward_features(torch.zeros(1, backbone.in_leads, samples))
    backbone.train(was_training)
    times = backbone.step_times(samples, features.shape[1])
    times = times[~times.isnan()]
    return features.shape[2], float(times.diff().abs().median()) if len(times) > 1 else math.inf


def _mean(values: Tensor, counted: Tensor) -> Tensor:
    counted = counted.expand_as(values)
    return (values * counted).sum() / counted.sum().clamp(min=1)


register("r_peaks", RPeaks)
