"""The nine electrodes of a 12-lead ECG: how leads are made of their potentials, and what they see of the heart."""

from __future__ import annotations

import numpy as np

ELECTRODES = ("RA", "LA", "LL", "V1", "V2", "V3", "V4", "V5", "V6")

# What leads see of a unit dipole: the coefficients of Dower, Machado and Osborne (Clin Cardiol 1980).
_LEAD_I = np.array([0.632, -0.235, 0.059])
_LEAD_II = np.array([0.235, 1.066, -0.132])
_CHEST = np.array(
    [
        [-0.515, 0.157, -0.917],
        [0.044, 0.164, -1.387],
        [0.882, 0.098, -1.277],
        [1.213, 0.127, -0.601],
        [1.125, 0.127, -0.086],
        [0.831, 0.076, 0.230],
    ]
)

FIELD = np.concatenate([[-_LEAD_I - _LEAD_II, 2 * _LEAD_I - _LEAD_II, 2 * _LEAD_II - _LEAD_I], 3 * _CHEST]) / 3
"""Electrode potentials of a unit dipole, mV: float64 [9 electrodes, 3]; the limb electrodes sum to zero.

Axes are those of Frank: x to the patient's left, y to the feet, z to the back.
"""


def _derivation() -> np.ndarray:
    limb = np.array(
        [[-1, 1, 0], [-1, 0, 1], [0, -1, 1], [1, -0.5, -0.5], [-0.5, 1, -0.5], [-0.5, -0.5, 1]]
    )  # I, II, III, aVR, aVL, aVF from RA, LA, LL
    derivation = np.zeros((12, 9))
    derivation[:6, :3] = limb
    derivation[6:, :3] = -1 / 3  # Wilson's central terminal
    derivation[6:, 3:] = np.eye(6)
    return derivation


DERIVATION = _derivation()
"""The 12 leads, in the order of ``LEADS``, from the 9 electrodes: float64 [12, 9].

Einthoven's law and Goldberger's definitions hold for anything it makes.
"""
