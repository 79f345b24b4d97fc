from __future__ import annotations

import pytest
import torch
from torch import Tensor

from ssl_ecg.backbones import Encoder, create_backbone
from ssl_ecg.objectives import create_objective
from ssl_ecg.objectives.simulation import masked_huber, measurements, wave_targets
from ssl_ecg.signals import SignalSettings
from ssl_ecg.synthetic.simulator import AMPLITUDES, simulate

SETTINGS = SignalSettings(duration=3, min_duration=3)
NETWORKS = {
    "xresnet1d10": {"width": 4},
    "mobilenet1d": {},
    "s4d": {},
    "vit1d": {"samples": 300},
    "bimodal_vit": {"samples": 300},
    "cpc": {},
    "clocs": {},
    "lead_wise": {"single": "xresnet1d10", "width": 4},
}


def batch(rows: int = 4, leads: int = 12, samples: int = 300) -> dict[str, Tensor]:
    return {"signal": torch.zeros(rows, leads, samples)}


@pytest.mark.parametrize("name", NETWORKS)
def test_works_with_every_kind_of_network(name: str) -> None:
    torch.manual_seed(0)
    backbone = Encoder(name, NETWORKS[name], SETTINGS).backbone
    objective = create_objective("simulation", backbone, 100.0)
    result = objective.train()(batch())
    assert result["features"].shape == (4, backbone.width)
    result["loss"].backward()
    gradients = [parameter.grad for parameter in objective.parameters() if parameter.grad is not None]
    assert all(bool(gradient.isfinite().all()) for gradient in gradients)
    assert all(bool(head.weight.grad.any()) for head in (objective.conditions, objective.measure, objective.waves))


def test_part_of_a_joint_objective() -> None:
    backbone = Encoder("xresnet1d10", {"width": 4}, SETTINGS).backbone
    joint = create_objective("joint", backbone, 100.0, parts={"cmsc": {}, "simulation": {"weight": 0.5}})
    real = {**batch(), "signal": torch.randn(4, 12, 300), "patient": torch.arange(4), "row": torch.arange(4)}
    assert {"cmsc_loss", "simulation_loss", "simulation_waves"} <= set(joint.train()(real))


def test_the_signals_of_the_archive_are_not_looked_at() -> None:
    objective = create_objective("simulation", Encoder("xresnet1d10", {"width": 4}, SETTINGS).backbone, 100.0).eval()
    losses = []
    for signal in (torch.zeros(4, 12, 300), torch.full((4, 12, 300), torch.nan)):
        torch.manual_seed(3)
        losses.append(objective({"signal": signal})["loss"])
    assert torch.equal(*losses)
    torch.manual_seed(4)
    assert not torch.equal(losses[0], objective(batch())["loss"])


def test_construction_leaves_the_stream_of_chance_as_it_was() -> None:
    """The heads draw their weights; the ECGs that say how to standardise have a seed of their own."""
    backbone = Encoder("xresnet1d10", {"width": 4}, SETTINGS).backbone
    torch.manual_seed(1)
    one = create_objective("simulation", backbone, 100.0)
    torch.manual_seed(2)
    other = create_objective("simulation", backbone, 100.0)
    assert torch.equal(one.mean, other.mean)
    assert not torch.equal(one.measure.weight, other.measure.weight)


def test_a_network_of_unnamed_leads_is_refused() -> None:
    with pytest.raises(ValueError, match="in_leads=3"):
        create_objective("simulation", create_backbone("xresnet1d10", in_leads=3, width=4), 100.0)


@pytest.mark.parametrize("how", ["lead", "record", "none"])
def test_amplitudes_are_in_the_unit_that_the_network_sees(how: str) -> None:
    torch.manual_seed(0)
    ecgs = simulate(3)
    told = measurements(ecgs, how)[:, : 12 * len(AMPLITUDES)].unflatten(1, (12, -1))
    for record in range(3):
        for lead in range(12):
            heart = ecgs.signal[record] if how == "record" else ecgs.signal[record, lead]
            scale = 1.0 if how == "none" else float(heart.std())
            torch.testing.assert_close(told[record, lead] * scale, ecgs.amplitudes[record, lead], rtol=1e-3, atol=1e-4)


def test_what_is_not_there_counts_for_nothing() -> None:
    true = torch.tensor([[1.0, torch.nan], [torch.nan, 3.0]])
    told = torch.tensor([[1.5, 9.0], [9.0, 5.0]], requires_grad=True)
    loss = masked_huber(told, true)
    assert loss.item() == pytest.approx((0.5 * 0.25 + 1.5) / 2)
    loss.backward()
    assert told.grad is not None
    assert told.grad[0, 1] == told.grad[1, 0] == 0
    assert masked_huber(told, torch.full_like(true, torch.nan)).item() == 0


def test_waves_fall_into_parts_of_steps() -> None:
    """Four steps of 10 samples around 5, 15, 25, 35, each of two parts."""
    events = torch.tensor([[[3.0, 17.0, 39.2], [torch.nan, 0.0, 40.5]]])
    target = wave_targets(events, torch.tensor([5.0, 15.0, 25.0, 35.0]), parts=2)
    assert target.shape == (1, 4, 2, 2)
    assert torch.nonzero(target).tolist() == [[0, 0, 0, 0], [0, 0, 1, 0], [0, 1, 0, 1], [0, 3, 0, 1]]
    alone = wave_targets(events, torch.tensor([19.5]), parts=4)
    assert torch.nonzero(alone)[:, 2:].tolist() == [[0, 0], [0, 1], [0, 3], [1, 0]]


@pytest.mark.slow
def test_learns_what_ecgs_show_and_where_waves_are() -> None:
    torch.manual_seed(0)
    objective = create_objective("simulation", Encoder("xresnet1d10", {"width": 8}, SETTINGS).backbone, 100.0)
    optimizer = torch.optim.AdamW(objective.parameters(), lr=5e-3)
    results = []
    for _ in range(60):
        results.append(objective.train()(batch(64)))
        optimizer.zero_grad()
        results[-1]["loss"].backward()
        optimizer.step()
    for part, share in (("conditions", 0.5), ("measurements", 0.9), ("waves", 0.5)):
        assert sum(r[part] for r in results[-5:]) < share * sum(r[part] for r in results[:5]), part
