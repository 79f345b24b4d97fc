"""Wave tables of every way in which ventricles are activated, and where the walls of the left one look.

Rows are those of ``synthetic.morphology``, which these start from: centre, rise and fall in milliseconds, x (left), y
(feet) and z (back) in mV; the project's own, by the textbook order of activation.
"""

from __future__ import annotations

import numpy as np

from ssl_ecg.synthetic import morphology
from ssl_ecg.synthetic.morphology import APICAL, BASAL, LATERAL, SEPTAL, TERMINAL

# The twelve waves of a heart: of QRS five as in the tables and three more; of repolarisation three as there, and U.
DELTA, NECROSIS, NOTCH, ST, T, INJURY, U = range(5, 12)
ORDER = (
    *(SEPTAL, APICAL, LATERAL, BASAL, TERMINAL),
    *(None, None, None),
    *(morphology.ST, morphology.T, morphology.INJURY),
    None,
)
"""Wave of the table that stands at each place; None: one that is no part of a table."""
QRS, REPOLARISATION = slice(0, 8), slice(8, 12)

ECTOPIC = np.zeros((8, 6))
ECTOPIC[:, 1:3] = 10.0
ECTOPIC[[SEPTAL, APICAL, morphology.ST, morphology.T]] = morphology.ECTOPIC
ECTOPIC[morphology.INJURY] = [180, 24, 115, 0, 0, 0]
# A pacemaker's wire lies in the right ventricle's apex: forces go up, to the left and to the back.
_PACED = ECTOPIC.copy()
_PACED[[SEPTAL, APICAL, morphology.ST, morphology.T], 3:] = [
    [0.35, -0.75, 0.40],
    [0.45, -0.70, 0.80],
    [-0.1, 0.1, -0.1],
    [-0.25, 0.40, -0.30],
]
_DELAYED = morphology.NORMAL.copy()
_DELAYED[:5, 0] = [-26, -8, 12, 38, 62]
_DELAYED[:5, 1:3] *= 1.45
_DELAYED[5:, 0] += 30
_LEFT_ANTERIOR = morphology.NORMAL.copy()
_LEFT_ANTERIOR[:5, 0] = [-24, -10, 6, 26, 40]
_LEFT_ANTERIOR[:5, 3:] = [
    [-0.12, 0.22, -0.16],
    [0.45, 0.20, -0.36],
    [0.98, -0.55, 0.40],
    [0.20, -0.55, 0.70],
    [-0.05, -0.20, 0.16],
]
_LEFT_POSTERIOR = morphology.NORMAL.copy()
_LEFT_POSTERIOR[:5, 0] = [-24, -10, 6, 26, 40]
_LEFT_POSTERIOR[:5, 3:] = [
    [0.16, -0.24, -0.16],
    [0.15, 0.30, -0.36],
    [0.05, 1.10, 0.42],
    [-0.50, 0.60, 0.60],
    [-0.20, 0.15, 0.10],
]
_RIGHT_HYPERTROPHY = morphology.NORMAL.copy()
_RIGHT_HYPERTROPHY[:5, 3:] = [
    [-0.05, -0.05, -0.20],
    [0.20, 0.45, -0.55],
    [0.15, 0.55, -0.45],
    [-0.65, 0.15, -0.35],
    [-0.35, -0.10, -0.05],
]
_RIGHT_HYPERTROPHY[morphology.T, 3:] = [0.28, 0.02, 0.22]
TABLES = {
    "normal": morphology.NORMAL,
    "left_bundle_branch_block": morphology.LEFT_BUNDLE_BRANCH_BLOCK,
    "right_bundle_branch_block": morphology.RIGHT_BUNDLE_BRANCH_BLOCK,
    "intraventricular_conduction_delay": _DELAYED,
    "ventricular_pacing": _PACED,
    "left_anterior_fascicular_block": _LEFT_ANTERIOR,
    "left_posterior_fascicular_block": _LEFT_POSTERIOR,
    "right_ventricular_hypertrophy": _RIGHT_HYPERTROPHY,
    "ectopic": ECTOPIC,
}

WALLS = {
    "anteroseptal_infarction": (0.10, 0.05, -1.0),
    "anterior_infarction": (0.62, 0.10, -0.78),
    "lateral_infarction": (0.95, -0.28, 0.10),
    "inferior_infarction": (-0.10, 0.97, 0.20),
    "posterior_infarction": (-0.05, 0.10, 1.0),
}
"""Where each wall of the left ventricle looks, a unit vector along Frank's axes."""
