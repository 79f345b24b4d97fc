"""What a simulated ECG shows: independent axes of findings, drawn far more evenly than a clinic sees them.

An ECG takes one finding, or none, of each axis, so that a network meets a bundle branch block with and without an
infarction, at every rate and in every noise. What would contradict itself is left out: without P waves there is no AV
block, a wide beat from the ventricles hides the fascicles.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import torch
from torch import Tensor

AXES: Mapping[str, Mapping[str, float]] = {
    "rhythm": {
        "sinus_bradycardia": 0.13,
        "sinus_tachycardia": 0.13,
        "atrial_fibrillation": 0.11,
        "atrial_flutter": 0.06,
        "junctional_rhythm": 0.05,
        "supraventricular_tachycardia": 0.05,
    },
    "av_conduction": {
        "first_degree_av_block": 0.09,
        "mobitz_1_av_block": 0.05,
        "mobitz_2_av_block": 0.05,
        "third_degree_av_block": 0.05,
    },
    "ectopy": {
        "premature_ventricular_contraction": 0.10,
        "premature_atrial_contraction": 0.10,
        "premature_junctional_contraction": 0.03,
    },
    "conduction": {
        "left_bundle_branch_block": 0.08,
        "right_bundle_branch_block": 0.08,
        "incomplete_left_bundle_branch_block": 0.05,
        "incomplete_right_bundle_branch_block": 0.07,
        "intraventricular_conduction_delay": 0.05,
        "wolff_parkinson_white": 0.05,
        "ventricular_pacing": 0.05,
    },
    "fascicles": {"left_anterior_fascicular_block": 0.10, "left_posterior_fascicular_block": 0.05},
    "ventricles": {"left_ventricular_hypertrophy": 0.15, "right_ventricular_hypertrophy": 0.07},
    "atria": {"left_atrial_enlargement": 0.10, "right_atrial_enlargement": 0.08},
    "infarction": {
        "anteroseptal_infarction": 0.06,
        "anterior_infarction": 0.06,
        "lateral_infarction": 0.05,
        "inferior_infarction": 0.09,
        "posterior_infarction": 0.04,
    },
    "repolarisation": {
        "st_elevation": 0.05,
        "st_depression": 0.09,
        "t_inversion": 0.09,
        "t_flattening": 0.07,
        "tall_t": 0.05,
        "long_qt": 0.06,
        "short_qt": 0.04,
        "digitalis_effect": 0.04,
    },
    "voltage": {"low_voltage": 0.06},
    "electrodes": {
        "arms_swapped": 0.02,
        "right_arm_and_leg_swapped": 0.02,
        "left_arm_and_leg_swapped": 0.02,
        "chest_electrodes_swapped": 0.03,
    },
}
"""Axis to finding to its share of all ECGs, before what contradicts itself is left out."""

AGES = ("acute_infarction", "recent_infarction", "old_infarction")
"""Of an infarction, one of these: ST elevation and upright T; Q and inverted T; Q alone."""
DERIVED = ("sinus_rhythm", *AGES, "left_axis_deviation", "right_axis_deviation")
"""Follow from the axes or from what was drawn."""
CONDITIONS = (*(name for axis in AXES.values() for name in axis), *DERIVED)
PLAIN = 0.15
"""Share of ECGs that have nothing but their individual heart, their rate and their noise."""

SINUS = ("sinus_bradycardia", "sinus_tachycardia")
WIDE = ("left_bundle_branch_block", "wolff_parkinson_white", "ventricular_pacing")
"""Beats whose own shape hides what the fascicles do."""


class Plan:
    """What each of B ECGs shall show.

    Attributes:
        chosen: axis to long [B], 0 for nothing, else the finding's place in the axis, counted from 1.
        age: long [B], place of the age of an infarction in ``AGES``.
    """

    def __init__(self, chosen: dict[str, Tensor], age: Tensor) -> None:
        self.chosen, self.age = chosen, age

    def __len__(self) -> int:
        return len(self.age)

    def has(self, *names: str) -> Tensor:
        """Tell which ECGs shall show one of some findings of the axes, bool [B]."""
        shown = torch.zeros_like(self.age, dtype=torch.bool)
        for axis, findings in AXES.items():
            for place, name in enumerate(findings, 1):
                if name in names:
                    shown = shown | (self.chosen[axis] == place)
        return shown

    def any(self, axis: str) -> Tensor:
        """Tell which ECGs have a finding of an axis, bool [B]."""
        return self.chosen[axis] > 0

    def sinus(self) -> Tensor:
        """Tell which ECGs have P waves from the sinus node, bool [B]."""
        return ~self.any("rhythm") | self.has(*SINUS)

    def drop(self, where: Tensor, axis: str, *names: str) -> None:
        """Take findings of an axis, all of them unless named, from some ECGs."""
        gone = where & (self.has(*names) if names else self.any(axis))
        self.chosen[axis] = self.chosen[axis].masked_fill(gone, 0)


def draw_plan(count: int, device: torch.device | str = "cpu", conditions: Collection[str] | None = None) -> Plan:
    """Draw what ``count`` ECGs shall show.

    Args:
        count: of ECGs B.
        device: of the tensors.
        conditions: findings that every ECG shall show, and no others; None: those that chance brings.

    Raises:
        ValueError: a name that cannot be asked for, or two of one axis.
    """
    if conditions is not None:
        return _planned(count, device, conditions)
    chosen = {}
    plain = torch.rand(count, device=device) < PLAIN
    for axis, findings in AXES.items():
        shares = torch.tensor([1 - sum(findings.values()), *findings.values()], device=device)
        chosen[axis] = torch.multinomial(shares, count, replacement=True).masked_fill(plain, 0)
    plan = Plan(chosen, torch.randint(len(AGES), (count,), device=device))

    no_p = ~plan.sinus()
    plan.drop(no_p, "av_conduction")
    plan.drop(no_p, "atria")
    plan.drop(no_p, "ectopy", "premature_atrial_contraction", "premature_junctional_contraction")
    plan.drop(plan.has("atrial_flutter", "supraventricular_tachycardia"), "ectopy")
    plan.drop(plan.has("wolff_parkinson_white", "ventricular_pacing"), "av_conduction")
    plan.drop(plan.has("mobitz_1_av_block", "mobitz_2_av_block", "third_degree_av_block"), "ectopy")
    plan.drop(plan.has("sinus_tachycardia"), "av_conduction", "first_degree_av_block", "third_degree_av_block")
    plan.drop(plan.has(*WIDE, "incomplete_left_bundle_branch_block"), "fascicles")
    plan.drop(plan.has(*WIDE), "ventricles")
    plan.drop(plan.has(*WIDE), "infarction")
    plan.drop(plan.has("low_voltage"), "ventricles")
    plan.drop(plan.any("infarction"), "repolarisation", "st_elevation", "st_depression", "t_inversion", "tall_t")
    return plan


def _planned(count: int, device: torch.device | str, conditions: Collection[str]) -> Plan:
    chosen = {axis: torch.zeros(count, dtype=torch.long, device=device) for axis in AXES}
    wanted = set(conditions)
    for axis, findings in AXES.items():
        if len(here := [name for name in findings if name in wanted]) > 1:
            raise ValueError(f"conditions={here}: an ECG shows one of these at most; choose one")
        for name in here:
            chosen[axis] += list(findings).index(name) + 1
    ages = [place for place, name in enumerate(AGES) if name in wanted]
    if unknown := sorted(wanted - {name for axis in AXES.values() for name in axis} - set(AGES)):
        raise ValueError(f"conditions={unknown}: cannot be asked for; choose from the axes and the ages")
    age = torch.randint(len(AGES), (count,), device=device) if not ages else torch.full((count,), ages[0])
    return Plan(chosen, age.to(device))


def labels(plan: Plan, axis_degrees: Tensor) -> Tensor:
    """Return what each ECG shows, bool [B, C] in the order of ``CONDITIONS``.

    Args:
        plan: what was drawn.
        axis_degrees: mean frontal QRS axis of each ECG [B].
    """
    columns = [plan.has(name) for findings in AXES.values() for name in findings]
    columns.append(~plan.any("rhythm"))
    columns += [plan.any("infarction") & (plan.age == place) for place in range(len(AGES))]
    columns += [(axis_degrees < -30) & (axis_degrees >= -90), (axis_degrees > 90) | (axis_degrees < -150)]
    return torch.stack(columns, 1)
