"""The shape of beats: the wave tables of ``synthetic.morphology``, and what findings do to them, a batch at once."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from ssl_ecg.records.electrodes import DERIVATION
from ssl_ecg.synthetic import morphology
from ssl_ecg.synthetic.morphology import TERMINAL
from ssl_ecg.synthetic.simulator.conditions import AXES, Plan
from ssl_ecg.synthetic.simulator.rendering import BeatWaves
from ssl_ecg.synthetic.simulator.rhythms import Draw, uniform
from ssl_ecg.synthetic.simulator.tables import (
    DELTA,
    ECTOPIC,
    INJURY,
    NECROSIS,
    NOTCH,
    ORDER,
    QRS,
    REPOLARISATION,
    ST,
    TABLES,
    WALLS,
    T,
    U,
)


@dataclass(frozen=True)
class Hearts:
    """B hearts.

    Attributes:
        ventricles: waves of the dominant beat.
        ectopic: waves of beats that start elsewhere in the ventricles.
        atria: waves of the P wave, from its onset.
        early_atria: those of a P wave from outside the sinus node.
        repolarisation: factor on QT [B].
    """

    ventricles: BeatWaves
    ectopic: BeatWaves
    atria: BeatWaves
    early_atria: BeatWaves
    repolarisation: Tensor


def draw_hearts(plan: Plan, escape: Tensor, field: Tensor) -> Hearts:
    """Draw the beats of a batch.

    Durations and voltages are brought into the ranges of the definitions: QRS of a complete block at least 120 ms, of
    an incomplete one 100 to 120 ms (Surawicz et al., AHA/ACCF/HRS, Circulation 2009); hypertrophy by Sokolow & Lyon
    (S V1 + R V5 or V6 from 3.5 mV; R V1 from .7 mV), which no other heart reaches (Hancock et al., ibid. 2009); low
    voltage below .5 mV in every limb lead. Infarctions have Q waves of at least 30 ms and .1 mV in the leads of their
    wall and ST and T by their age (Thygesen et al., Fourth Universal Definition, 2018).

    Args:
        plan: what the B ECGs show.
        escape: bool [B], beats that all start in the ventricles.
        field: what the electrodes see of a unit dipole [B, 9, 3].
    """
    device, count = plan.age.device, len(plan)

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return uniform(low, high, *(shape or (count,)), device=device)

    ventricles = _conducted(plan, escape, draw)
    turn = torch.randn(count, 2, device=device) * torch.tensor([24.0, 14.0], device=device)
    turn[:, 0] += draw(-20, 8)  # from youth to old age
    turn = turn * torch.where(plan.any("fascicles"), 0.35, 1.0)[:, None]  # an axis is what defines these
    qrs_turn, t_turn = rotation(turn), rotation(0.5 * turn + 13 * torch.randn(count, 2, device=device))
    vector = ventricles.vector.clone()
    vector[:, QRS] = vector[:, QRS] @ qrs_turn.mT
    vector[:, REPOLARISATION] = vector[:, REPOLARISATION] @ t_turn.mT
    vector[:, REPOLARISATION] *= torch.exp(0.3 * torch.randn(count, 1, 1, device=device))
    ventricles = _infarcted(plan, replace(ventricles, vector=vector), draw)
    ventricles = _with_voltage(plan, ventricles, field, draw)
    ventricles = _repolarised(plan, ventricles, draw)

    atria = _table(morphology.ATRIAL, count, device)
    ectopic = _arranged(_table(ECTOPIC, count, device))
    wide = rotation(torch.randn(count, 2, device=device) * 70)
    ectopic = _varied(ectopic, 1.3)
    ectopic = replace(ectopic, vector=(1.15 * _gain(count, 0.25, device) * ectopic.vector) @ wide.mT)
    atria = _varied(_enlarged(plan, atria, draw), 1.0)
    p_turn = rotation(torch.randn(count, 2, device=device) * torch.tensor([14.0, 10.0], device=device))
    atria = replace(atria, vector=_gain(count, 0.22, device) * atria.vector @ p_turn.mT)
    # From low in the atria: P points up.
    early = rotation(torch.randn(count, 2, device=device) * 25 + torch.tensor([-120.0, 0.0], device=device))
    return Hearts(
        ventricles,
        ectopic,
        atria,
        replace(atria, vector=atria.vector @ early.mT),
        _qt_factor(plan, draw),
    )


def rotation(degrees: Tensor) -> Tensor:
    """Return rotations [B, 3, 3] of the frontal axis to the feet and the transverse one to the back, degrees [B, 2]."""
    frontal, transverse = torch.deg2rad(degrees).unbind(1)
    zero, one = torch.zeros_like(frontal), torch.ones_like(frontal)
    cos, sin = frontal.cos(), frontal.sin()
    about_z = torch.stack([cos, -sin, zero, sin, cos, zero, zero, zero, one], 1).view(-1, 3, 3)
    cos, sin = transverse.cos(), transverse.sin()
    about_y = torch.stack([cos, zero, -sin, zero, one, zero, sin, zero, cos], 1).view(-1, 3, 3)
    return about_y @ about_z


def _gain(count: int, spread: float, device: torch.device) -> Tensor:
    return torch.exp(spread * torch.randn(count, 1, 1, device=device))


def _table(rows: np.ndarray, count: int, device: torch.device) -> BeatWaves:
    table = torch.tensor(rows, dtype=torch.float32, device=device).expand(count, -1, -1)
    return _waves(table)


def _waves(table: Tensor) -> BeatWaves:
    return BeatWaves(table[..., 0] / 1000, table[..., 1] / 1000, table[..., 2] / 1000, table[..., 3:].clone())


def _arranged(waves: BeatWaves) -> BeatWaves:
    """Put the eight waves of a table [B, 8] at their places among twelve."""
    count, device = len(waves.centre), waves.centre.device
    centre = torch.zeros(count, len(ORDER), device=device)
    rise, fall = torch.full_like(centre, 0.008), torch.full_like(centre, 0.008)
    vector = torch.zeros(count, len(ORDER), 3, device=device)
    for place, wave in enumerate(ORDER):
        if wave is not None:
            centre[:, place], rise[:, place], fall[:, place] = (
                waves.centre[:, wave],
                waves.rise[:, wave],
                waves.fall[:, wave],
            )
            vector[:, place] = waves.vector[:, wave]
    # A U wave behind T, of a tenth of it.
    centre[:, U], rise[:, U], fall[:, U] = centre[:, T] + 0.16, 0.04, 0.05
    vector[:, U] = 0.06 * vector[:, T]
    return BeatWaves(centre, rise, fall, vector)


def _varied(waves: BeatWaves, strength: float) -> BeatWaves:
    """One heart's own version of its waves, as ``morphology.vary`` makes it."""
    noise = strength * torch.randn(*waves.centre.shape, 6, device=waves.centre.device)
    length = waves.vector.norm(dim=2, keepdim=True)
    return BeatWaves(
        waves.centre * (1 + 0.03 * noise[..., 0]),
        waves.rise * torch.exp(0.08 * noise[..., 1]),
        waves.fall * torch.exp(0.08 * noise[..., 1]),
        waves.vector * torch.exp(0.16 * noise[..., 2:3]) + 0.12 * length * noise[..., 3:6],
    )


