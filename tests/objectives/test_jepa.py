from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_ecg.backbones import create_backbone
from ssl_ecg.objectives import create_objective
from ssl_ecg.objectives.jepa import JEPA


def small(**options: object) -> JEPA:
    torch.manual_seed(0)
    backbone = create_backbone("vit1d", in_leads=3, width=12, depth=2, samples=200, drop_path=0.1)
    objective = create_objective("jepa", backbone, 100.0, **{"predictor_width": 12, "predictor_depth": 1, **options})
    assert isinstance(objective, JEPA)
    return objective


def batch(size: int = 4, samples: int = 200) -> dict[str, Tensor]:
    return {"signal": torch.randn(size, 3, samples, generator=torch.Generator().manual_seed(1))}


def seeded(objective: JEPA, seed: int = 3) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    return objective(batch())


def test_keeps_the_contract_and_trains_all_but_the_teacher() -> None:
    objective = small()
    parts = seeded(objective)
    assert set(parts) == {"loss", "target_deviation", "features"}
    assert parts["loss"].shape == parts["target_deviation"].shape == ()
    assert parts["features"].shape == (4, 12)
    parts["loss"].backward()
    without = [n for n, p in objective.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert without == [f"teacher.{name}" for name, _ in objective.backbone.named_parameters()]


def test_loss_is_smooth_l1_to_the_teachers_features_at_hidden_patches() -> None:
    objective = small().eval()
    with torch.no_grad():
        for parameter in objective.teacher.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    seen: list[tuple[Tensor, Tensor]] = []
    objective.predictor.register_forward_hook(lambda _, inputs, output: seen.append((inputs[2].masked, output)))
    loss = seeded(objective)["loss"]
    (masked, prediction), expected = seen[0], []
    target = objective.teacher.forward_features(batch()["signal"])
    for record in range(4):
        for position in masked[record].nonzero()[:, 0]:
            t = target[record, position]
            difference = prediction[record, position] - (t - t.mean()) / (t.var(correction=0) + 1e-5).sqrt()
            small_one = difference.abs() < 1
            expected.append(torch.where(small_one, difference**2 / 2, difference.abs() - 0.5).mean())
    torch.testing.assert_close(loss, torch.stack(expected).mean())


def test_the_student_sees_visible_patches_the_teacher_all() -> None:
    objective = small(ratio=0.75)
    seen: list[int] = []
    for network in (objective.backbone, objective.teacher):
        network.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    seeded(objective)
    assert seen == [5, 20]


def test_the_teacher_follows_in_training_and_stays_in_validation() -> None:
    objective = small(momentum=0.9)
    before = copy.deepcopy(objective.teacher)
    with torch.no_grad():
        for parameter in objective.backbone.parameters():
            parameter.add_(torch.randn_like(parameter))
    seeded(objective.eval())
    for parameter, old in zip(objective.teacher.parameters(), before.parameters(), strict=True):
        assert torch.equal(parameter, old)
    seeded(objective.train())
    pairs = zip(objective.teacher.parameters(), before.parameters(), objective.backbone.parameters(), strict=True)
    for parameter, old, student in pairs:
        torch.testing.assert_close(parameter, 0.9 * old + 0.1 * student)


def test_targets_are_without_gradient_and_without_stochastic_depth() -> None:
    objective = small().train()
    signal = batch()["signal"]
    targets = objective.targets({"signal": signal})
    assert not targets.requires_grad
    assert torch.equal(targets, objective.targets({"signal": signal}))
    torch.testing.assert_close(targets.mean(2), torch.zeros(4, 20), atol=1e-5, rtol=0)
    torch.testing.assert_close(targets, F.layer_norm(objective.backbone.eval().forward_features(signal), (12,)))


def test_target_deviation_is_zero_where_the_teacher_has_collapsed() -> None:
    objective = small().eval()
    assert seeded(objective)["target_deviation"] > 0.1
    with torch.no_grad():
        objective.teacher.norm.weight.zero_()
        objective.teacher.norm.bias.copy_(torch.randn(12))
    assert seeded(objective)["target_deviation"] < 1e-5


def test_the_seed_decides() -> None:
    objective = small().eval()
    losses = [seeded(objective, seed)["loss"].item() for seed in (1, 1, 2)]
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_agrees_with_float32(dtype: torch.dtype) -> None:
    objective = small().eval()
    exact = seeded(objective)["loss"]
    with torch.autocast("cpu", dtype):
        loss = seeded(objective)["loss"]
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=0.02, atol=0)


@pytest.mark.slow
def test_learns_to_predict_a_fixed_teacher() -> None:
    objective = small(momentum=1.0)
    optimizer = torch.optim.AdamW([p for p in objective.parameters() if p.requires_grad], lr=5e-3)
    losses = []
    for _ in range(150):
        loss = seeded(objective)["loss"]  # the same blocks every time
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.3
    assert losses[-1] < 0.15


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"backbone=XResNet1d.*backbone=vit1d"):
        create_objective("jepa", create_backbone("xresnet1d10", width=4), 100.0)
    with pytest.raises(ValueError, match=r"backbone=ViT1d: jepa hides patches of all leads.*backbone=vit1d"):
        create_objective("jepa", create_backbone("vit1d_lead", width=12, depth=1), 100.0)
    with pytest.raises(ValueError, match="momentum=2"):
        small(momentum=2)
    with pytest.raises(ValueError, match="momentum_end=-1"):
        small(momentum_end=-1)
    with pytest.raises(ValueError, match="ratio=1"):
        small(ratio=1.0)
    with pytest.raises(ValueError, match=r"blocks=9: .*8 of 20 tokens"):
        small(ratio=0.4, blocks=9)(batch())
