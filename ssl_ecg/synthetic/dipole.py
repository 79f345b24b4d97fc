"""The cardiac dipole: Gaussian waves in space, and the leads that see them.

A beat is a sum of Gaussian waves, each with a time, a rise and a fall and a direction in space, as in the dynamical
models of McSharry et al. (IEEE Trans Biomed Eng 2003) and, for the dipole, Sameni et al. (EURASIP J Adv Signal Process
2007). Axes are those of Frank: x to the patient's left, y to the feet, z to the back.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ssl_ecg.records.electrodes import FIELD

# V1 looks at the right atrium from close by, which a single dipole in the ventricles cannot tell.
ATRIAL_FIELD = FIELD * np.array([1, 1, 1, 1.4, 0.8, 0.8, 0.9, 1, 1])[:, None]
"""What the electrodes see of a unit dipole in the atria, mV: float64 [9 electrodes, 3]."""


@dataclass(frozen=True)
class Waves:
    """W Gaussian waves of one kind of beat.

    Attributes:
        centre: float64 [W], seconds from the beat's reference time.
        rise: float64 [W], standard deviation before the centre, seconds.
        fall: float64 [W], standard deviation after it, seconds.
        vector: float64 [W, 3], the dipole at the centre, mV.
    """

    centre: np.ndarray
    rise: np.ndarray
    fall: np.ndarray
    vector: np.ndarray

    @classmethod
    def from_table(cls, table: np.ndarray) -> Waves:
        """Waves from rows of (centre ms, rise ms, fall ms, x mV, y mV, z mV)."""
        return cls(table[:, 0] / 1000, table[:, 1] / 1000, table[:, 2] / 1000, table[:, 3:].copy())

    def span(self, rows: slice, deviations: float = 2.2, negligible: float = 0.03) -> tuple[float, float]:
        """Onset and end in seconds of the waves in ``rows`` that are larger than ``negligible`` mV.

        2.2 standard deviations from its centre a Gaussian wave has fallen to 9 % of its height.
        """
        seen = np.linalg.norm(self.vector[rows], axis=1) > negligible
        onset = self.centre[rows] - deviations * self.rise[rows]
        end = self.centre[rows] + deviations * self.fall[rows]
        return float(onset[seen].min()), float(end[seen].max())


def render(
    waves: Waves,
    times: np.ndarray,
    sampling_rate: float,
    samples: int,
    stretch: np.ndarray | None = None,
    gain: np.ndarray | None = None,
) -> np.ndarray:
    """The dipole of a train of beats.

    Args:
        waves: The W waves of each beat.
        times: Reference times of the B beats, seconds from the first sample; they may lie outside the record.
        sampling_rate: Hz.
        samples: Length T of the record.
        stretch: float [B, W] factors on centres and widths (repolarisation follows the heart rate); 1 if None.
        gain: float [B] factors on amplitudes; 1 if None.

    Returns:
        float64 [3, T], mV.
    """
    if not len(times):
        return np.zeros((3, samples))
    stretch = np.ones((len(times), len(waves.centre))) if stretch is None else stretch
    centre, rise, fall = waves.centre * stretch, waves.rise * stretch, waves.fall * stretch
    first = np.floor((times + (centre - 4 * rise).min()) * sampling_rate).astype(int)
    length = int(np.ceil(((centre + 4 * fall).max() - (centre - 4 * rise).min()) * sampling_rate)) + 1
    index = first[:, None] + np.arange(length)  # [B, n]
    clock = index / sampling_rate - times[:, None]

    offset = clock[:, None, :] - centre[:, :, None]  # [B, W, n]
    width = np.where(offset < 0, rise[:, :, None], fall[:, :, None])
    shape = np.exp(-0.5 * (offset / width) ** 2)
    if gain is not None:
        shape *= gain[:, None, None]
    beats = np.einsum("bwn,wk->kbn", shape, waves.vector)

    inside = (index >= 0) & (index < samples)
    return np.stack([np.bincount(index[inside], axis[inside], minlength=samples) for axis in beats])


def rotation(degrees: np.ndarray) -> np.ndarray:
    """A rotation of the heart [3, 3]: about z (frontal axis, to the feet), then about y (transverse, to the back)."""
    frontal, transverse = np.deg2rad(degrees)
    cos, sin = np.cos(frontal), np.sin(frontal)
    about_z = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]])
    cos, sin = np.cos(transverse), np.sin(transverse)
    about_y = np.array([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]])
    return about_y @ about_z