def _conducted(plan: Plan, escape: Tensor, draw: Draw) -> BeatWaves:
    """Return beats by the way the ventricles are activated, with QRS durations in the range of the finding."""
    device, count = plan.age.device, len(plan)
    tables = torch.stack([torch.tensor(rows, dtype=torch.float32, device=device) for rows in TABLES.values()])
    kinds = list(TABLES)
    kind, share = torch.zeros(count, dtype=torch.long, device=device), torch.ones(count, device=device)

    def take(where: Tensor, name: str, how_much: Tensor | None = None) -> None:
        kind.masked_fill_(where, kinds.index(name))
        if how_much is not None:
            share.copy_(torch.where(where, how_much, share))

    take(plan.has("right_ventricular_hypertrophy"), "right_ventricular_hypertrophy", draw(0.7, 1.15))
    for name in AXES["fascicles"]:
        take(plan.has(name), name, draw(0.95, 1.2))
    fascicle = tables[kind]
    right = plan.has("right_bundle_branch_block", "incomplete_right_bundle_branch_block")
    mixed = plan.any("fascicles") & right
    for name in ("left_bundle_branch_block", "right_bundle_branch_block"):
        take(plan.has(name), name, draw(0.95, 1.05))
    take(plan.has("incomplete_left_bundle_branch_block"), "left_bundle_branch_block", draw(0.3, 0.45))
    take(plan.has("incomplete_right_bundle_branch_block"), "right_bundle_branch_block", draw(0.3, 0.5))
    for name in ("intraventricular_conduction_delay", "ventricular_pacing"):
        take(plan.has(name), name, draw(0.95, 1.05))
    take(escape, "ectopic", draw(0.95, 1.05))
    table = torch.lerp(tables[:1], tables[kind], share[:, None, None])
    # A right block of two fascicles: the first half as the fascicle, the late forces as the right bundle.
    both = table.clone()
    both[:, :TERMINAL] = fascicle[:, :TERMINAL]
    table = torch.where(mixed[:, None, None], both, table)

    waves = _varied(_arranged(_waves(table)), 1.0)
    turn = rotation(torch.randn(count, 2, device=device) * 60)
    waves = replace(waves, vector=torch.where(escape[:, None, None], waves.vector @ turn.mT, waves.vector))
    waves = _preexcited(plan, waves, draw)
    onset, end = waves.of(torch.arange(count, device=device), QRS).span()
    complete = plan.has("left_bundle_branch_block", "right_bundle_branch_block", "intraventricular_conduction_delay")
    wide = plan.has("ventricular_pacing") | escape
    incomplete = plan.has("incomplete_left_bundle_branch_block", "incomplete_right_bundle_branch_block")
    wanted = draw(0.074, 0.100)
    wanted = torch.where(plan.any("fascicles") | plan.any("ventricles"), draw(0.08, 0.112), wanted)
    wanted = torch.where(incomplete, draw(0.102, 0.118), wanted)
    wanted = torch.where(plan.has("wolff_parkinson_white"), draw(0.112, 0.15), wanted)
    wanted = torch.where(complete, draw(0.123, 0.165), wanted)
    wanted = torch.where(plan.has("left_bundle_branch_block"), wanted + 0.01, wanted)
    wanted = torch.where(wide, draw(0.135, 0.19), wanted)
    factor = torch.ones_like(waves.centre)
    factor[:, QRS] = (wanted / (end - onset))[:, None]
    return waves.stretched(factor)


