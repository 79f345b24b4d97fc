from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_ecg.backbones import create_backbone
from ssl_ecg.objectives import create_objective


def small(**options: object) -> nn.Module:
    torch.manual_seed(0)
    backbone = create_backbone("xresnet1d10", in_leads=3, width=4)
    given = {"projector_width": 16, "embedding": 8, "predictor_width": 12, "augment": {}}
    return create_objective("byol", backbone, 100.0, **{**given, **options})


def batch() -> dict[str, Tensor]:
    signal = torch.randn(6, 3, 100, generator=torch.Generator().manual_seed(1))
    whole = {"recorded": torch.full((6,), 100), "leads": torch.ones(6, 3, dtype=torch.bool)}
    return {"signal": signal, **whole, "patient": torch.arange(6)}


def weights(module: nn.Module) -> list[Tensor]:
    return [parameter.detach().clone() for parameter in module.parameters()]


def test_loss_is_the_mean_negative_cosine_of_predictions_and_targets_of_the_other_view() -> None:
    objective, data = small().eval(), batch()
    for parameter in objective.target.parameters():  # as if it had fallen behind
        parameter.data.mul_(0.9)
    first, second = data["signal"][..., :50], data["signal"][..., 50:]

    def half(online: Tensor, other: Tensor) -> Tensor:
        prediction = objective.predictor(objective.projector(objective.backbone(online)))
        target = objective.target["projector"](objective.target["network"](other))
        return -(F.normalize(prediction, dim=1) * F.normalize(target, dim=1)).sum(1).mean()

    torch.testing.assert_close(objective(data)["loss"], (half(first, second) + half(second, first)) / 2)


def test_the_target_follows_in_training_alone_and_receives_no_gradient() -> None:
    objective, data = small(momentum=0.75), batch()
    start = weights(objective.target)
    assert all(torch.equal(a, b) for a, b in zip(start, weights(objective.online), strict=True))
    objective(data)["loss"].backward()
    assert all(p.grad is None and not p.requires_grad for p in objective.target.parameters())
    torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], 0.5).step()
    objective.eval()(data)
    assert all(torch.equal(a, b) for a, b in zip(weights(objective.target), start, strict=True))
    objective.train()(data)
    now = weights(objective.online)
    for target, before, online in zip(weights(objective.target), start, now, strict=True):
        torch.testing.assert_close(target, 0.75 * before + 0.25 * online)
    assert any(not torch.equal(a, b) for a, b in zip(start, now, strict=True))


def test_a_state_dict_holds_the_target_so_that_a_run_goes_on_as_if_nothing_had_been() -> None:
    def step(objective: nn.Module) -> float:
        loss = objective(batch())["loss"]
        objective.zero_grad()
        loss.backward()
        torch.optim.SGD([p for p in objective.parameters() if p.requires_grad], 0.5).step()
        return float(loss.detach())

    objective = small(momentum=0.5)
    for _ in range(3):
        step(objective)
    other = small(momentum=0.5)
    other.load_state_dict({name: value.clone() for name, value in objective.state_dict().items()})
    assert [step(objective) for _ in range(3)] == [step(other) for _ in range(3)]


@pytest.mark.parametrize("momentum", [0.0, 1.0])
def test_momentum_at_its_ends_is_the_network_itself_or_its_start(momentum: float) -> None:
    objective = small(momentum=momentum)
    start = weights(objective.target)
    for parameter in objective.online.parameters():
        parameter.data.add_(0.1)
    objective(batch())
    expected = weights(objective.online) if momentum == 0 else start
    for target, value in zip(weights(objective.target), expected, strict=True):
        torch.testing.assert_close(target, value)


def test_the_target_follows_more_slowly_towards_the_end() -> None:
    for done, expected in ((0.0, 0.8), (0.5, 0.85), (1.0, 0.9)):
        objective, data = small(momentum=0.8, momentum_end=0.9), batch()
        before = weights(objective.target)
        with torch.no_grad():
            for parameter in objective.network.parameters():
                parameter += 1
        after = weights(objective.online)
        objective({**data, "progress": torch.tensor(done)})
        for old, new, moved in zip(before, after, weights(objective.target), strict=True):
            torch.testing.assert_close(moved, expected * old + (1 - expected) * new)
    with pytest.raises(ValueError, match=r"momentum_end=1\.5"):
        small(momentum_end=1.5)
