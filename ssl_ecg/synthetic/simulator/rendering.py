"""Gaussian waves in space, of a whole batch at once; the physics is that of ``synthetic.dipole``."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class BeatWaves:
    """W Gaussian waves of one kind of beat of each of B hearts.

    Attributes:
        centre: [B, W], seconds from the beat's reference time.
        rise: [B, W], standard deviation before the centre, seconds.
        fall: [B, W], standard deviation after it, seconds.
        vector: [B, W, 3], the dipole at the centre, mV; x to the left, y to the feet, z to the back.
    """

    centre: Tensor
    rise: Tensor
    fall: Tensor
    vector: Tensor

    def of(self, hearts: Tensor, waves: slice) -> BeatWaves:
        """Return some waves of hearts [N], which may come several times."""
        return BeatWaves(*(part[hearts, waves] for part in (self.centre, self.rise, self.fall, self.vector)))

    def stretched(self, factor: Tensor) -> BeatWaves:
        """Return these waves with centres and widths multiplied by [B] or [B, W]."""
        factor = factor if factor.ndim == 2 else factor[:, None]
        return BeatWaves(self.centre * factor, self.rise * factor, self.fall * factor, self.vector)

    def at(self, clock: Tensor) -> Tensor:
        """Return the dipole [B, 3, n] at times [B, n] or [n], seconds."""
        offset = clock.expand(len(self.centre), -1)[:, None] - self.centre[..., None]
        steepness = torch.where(offset < 0, self.rise[..., None], self.fall[..., None])
        return self.vector.mT @ torch.exp(-0.5 * (offset / steepness) ** 2)

    def span(self, deviations: float = 2.2, negligible: float = 0.03) -> tuple[Tensor, Tensor]:
        """Return onset and end [B] in seconds of the waves of more than a share ``negligible`` of the largest."""
        height = self.vector.norm(dim=2)
        seen = height > negligible * height.amax(1, keepdim=True)
        onset = (self.centre - deviations * self.rise).masked_fill(~seen, torch.inf).amin(1)
        end = (self.centre + deviations * self.fall).masked_fill(~seen, -torch.inf).amax(1)
        return onset, end


def render(
    out: Tensor, waves: BeatWaves, owner: Tensor, time: Tensor, sampling_rate: float, gain: Tensor | None = None
) -> None:
    """Add a train of beats to the dipoles of their records.

    Args:
        out: float32 [3, B, T], mV; added to in place.
        waves: of each of N beats.
        owner: the record of each beat [N].
        time: reference time of each beat [N], seconds from the first sample; it may lie outside the record.
        sampling_rate: Hz.
        gain: factor of each beat [N].
    """
    if not len(time):
        return
    samples = out.shape[2]
    # 3.5 standard deviations from its centre a wave has fallen to 2 per mille of its height.
    reach = float((waves.centre - 3.5 * waves.rise).min()), float((waves.centre + 3.5 * waves.fall).max())
    length = int((reach[1] - reach[0]) * sampling_rate) + 2
    first = ((time + reach[0]) * sampling_rate).floor().long()
    index = first[:, None] + torch.arange(length, device=time.device)  # [N, n]
    dipole = waves.at(index / sampling_rate - time[:, None])  # [N, 3, n]
    inside = (index >= 0) & (index < samples)
    if gain is not None:
        inside = inside * gain[:, None]
    dipole = (dipole * inside[:, None]).transpose(0, 1).reshape(3, -1)
    place = owner[:, None] * samples + index.clamp(0, samples - 1)
    out.view(3, -1).index_add_(1, place.flatten(), dipole)