def _preexcited(plan: Plan, waves: BeatWaves, draw: Draw) -> BeatWaves:
    """Add the delta wave of an accessory pathway at the left or the right, and turn T away from it."""
    where = plan.has("wolff_parkinson_white")
    angle, depth = draw(-1.0, 1.0) * math.pi * 0.55, draw(0.2, 0.45)
    delta = torch.stack([angle.cos(), angle.sin(), draw(-0.9, 0.6)], 1) * depth[:, None]
    centre, rise, fall, vector = (part.clone() for part in (waves.centre, waves.rise, waves.fall, waves.vector))
    centre[:, DELTA] = torch.where(where, draw(-0.052, -0.040), centre[:, DELTA])
    rise[:, DELTA] = torch.where(where, draw(0.014, 0.020), rise[:, DELTA])
    fall[:, DELTA] = torch.where(where, draw(0.018, 0.026), fall[:, DELTA])
    vector[:, DELTA] += where[:, None] * delta
    vector[:, T] -= where[:, None] * draw(0.3, 1.2)[:, None] * delta
    return BeatWaves(centre, rise, fall, vector)


def _infarcted(plan: Plan, waves: BeatWaves, draw: Draw) -> BeatWaves:
    """Take away the forces of the dead wall: a Q wave, less R; ST and T by the age of the infarction."""
    infarction = plan.any("infarction")
    walls = torch.tensor([(0.0, 0.0, 0.0), *WALLS.values()], device=plan.age.device)
    wall = walls[plan.chosen["infarction"]]
    wall = wall + infarction[:, None] * 0.15 * torch.randn_like(wall)
    acute, recent = (plan.age == age for age in range(2))
    size = draw(0.5, 1.2)
    centre, rise, fall, vector = (part.clone() for part in (waves.centre, waves.rise, waves.fall, waves.vector))
    # The waves of QRS that point to the dead wall lose up to their whole component there.
    towards = (vector[:, :TERMINAL] * wall[:, None]).sum(2).clamp(min=0)
    lost = torch.where(acute, draw(0.1, 0.6), draw(0.4, 0.9))[:, None] * towards
    vector[:, :TERMINAL] -= lost[..., None] * wall[:, None]
    depth = torch.where(acute, draw(0.05, 0.5), draw(0.3, 0.75)) * size
    centre[:, NECROSIS] = torch.where(infarction, draw(-0.022, -0.012), centre[:, NECROSIS])
    rise[:, NECROSIS] = torch.where(infarction, draw(0.008, 0.011), rise[:, NECROSIS])
    fall[:, NECROSIS] = torch.where(infarction, draw(0.010, 0.014), fall[:, NECROSIS])
    vector[:, NECROSIS] -= depth[:, None] * wall
    injury = torch.where(acute, draw(0.10, 0.38), torch.where(recent, draw(0.0, 0.10), draw(-0.01, 0.03))) * size
    vector[:, INJURY] += injury[:, None] * wall
    upright, inverted, flat = draw(0.1, 0.5), -draw(0.4, 0.9), -draw(0.0, 0.3)
    t = torch.where(acute, upright, torch.where(recent, inverted, flat))
    vector[:, T] += (t * size)[:, None] * wall
    return BeatWaves(centre, rise, fall, vector)


