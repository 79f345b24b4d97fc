from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_ecg.backbones import create_backbone
from ssl_ecg.tasks.attention import attention_loss, attention_map, label_map, response_maps

NAN = float("nan")


@pytest.fixture
def maps() -> tuple[Tensor, Tensor, Tensor]:
    """Step features [6, 9, 4] of a network that ends in a ReLU, a head [3, 4] and labels [6, 3]."""
    generator = torch.Generator().manual_seed(0)
    steps, weight = torch.randn(6, 9, 4, generator=generator).relu(), torch.randn(3, 4, generator=generator)
    targets = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, NAN], [1, 1, 1], [0, 0, 0], [0, NAN, NAN]])
    return steps, weight, targets


def test_the_loss_is_one_less_the_correlation_of_the_maps(maps: tuple[Tensor, Tensor, Tensor]) -> None:
    steps, weight, targets = (part.double().numpy() for part in maps)
    expected = []
    for record, labels in zip(steps, targets, strict=True):
        if (labels == 1).any():
            reference = np.mean([record @ weight[c] for c in np.flatnonzero(labels == 1)], axis=0)
            expected.append(1 - np.corrcoef(record.mean(axis=1), reference)[0, 1])
    assert len(expected) == 4
    assert float(attention_loss(*maps)) == pytest.approx(np.mean(expected), rel=1e-5)


def test_response_maps_of_mean_pooling_add_up_to_the_logits() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("xresnet1d10", width=8).eval()
    head = torch.nn.Linear(backbone.width, 3)
    signal = torch.randn(2, 12, 500)
    responses = response_maps(backbone.forward_features(signal), head.weight)
    torch.testing.assert_close(responses.mean(2) + head.bias, head(backbone(signal)))


def test_maps_that_agree_cost_nothing_and_opposite_ones_two(maps: tuple[Tensor, Tensor, Tensor]) -> None:
    steps, _, targets = maps
    for sign, expected in ((1.0, 0.0), (-1.0, 2.0)):
        head = torch.full((3, 4), 0.7 * sign)  # every response is the attention, at another scale
        assert float(attention_loss(steps, head, targets)) == pytest.approx(expected, abs=1e-5)


def test_records_without_a_true_class_give_neither_loss_nor_gradient(maps: tuple[Tensor, Tensor, Tensor]) -> None:
    steps, weight, targets = maps
    steps = steps.clone().requires_grad_()
    loss = attention_loss(steps, weight, targets)
    torch.testing.assert_close(loss, attention_loss(steps[:4], weight, targets[:4]))
    (gradient,) = torch.autograd.grad(loss, steps)
    assert (gradient[4:] == 0).all()
    assert gradient[:4].abs().sum((1, 2)).gt(0).all()
    assert float(attention_loss(steps[4:].detach(), weight, targets[4:])) == 0


def test_a_step_along_the_gradient_brings_the_attention_nearer_to_the_labels(
    maps: tuple[Tensor, Tensor, Tensor],
) -> None:
    steps, weight, targets = maps[0].clone().requires_grad_(), maps[1].clone().requires_grad_(), maps[2]
    attention_loss(steps, weight, targets).backward()
    assert weight.grad is None  # the goal is not moved towards the attention
    goal = label_map(response_maps(steps, weight), targets)[:4].detach()

    def correlation(steps: Tensor) -> float:
        return float(np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(attention_map(steps)[:4], goal, strict=True)]))

    with torch.no_grad():
        assert correlation(steps - 0.5 * steps.grad) > correlation(steps) + 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_flat_maps_and_an_untrained_head_are_finite(maps: tuple[Tensor, Tensor, Tensor], dtype: torch.dtype) -> None:
    steps, weight, targets = maps
    for features, head in ((steps, torch.zeros(3, 4)), (torch.ones(6, 9, 4), weight), (steps[:, :1], weight)):
        leaf = features.to(dtype).clone().requires_grad_()
        loss = attention_loss(leaf, head.to(dtype), targets)
        loss.backward()
        assert loss.dtype == torch.float32
        assert float(loss.detach()) == pytest.approx(1)
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


def test_a_head_on_other_features_than_the_steps_is_refused(maps: tuple[Tensor, Tensor, Tensor]) -> None:
    with pytest.raises(ValueError, match=r"steps \(6, 9, 4\), weight \(3, 8\).*pooling"):
        response_maps(maps[0], torch.zeros(3, 8))
