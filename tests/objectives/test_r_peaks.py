from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_ecg.backbones import create_backbone
from ssl_ecg.objectives import create_objective
from ssl_ecg.objectives.r_peaks import stretches

BACKBONES = {
    "xresnet1d10": ({"width": 4}, 7),  # a step of 320 ms has seven stretches of 46 ms
    "s4d": ({"width": 8, "depth": 1}, 1),
    "cpc": ({"width": 8}, 2),
    "vit1d": ({"width": 12, "depth": 1, "samples": 500}, 2),
    "lead_wise": ({"single": "xresnet1d10", "width": 4}, 7),
    "bimodal_vit": ({"width": 12, "depth": 1, "joint_depth": 1, "samples": 500}, 2),
}


def small(name: str = "cpc", **options: object) -> nn.Module:
    torch.manual_seed(0)
    return create_objective("r_peaks", create_backbone(name, in_leads=3, **BACKBONES[name][0]), 100.0, **options)


def batch(size: int = 4) -> dict[str, Tensor]:
    time = torch.arange(500) / 100
    start = torch.linspace(0.2, 0.6, size)[:, None]
    signal = sum(torch.exp(-0.5 * ((time - start - beat * 0.8) / 0.015) ** 2) for beat in range(6))
    return {"signal": signal[:, None].repeat(1, 3, 1)}


def test_a_beat_is_in_the_stretches_whose_centres_are_within_25_ms() -> None:
    beats = torch.zeros(2, 60, dtype=torch.bool)
    beats[0, [0, 17, 59]] = beats[1, 30] = True
    times, length, outputs = torch.tensor([0.0, 20.0, 40.0, math.nan]), 20.0, 4
    target, counted = stretches(beats, times, length, outputs, 100.0, torch.tensor([60, 43]))
    for record, count in enumerate((60, 43)):
        for step, time in enumerate(times.tolist()):
            for part in range(outputs):
                centre = time + length * ((part + 0.5) / outputs - 0.5)
                inside = -0.5 <= centre < count - 0.5
                assert bool(counted[record, step, part]) == inside
                if inside:
                    near = any(abs(place - centre) <= 2.5 for place in np.flatnonzero(beats[record]))
                    assert bool(target[record, step, part]) == near


@pytest.mark.parametrize("name", BACKBONES)
def test_every_beat_is_in_a_stretch_of_any_network_with_steps(name: str) -> None:
    objective = small(name)
    assert objective.outputs == BACKBONES[name][1]
    parts = objective(batch())
    parts["loss"].backward()
    assert parts["loss"].isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.head.parameters())
    assert set(parts) == {"loss", "beat", "no_beat", "features"}
    assert parts["features"].shape == (4, objective.backbone.width)
    beats = torch.zeros(1, 500, dtype=torch.bool)
    beats[0, 100:400:37] = True
    times = objective.backbone.step_times(500, objective.backbone.forward_features(torch.zeros(1, 3, 500)).shape[1])
    target, _ = stretches(beats, times, objective.length, objective.outputs, 100.0)
    assert int(target.sum()) >= int(beats.sum()) * objective.backbone.rows


def test_what_was_not_recorded_costs_nothing() -> None:
    losses = []
    for level in (0.0, 50.0):
        data, objective = batch(), small().eval()
        data["recorded"] = torch.tensor([500, 400, 240, 16])
        for record, count in enumerate(data["recorded"].tolist()):
            data["signal"][record, :, count:] = level
        losses.append(objective(data)["loss"])
    torch.testing.assert_close(*losses)


@pytest.mark.slow
def test_it_learns_where_beats_are() -> None:
    objective = small("xresnet1d10")
    data = batch(16)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-2)
    for _ in range(80):
        parts = objective(data)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
    assert float(parts["beat"]) > 0.7
    assert float(parts["no_beat"]) < 0.1


def test_beside_another_objective_through_joint() -> None:
    backbone = create_backbone("xresnet1d10", in_leads=3, width=4)
    parts = {"cmsc": {"options": {"embedding": 8}}, "r_peaks": {"weight": 0.5}}
    data = {**batch(), "patient": torch.arange(4), "row": torch.arange(4)}
    result = create_objective("joint", backbone, 100.0, parts=parts)(data)
    torch.testing.assert_close(result["loss"].detach(), result["cmsc_loss"] + 0.5 * result["r_peaks_loss"])


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"backbone=Clocs: a step is 2\.2 s long.*at most a second"):
        create_objective("r_peaks", create_backbone("clocs", in_leads=3), 100.0)
    with pytest.raises(ValueError, match=r"augment\.time_warp: moves the beats"):
        small(augment={"time_warp": 0.1, "gaussian_noise": 0.1})