def _with_voltage(plan: Plan, waves: BeatWaves, field: Tensor, draw: Draw) -> BeatWaves:
    """Scale QRS to the voltage that the finding is defined by, and others out of its range."""
    device, count = plan.age.device, len(plan)
    left, right = plan.has("left_ventricular_hypertrophy"), plan.has("right_ventricular_hypertrophy")
    low = plan.has("low_voltage")
    vector = waves.vector.clone()
    more = 1 + left[:, None, None] * torch.tensor([0.0, 0.2, 0.5, 0.45, 0.2, 0, 0, 0], device=device)[None, :, None]
    vector[:, QRS] *= more * _gain(count, 0.22, device)
    strain = (left & (draw(0, 1) < 0.55))[:, None] * draw(0.5, 1.2)[:, None]
    vector[:, ST] += strain * torch.tensor([-0.11, -0.04, 0.06], device=device)
    vector[:, T] += strain * torch.tensor([-0.58, -0.24, -0.06], device=device)
    qrs = replace(waves, vector=vector).of(torch.arange(count, device=device), QRS)
    clock = torch.linspace(-0.12, 0.2, 81, device=device)
    derivation = torch.tensor(DERIVATION, dtype=torch.float32, device=device)
    lead = derivation @ field @ qrs.at(clock)  # [B, 12, n]
    highest, lowest = lead.amax(2).clamp(min=0), lead.amin(2).clamp(max=0)
    sokolow = -lowest[:, 6] + highest[:, 10:].amax(1)
    limb = (highest - lowest)[:, :6].amax(1)
    factor = torch.where(left, draw(3.55, 5.2) / sokolow, (3.3 / sokolow).clamp(max=1))
    factor = torch.where(right, draw(0.72, 1.6) / highest[:, 6].clamp(min=0.15), factor).clamp(0.3, 2.5)
    factor = torch.where(low, draw(0.2, 0.48) / limb, torch.maximum(factor, 0.55 / limb))
    vector[:, QRS] *= factor[:, None, None]
    vector[:, REPOLARISATION] *= torch.where(low, draw(0.4, 0.9), 1.0)[:, None, None]
    return replace(waves, vector=vector)


