"""What the labels of known data sets mean, said in the conditions of simulated hearts.

Names are those of PTB-XL (SCP-ECG statements, with their sub- and superclasses), CPSC 2018 and the PhysioNet/CinC
Challenges. What simulated hearts do not have, such as a sinus arrhythmia, has no meaning here.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import torch
from torch import Tensor

from ssl_ecg.synthetic.simulator.conditions import AGES, AXES, CONDITIONS

NONE_OF = "none_of"
"""first word of a meaning that is the absence of all that follows"""

Meaning = tuple[str, ...]
"""conditions of which a label says that any is there; or ``NONE_OF`` and conditions of which it says that none is"""

_INFARCTION = (*AXES["infarction"], *AGES)
_BLOCK = (*AXES["av_conduction"], *AXES["conduction"], *AXES["fascicles"])
_CONDUCTION = tuple(name for name in _BLOCK if name != "ventricular_pacing")
_HYPERTROPHY = (*AXES["ventricles"], *AXES["atria"])
_ST_T = ("st_depression", "t_inversion", "t_flattening", "long_qt", "digitalis_effect")
_ECTOPY = tuple(AXES["ectopy"])

_MEANINGS: Mapping[str, Meaning] = {
    # superclasses of PTB-XL
    "NORM": (NONE_OF, *_INFARCTION, *_CONDUCTION, *_HYPERTROPHY, *_ST_T),
    "MI": _INFARCTION,
    "CD": _CONDUCTION,
    "HYP": _HYPERTROPHY,
    "STTC": _ST_T,
    # infarctions
    "AMI": ("anterior_infarction", "anteroseptal_infarction"),
    "ASMI": ("anteroseptal_infarction",),
    "ALMI": ("anterior_infarction", "lateral_infarction"),
    "LMI": ("lateral_infarction",),
    "IMI": ("inferior_infarction",),
    "ILMI": ("inferior_infarction", "lateral_infarction"),
    "IPMI": ("inferior_infarction", "posterior_infarction"),
    "IPLMI": ("inferior_infarction", "posterior_infarction", "lateral_infarction"),
    "PMI": ("posterior_infarction",),
    "QWAVE": ("recent_infarction", "old_infarction"),
    # conduction
    "1AVB": ("first_degree_av_block",),
    "LPR": ("first_degree_av_block",),
    "2AVB": ("mobitz_1_av_block", "mobitz_2_av_block"),
    "3AVB": ("third_degree_av_block",),
    "_AVB": tuple(AXES["av_conduction"]),
    "LBBB": ("left_bundle_branch_block",),
    "RBBB": ("right_bundle_branch_block",),
    "ILBBB": ("incomplete_left_bundle_branch_block",),
    "IRBBB": ("incomplete_right_bundle_branch_block",),
    "IVCD": ("intraventricular_conduction_delay",),
    "LAFB": ("left_anterior_fascicular_block",),
    "LPFB": ("left_posterior_fascicular_block",),
    "LAFB/LPFB": tuple(AXES["fascicles"]),
    "WPW": ("wolff_parkinson_white",),
    # chambers
    "LVH": ("left_ventricular_hypertrophy",),
    "VCLVH": ("left_ventricular_hypertrophy",),
    "RVH": ("right_ventricular_hypertrophy",),
    "LAO/LAE": ("left_atrial_enlargement",),
    "RAO/RAE": ("right_atrial_enlargement",),
    # ST segment, T wave, voltage
    "STD": ("st_depression",),
    "STE": ("st_elevation",),
    "ISC_": ("st_depression", "t_inversion"),
    **{f"ISC{wall}": ("st_depression", "t_inversion") for wall in ("A", "I", "AL", "AN", "AS", "IL", "IN", "LA")},
    **{f"INJ{wall}": ("st_depression",) for wall in ("AL", "AS", "IL", "IN", "LA")},
    "INVT": ("t_inversion",),
    "TAB_": ("t_inversion", "t_flattening"),
    "LOWT": ("t_flattening",),
    "NT_": ("t_flattening",),
    "NDT": ("t_flattening",),
    "NST_": ("st_depression", "t_flattening"),
    "LNGQT": ("long_qt",),
    "DIG": ("digitalis_effect",),
    "LVOLT": ("low_voltage",),
    "HVOLT": ("left_ventricular_hypertrophy",),
    # rhythm
    "SR": ("sinus_rhythm",),
    "AFIB": ("atrial_fibrillation",),
    "AFLT": ("atrial_flutter",),
    "SBRAD": ("sinus_bradycardia",),
    "STACH": ("sinus_tachycardia",),
    "SVTAC": ("supraventricular_tachycardia",),
    "PACE": ("ventricular_pacing",),
    "PAC": ("premature_atrial_contraction",),
    "PVC": ("premature_ventricular_contraction",),
    "PRC(S)": _ECTOPY,
    "BIGU": _ECTOPY,
    "TRIGU": _ECTOPY,
    "LAD": ("left_axis_deviation",),
    "RAD": ("right_axis_deviation",),
    "NORMAL": (NONE_OF, *(name for axis, names in AXES.items() if axis != "electrodes" for name in names)),
}
_SAME = {
    "CLBBB": "LBBB",
    "CRBBB": "RBBB",
    "AF": "AFIB",
    "AFL": "AFLT",
    "I-AVB": "1AVB",
    "IAVB": "1AVB",
    "PR": "PACE",
    "SB": "SBRAD",
    "STD_": "STD",
    "STE_": "STE",
    "PSVT": "SVTAC",
    "LQT": "LNGQT",
    "TINV": "INVT",
    "VPB": "PVC",
    "NSR": "SR",
    "NSIVCB": "IVCD",
    "LQRSV": "LVOLT",
    "QAB": "QWAVE",
}
MEANINGS: Mapping[str, Meaning] = {
    **_MEANINGS,
    **{name: _MEANINGS[known] for name, known in _SAME.items()},
    **{name.upper(): (name,) for name in CONDITIONS},
}
"""Of labels in capitals; a condition's own name is one."""


