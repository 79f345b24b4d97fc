from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ssl_ecg.backbones import create_backbone
from ssl_ecg.objectives import create_objective, list_objectives, patient_contrastive_loss
from ssl_ecg.views import adjacent_segments


def batch(size: int = 6, leads: int = 12, samples: int = 200, seed: int = 0) -> dict[str, Tensor]:
    signal = torch.randn(size, leads, samples, generator=torch.Generator().manual_seed(seed))
    whole = {"recorded": torch.full((size,), samples), "leads": torch.ones(size, leads, dtype=torch.bool)}
    return {"signal": signal, **whole, "patient": torch.arange(size) // 2, "row": torch.arange(size)}


def small_cmsc(**options: object) -> nn.Module:
    torch.manual_seed(0)
    backbone = create_backbone("xresnet1d10", in_leads=12, width=8)
    given = {"segments": 2, "temperature": 0.1, "reduction": "clocs", "projector_layers": 2, "augment": {}}
    return create_objective("cmsc", backbone, 100.0, projector_width=16, embedding=8, **{**given, **options})


def test_keeps_the_contract() -> None:
    objective = small_cmsc()
    parts = objective(batch())
    assert set(parts) == {"loss", "alignment", "features"}
    assert parts["loss"].ndim == 0
    assert parts["loss"].requires_grad
    assert parts["alignment"].ndim == 0
    assert -1 <= float(parts["alignment"]) <= 1
    assert parts["features"].shape == (12, objective.backbone.width)
    assert not any(parts[name].requires_grad for name in ("alignment", "features"))
    parts["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())
    assert any(p.grad.abs().max() > 0 for p in objective.backbone.stem.parameters())


def test_without_augmentation_it_is_the_loss_of_the_projected_halves() -> None:
    objective, data = small_cmsc(temperature=0.2, reduction="pooled").eval(), batch()
    first, second = adjacent_segments(data["signal"], data["recorded"])[0]
    views = [objective.projector(objective.backbone(view)) for view in (first, second)]
    expected = patient_contrastive_loss(*views, data["patient"], 0.2, "pooled")
    torch.testing.assert_close(objective(data)["loss"], expected)


@pytest.mark.parametrize("leads", ["joint", "single"])
def test_with_positives_by_record_other_visits_are_negatives(leads: str) -> None:
    torch.manual_seed(0)
    backbone = create_backbone("lead_wise", in_leads=2, single="xresnet1d10", width=4)
    objective = create_objective(
        "cmsc", backbone, 100.0, positives="record", leads=leads, embedding=8, augment={}
    ).eval()
    data = batch(leads=2)
    views = [
        segment.flatten(0, 1)[:, None] if leads == "single" else segment
        for segment in adjacent_segments(data["signal"], data["recorded"])[0]
    ]
    embedded = [objective.projector(objective.network(view)) for view in views]
    # The leads of one recording stay together.
    record = torch.arange(6).repeat_interleave(2) if leads == "single" else torch.arange(6)
    torch.testing.assert_close(objective(data)["loss"], patient_contrastive_loss(*embedded, record, reduction="pooled"))
    objective.positives = "patient"
    visits = objective(data)["loss"]
    torch.testing.assert_close(visits, patient_contrastive_loss(*embedded, record // 2, reduction="pooled"))
    with pytest.raises(ValueError, match="positives='visit': choose one of patient, record"):
        small_cmsc(positives="visit")


def test_views_are_augmented_independently() -> None:
    objective = small_cmsc(augment={"lead_masking": 0.5})
    seen: list[Tensor] = []
    objective.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    objective(batch(size=32))
    kept = (seen[0] != 0).any(2)
    assert not torch.equal(kept[:32], kept[32:])
    assert kept.any(1).all()


def test_more_segments_are_more_views() -> None:
    objective = small_cmsc(segments=4)
    seen: list[Tensor] = []
    objective.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert objective(batch(size=3))["features"].shape == (12, objective.backbone.width)
    assert seen[0].shape == (12, 12, 50)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_loss_stays_float32_under_autocast(precision: torch.dtype) -> None:
    objective, data = small_cmsc(), batch()
    with torch.autocast("cpu", precision):
        parts = objective(data)
    assert parts["loss"].dtype == torch.float32
    parts["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


def test_constant_signals_and_a_single_patient_give_finite_loss_and_gradient() -> None:
    data = batch()
    data["signal"][:] = 0
    data["patient"][:] = 3
    objective = small_cmsc()
    loss = objective(data)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


def test_a_single_record_has_nothing_to_tell_apart() -> None:
    loss = small_cmsc()(batch(size=1))["loss"]
    assert float(loss.detach()) == pytest.approx(0, abs=1e-5)


def test_training_lowers_the_loss() -> None:
    objective, data = small_cmsc(), batch(size=16)
    optimizer = torch.optim.Adam(objective.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        loss = objective(data)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.5


def test_unknown_names_and_options_are_refused() -> None:
    assert "cmsc" in list_objectives()
    backbone = create_backbone("xresnet1d10", width=8)
    with pytest.raises(ValueError, match=r"objective='cmcs'.*cmsc"):
        create_objective("cmcs", backbone, 100.0)
    with pytest.raises(TypeError, match="temprature"):
        create_objective("cmsc", backbone, 100.0, temprature=0.1)
    with pytest.raises(ValueError, match=r"reduction='sum'"):
        create_objective("cmsc", backbone, 100.0, reduction="sum")(batch())