def _repolarised(plan: Plan, waves: BeatWaves, draw: Draw) -> BeatWaves:
    """Move ST and T as the finding does."""
    device, count = plan.age.device, len(plan)
    vector, rise, fall = waves.vector.clone(), waves.rise.clone(), waves.fall.clone()
    centre = waves.centre.clone()
    t = vector[:, T]
    # Injury of a wall without necrosis, or of all the pericardium and the early repolarised apex, along T.
    seen = torch.tensor([wall for name, wall in WALLS.items() if name != "posterior_infarction"], device=device)
    walls = seen[torch.randint(len(seen), (count,), device=device)]
    everywhere = torch.nn.functional.normalize(t, dim=1)
    elevated = plan.has("st_elevation")
    direction = torch.where((draw(0, 1) < 0.5)[:, None], walls, everywhere)
    current = (elevated * draw(0.12, 0.35))[:, None] * direction
    notch = elevated & (draw(0, 1) < 0.4)
    centre[:, NOTCH] = torch.where(notch, 0.055, centre[:, NOTCH])
    vector[:, NOTCH] += (notch * draw(0.1, 0.3))[:, None] * everywhere
    # The subendocardium of the left ventricle: away from its apex.
    apex = torch.tensor([0.80, 0.45, -0.25], device=device) + 0.25 * torch.randn(count, 3, device=device)
    depressed = plan.has("st_depression")
    current -= (depressed * draw(0.09, 0.28))[:, None] * apex
    t_with_it = torch.where(depressed & (draw(0, 1) < 0.5), draw(0.3, 0.9), 0.0)
    sagging = plan.has("digitalis_effect")
    current -= (sagging * draw(0.06, 0.16))[:, None] * apex
    rise[:, INJURY] = torch.where(sagging, rise[:, INJURY] * 2.2, rise[:, INJURY])
    centre[:, INJURY] = torch.where(sagging, centre[:, INJURY] + 0.06, centre[:, INJURY])
    vector[:, INJURY] += current
    t = t + torch.where(elevated, draw(0.2, 0.9), 0.0)[:, None] * current - t_with_it[:, None] * apex * 0.35

    inverted = plan.has("t_inversion")
    region = torch.nn.functional.normalize(torch.where((draw(0, 1) < 0.5)[:, None], walls, apex), dim=1)
    along = (t * region).sum(1, keepdim=True).clamp(min=0.05)
    t = t - inverted[:, None] * (along + draw(0.12, 0.6)[:, None]) * region
    factor = torch.where(plan.has("t_flattening"), draw(0.05, 0.3), torch.where(sagging, draw(0.3, 0.7), 1.0))
    tall = plan.has("tall_t")
    factor = torch.where(tall, draw(1.8, 3.0), factor)
    narrow = torch.where(tall, draw(0.55, 0.85), 1.0)
    rise[:, T], fall[:, T] = rise[:, T] * narrow, fall[:, T] * narrow
    vector[:, T] = t * factor[:, None]
    return BeatWaves(centre, rise, fall, vector)


def _enlarged(plan: Plan, atria: BeatWaves, draw: Draw) -> BeatWaves:
    """Delay and turn back the left atrium (P from 120 ms, negative in V1), heighten the right (P from .25 mV in II)."""
    left, right = plan.has("left_atrial_enlargement"), plan.has("right_atrial_enlargement")
    centre, vector, fall = atria.centre.clone(), atria.vector.clone(), atria.fall.clone()
    centre[:, 1] += left * draw(0.024, 0.045)
    fall[:, 1] *= 1 + 0.15 * left
    vector[:, 1] += left[:, None] * torch.stack([draw(0.0, 0.04), draw(-0.01, 0.02), draw(0.05, 0.11)], 1)
    vector[:, 0] *= 1 + right[:, None] * draw(0.9, 1.8)[:, None]
    return BeatWaves(centre, atria.rise, fall, vector)


def _qt_factor(plan: Plan, draw: Draw) -> Tensor:
    """Return the factor on QT: of most 10 % either way, long QT +20 to +45 %, short QT -25 to -15 %."""
    factor = draw(0.92, 1.07)
    factor = torch.where(plan.has("long_qt"), draw(1.2, 1.42), factor)
    factor = torch.where(plan.has("short_qt"), draw(0.74, 0.84), factor)
    return torch.where(plan.has("digitalis_effect"), draw(0.82, 0.94), factor)
