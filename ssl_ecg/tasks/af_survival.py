"""AF-free survival: the risk of atrial fibrillation at every time up to a horizon, from a sinus-rhythm ECG.

(ECG-AI: Khurshid et al., Circulation 2022.)
"""

from __future__ import annotations

from ssl_ecg.tasks.auxiliary import AuxiliaryTargets
from ssl_ecg.tasks.registry import register
from ssl_ecg.tasks.survival_task import Survival


class AfSurvival(AuxiliaryTargets, Survival):
    """Survival whose event is incident AF; age, sex and prevalent AF can be learned beside it."""

    name = "af_survival"
    outcomes = ("af", "af_by_horizon")
    event = "AF"


register("af_survival", AfSurvival)
