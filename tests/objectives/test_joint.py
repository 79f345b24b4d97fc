from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from ssl_ecg.backbones import create_backbone
from ssl_ecg.objectives import create_objective

SIZES = {"projector_width": 16, "embedding": 8, "augment": {}}


def backbone() -> nn.Module:
    torch.manual_seed(0)
    return create_backbone("xresnet1d10", in_leads=3, width=4)


def small(**weights: float) -> nn.Module:
    parts = {name: {"weight": weight, "options": SIZES} for name, weight in weights.items()}
    return create_objective("joint", backbone(), 100.0, parts=parts)


def batch() -> dict[str, Tensor]:
    signal = torch.randn(6, 3, 100, generator=torch.Generator().manual_seed(1))
    whole = {"recorded": torch.full((6,), 100), "leads": torch.ones(6, 3, dtype=torch.bool)}
    return {"signal": signal, **whole, "patient": torch.arange(6) // 2}


def test_is_the_weighted_sum_of_its_parts_which_it_names() -> None:
    objective, data = small(cmsc=0.5, vicreg=0.02).eval(), batch()
    result = objective(data)
    assert set(result) == {"loss", "cmsc_loss", "cmsc_alignment", "vicreg_loss", "vicreg_alignment", "features"}
    for name in ("cmsc", "vicreg"):
        alone = create_objective(name, objective.backbone, 100.0, **SIZES).eval()
        alone.load_state_dict(objective.parts[name].state_dict())
        assert torch.equal(alone(data)["loss"], result[f"{name}_loss"])
    torch.testing.assert_close(result["loss"], 0.5 * result["cmsc_loss"] + 0.02 * result["vicreg_loss"])
    assert [name for name, value in result.items() if value.requires_grad] == ["loss"]
    assert result["features"].shape == (12, objective.backbone.width)


def test_gradients_of_the_parts_add_up_in_the_one_backbone() -> None:
    objective, data = small(cmsc=0.5, vicreg=0.02).eval(), batch()
    assert all(part.backbone is objective.backbone for part in objective.parts.values())
    objective(data)["loss"].backward()
    together = [p.grad.clone() for p in objective.backbone.parameters()]
    summed = [torch.zeros_like(gradient) for gradient in together]
    for name, weight in objective.weights.items():
        objective.zero_grad()
        objective.parts[name](data)["loss"].backward()
        for total, parameter in zip(summed, objective.backbone.parameters(), strict=True):
            total += weight * parameter.grad
    for one, other in zip(together, summed, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


def test_state_is_restored_and_no_parameter_is_trained_twice() -> None:
    objective, other = small(cmsc=1.0, byol=1.0), small(cmsc=1.0, byol=1.0)
    for parameter in objective.parameters():
        parameter.data.add_(0.01)
    other.load_state_dict(copy.deepcopy(objective.state_dict()))
    assert torch.equal(objective.eval()(batch())["loss"], other.eval()(batch())["loss"])
    parameters = list(objective.parameters())
    assert len(parameters) == len({id(p) for p in parameters})


def test_defaults_of_a_part_are_those_of_its_objective() -> None:
    objective = create_objective("joint", backbone(), 100.0, parts={"cmsc": {}, "simclr": {"options": {}}})
    assert objective.weights == {"cmsc": 1.0, "simclr": 1.0}
    assert objective.parts["cmsc"].projector[-1].out_features == 128
    assert (
        objective.parts["simclr"].augment.strengths == create_objective("simclr", backbone(), 100.0).augment.strengths
    )


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({}, "parts={}: must have at least 1 item"),
        ({"cmcs": {}}, r"parts\.cmcs={}: there is no such objective; did you mean cmsc\?"),
        ({"cmsc": {"wieght": 2}}, r"parts\.cmsc\.wieght=2: there is no such setting; did you mean weight\?"),
        ({"cmsc": None}, r"parts\.cmsc=None: must be"),
        ({"cmsc": {"weight": 0}}, r"parts\.cmsc\.weight=0: must be greater than 0"),
        ({"cmsc": {"options": {"temprature": 1}}}, r"parts\.cmsc\.options\.temprature=1: .*did you mean temperature\?"),
        ({"cmsc": {"weight": float("inf")}}, r"parts\.cmsc\.weight=inf"),
        ({"cmsc": {"weight": float("nan")}}, r"parts\.cmsc\.weight=nan"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(parts: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_objective("joint", backbone(), 100.0, parts=parts)