def meanings_of(classes: Iterable[str], given: Mapping[str, Sequence[str]] | None = None) -> dict[str, Meaning]:
    """Return what each class means that is known, by its name, also that before a bar ("AF|164889003").

    Args:
        classes: names of labels.
        given: meanings of one's own, which go first.

    Raises:
        ValueError: a meaning of one's own of something that is no class, or of what is no condition.
    """
    given, classes = dict(given or {}), list(classes)
    if unknown := sorted(set(given) - set(classes)):
        raise ValueError(f"meanings={unknown}: are no labels; choose of {', '.join(classes)}")
    for name, meaning in given.items():
        _, conditions = _parts(meaning)
        if not conditions or set(conditions) - set(CONDITIONS):
            raise ValueError(
                f"meanings.{name}={list(meaning)}: name conditions of simulated hearts, after {NONE_OF} if it is their "
                f"absence: {', '.join(CONDITIONS)}"
            )
    known = {name: MEANINGS.get(name.partition("|")[0].strip().replace(" ", "_").upper()) for name in classes}
    return {name: meaning for name in classes if (meaning := tuple(given.get(name) or known[name] or ()))}


def simulated_labels(conditions: Tensor, classes: Sequence[str], meanings: Mapping[str, Meaning]) -> Tensor:
    """Say what simulated ECGs show in the words of a label table.

    Args:
        conditions: bool [n, C'], which of ``CONDITIONS`` each shows.
        classes: names of labels.
        meanings: of those that have one.

    Returns:
        float32 [n, C]: 1 or 0; NaN for a class without a meaning.
    """
    labels = torch.full((len(conditions), len(classes)), torch.nan)
    for column, name in enumerate(classes):
        if meaning := meanings.get(name):
            absent, names = _parts(meaning)
            shown = conditions[:, [CONDITIONS.index(one) for one in names]].any(1)
            labels[:, column] = (shown != absent).float()
    return labels


def _parts(meaning: Sequence[str]) -> tuple[bool, Sequence[str]]:
    """Return whether a meaning is the absence of conditions, and these."""
    if meaning and meaning[0] == NONE_OF:
        return True, meaning[1:]
    return False, meaning
