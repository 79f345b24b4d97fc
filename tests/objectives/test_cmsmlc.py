from __future__ import annotations

from itertools import combinations

import pytest
import torch
from torch import Tensor, nn

from ssl_ecg.backbones import create_backbone
from ssl_ecg.objectives import create_objective, patient_contrastive_loss


def small(name: str, in_leads: int = 3, **options: object) -> nn.Module:
    torch.manual_seed(0)
    backbone = create_backbone("lead_wise", in_leads=in_leads, single="xresnet1d10", width=4)
    return create_objective(name, backbone, 100.0, projector_width=16, embedding=8, **options)


def batch() -> dict[str, Tensor]:
    signal = torch.randn(5, 3, 100, generator=torch.Generator().manual_seed(1))
    whole = {"recorded": torch.full((5,), 100), "leads": torch.ones(5, 3, dtype=torch.bool)}
    return {"signal": signal, **whole, "patient": torch.tensor([4, 2, 4, 1, 2])}


@pytest.mark.parametrize(("name", "segments"), [("cmlc", 1), ("cmsmlc", 2), ("cmsmlc", 4)])
def test_every_lead_of_every_segment_is_a_view_and_the_loss_the_mean_over_all_pairs(name: str, segments: int) -> None:
    objective = small(name, **({"segments": segments} if name == "cmsmlc" else {})).eval()
    data, length = batch(), 100 // segments
    embeddings = [
        objective.projector(
            objective.backbone.single(data["signal"][:, lead : lead + 1, part * length : (part + 1) * length])
        )
        for part in range(segments)
        for lead in range(3)
    ]
    pairs = [
        patient_contrastive_loss(a, b, data["patient"], reduction="pooled") for a, b in combinations(embeddings, 2)
    ]
    assert len(pairs) == len(embeddings) * (len(embeddings) - 1) // 2
    torch.testing.assert_close(objective(data)["loss"], torch.stack(pairs).mean())


def test_views_come_segment_by_segment_and_lead_by_lead() -> None:
    data = batch()
    views, recorded, leads, patient = small("cmsmlc").views(data)
    assert views.shape == (6, 5, 1, 50)
    assert torch.equal(patient, data["patient"])
    assert torch.equal(recorded, torch.full((6, 5), 50))
    assert leads.shape == (6, 5, 1)
    assert torch.equal(views[4, 2, 0], data["signal"][2, 1, 50:])


@pytest.mark.parametrize("name", ["cmlc", "cmsmlc"])
def test_the_encoder_of_all_leads_learns(name: str) -> None:
    objective, data = small(name), batch()
    before = objective.backbone.eval()(data["signal"])
    objective.train()(data)["loss"].backward()
    parameters = list(objective.backbone.parameters())
    assert all(p.grad is not None for p in parameters)
    torch.optim.SGD(parameters, 0.1).step()
    assert not torch.allclose(objective.backbone.eval()(data["signal"]), before, atol=1e-4)


def test_a_single_view_is_refused() -> None:
    with pytest.raises(ValueError, match="segments=1: with 1 lead there is one view"):
        small("cmlc", in_leads=1)
    one = {**batch(), "signal": batch()["signal"][:, :1], "leads": batch()["leads"][:, :1]}
    assert small("cmsmlc", in_leads=1)(one)["loss"].isfinite()
