"""The shape of a beat: wave tables of each conduction, and what conditions and latent factors do to them.

Times are milliseconds from the middle of the normal QRS complex, amplitudes millivolts along Frank's axes (x left,
y feet, z back). The tables are the project's own, drawn by the textbook order of activation: septum, apex, left
ventricular wall, base; they were tuned by eye on the twelve leads.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from ssl_ecg.synthetic.dipole import Waves

VENTRICULAR_WAVES = ("septal", "apical", "lateral", "basal", "terminal", "st", "t", "injury")
ATRIAL_WAVES = ("right_atrium", "left_atrium")
SEPTAL, APICAL, LATERAL, BASAL, TERMINAL, ST, T, INJURY = range(8)
QRS = slice(SEPTAL, TERMINAL + 1)
REPOLARISATION = np.array([False] * 5 + [True] * 3)

#            centre rise fall    x      y      z
NORMAL = np.array(
    [
        [-24, 6.5, 7, -0.15, -0.06, -0.18],
        [-9, 8, 8, 0.46, 0.40, -0.36],
        [4, 9, 9, 1.02, 0.62, 0.46],
        [20, 8, 9, 0.12, 0.06, 0.80],
        [34, 7, 7, -0.14, -0.10, 0.16],
        [95, 32, 100, 0.012, 0.008, -0.03],
        [262, 55, 33, 0.32, 0.22, -0.16],
        [85, 24, 115, 0, 0, 0],
    ]
)
LEFT_BUNDLE_BRANCH_BLOCK = np.array(
    [
        [-24, 11, 13, 0.22, 0.18, 0.12],
        [0, 15, 17, 0.50, 0.32, 0.74],
        [31, 18, 18, 0.46, 0.18, 1.12],
        [62, 17, 14, 0.64, 0.10, 0.70],
        [84, 9, 9, 0.04, -0.04, 0.10],
        [140, 34, 90, -0.08, -0.04, -0.14],
        [300, 62, 38, -0.30, -0.12, -0.38],
        [110, 24, 115, 0, 0, 0],
    ]
)
RIGHT_BUNDLE_BRANCH_BLOCK = np.array(
    [
        [-24, 6.5, 7, -0.15, -0.06, -0.20],
        [-9, 8, 8, 0.46, 0.40, -0.34],
        [4, 9, 9, 1.02, 0.62, 0.44],
        [20, 8, 9, 0.12, 0.06, 0.60],
        [58, 16, 18, -0.52, -0.04, -0.58],
        [120, 30, 90, 0.02, 0.005, 0.05],
        [285, 55, 34, 0.36, 0.20, 0.12],
        [110, 24, 115, 0, 0, 0],
    ]
)
# Milliseconds from the onset of the P wave.
ATRIAL = np.array(
    [
        [36, 15, 15, 0.035, 0.095, -0.055],
        [70, 16, 15, 0.060, 0.062, 0.030],
    ]
)
# Milliseconds from the onset of the ectopic QRS. The directions of the last two oppose the first two.
ECTOPIC = np.array(
    [
        [52, 22, 24, 0.75, 0.65, 0.45],
        [92, 22, 22, 0.45, 0.60, 0.75],
        [175, 38, 80, -0.10, -0.10, -0.10],
        [315, 60, 42, -0.30, -0.29, -0.27],
    ]
)
ECTOPIC_REPOLARISATION = np.array([False, False, True, True])

ELEVATION = {  # J point, mV: towards the injured wall
    "anterior": (0.07, 0.00, -0.19),
    "inferior": (-0.05, 0.23, 0.07),
    "lateral": (0.21, -0.08, 0.05),
}
DEPRESSION = (-0.125, -0.075, 0.035)  # away from the subendocardium of the left ventricle


def ventricular_waves(table: np.ndarray, factor: float, hypertrophy: float, strain: float) -> Waves:
    """QRS, ST and T of one patient before individual variation.

    The ventricular factor widens QRS, lowers its voltage, takes away the anterior forces that make R grow from V1 to
    V4, flattens T and depresses ST a little, each by less than patients differ anyway.

    Args:
        table: One of the conduction tables.
        factor: Ventricular factor, standard normal over patients.
        hypertrophy: Factor on left ventricular forces, 1 without.
        strain: 0 without, 1 for the full lateral strain pattern.
    """
    waves = Waves.from_table(table)
    centre, rise, fall, vector = (a.copy() for a in (waves.centre, waves.rise, waves.fall, waves.vector))
    for times in (centre, rise, fall):
        times[QRS] *= 1 + 0.04 * factor
    vector[QRS] *= np.exp(-0.07 * factor)
    vector[APICAL] *= np.exp(-0.16 * factor)
    vector[T] *= np.exp(-0.18 * factor)
    vector[ST] -= 0.010 * factor * np.array([1, 0.6, -0.3])

    vector[LATERAL] *= hypertrophy
    vector[BASAL] *= 1 + 0.8 * (hypertrophy - 1)
    vector[APICAL] *= 1 + 0.3 * (hypertrophy - 1)
    vector[ST] += strain * np.array([-0.11, -0.04, 0.06])
    vector[T] += strain * np.array([-0.58, -0.24, -0.06])
    return Waves(centre, rise, fall, vector)


def atrial_waves(factor: float) -> Waves:
    """P wave of one patient before individual variation.

    The atrial factor delays the left atrium (a longer, notched P wave) and turns it to the back (terminal negativity
    in V1), each by less than patients differ anyway.

    Args:
        factor: Atrial factor, standard normal over patients.
    """
    waves = Waves.from_table(ATRIAL)
    delay = np.array([0.0, 0.0065]) * factor
    turn = np.array([[0, 0, 0], [0, 0, 0.020]]) * factor
    fall = waves.fall * np.array([1, np.exp(0.06 * factor)])
    return replace(waves, centre=waves.centre + delay, fall=fall, vector=waves.vector + turn)


def vary(waves: Waves, noise: np.ndarray, strength: float = 1.0) -> Waves:
    """One patient's own version: times, widths, heights and directions of all waves a little different.

    Args:
        waves: W waves.
        noise: float [at least W, 6], standard normal.
        strength: 1 for the differences between patients, less for those between visits.
    """
    noise = strength * noise[: len(waves.centre)]
    length = np.linalg.norm(waves.vector, axis=1, keepdims=True)
    return Waves(
        waves.centre * (1 + 0.03 * noise[:, 0]),
        waves.rise * np.exp(0.07 * noise[:, 1]),
        waves.fall * np.exp(0.07 * noise[:, 1]),
        waves.vector * np.exp(0.13 * noise[:, 2:3]) + 0.10 * length * noise[:, 3:6],
    )


def with_injury(waves: Waves, current: np.ndarray, t_wave: float) -> Waves:
    """Shifts ST by ``current`` [3] mV; T moves by ``t_wave`` times as much along."""
    vector = waves.vector.copy()
    vector[INJURY] += current
    vector[T] += t_wave * current
    return replace(waves, vector=vector)


def turned(waves: Waves, turn: np.ndarray, gain: np.ndarray | float) -> Waves:
    """Rotated by ``turn`` [3, 3] and scaled by ``gain`` (a number, or [W, 1])."""
    return replace(waves, vector=gain * waves.vector @ turn.T)
