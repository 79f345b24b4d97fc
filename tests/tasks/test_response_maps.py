from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_ecg.backbones import create_backbone
from ssl_ecg.tasks.attention import attention_loss, attention_map, label_map, response_maps

NAN = float("nan")


def linear(weight: Tensor) -> nn.Linear:
    head = nn.Linear(weight.shape[1], weight.shape[0])
    head.weight.data = weight
    return head


@pytest.fixture
def maps() -> tuple[Tensor, nn.Linear, Tensor]:
    """Step features [6, 9, 4] of a network that ends in a ReLU, a head for 3 classes and their labels [6, 3]."""
    generator = torch.Generator().manual_seed(0)
    steps, weight = torch.randn(6, 9, 4, generator=generator).relu(), torch.randn(3, 4, generator=generator)
    targets = torch.tensor([[1, 0, 0], [1, 1, 0], [0, 1, NAN], [1, 1, 1], [0, 0, 0], [0, NAN, NAN]])
    return steps, linear(weight), targets


def test_the_loss_is_one_less_the_correlation_of_the_maps(maps: tuple[Tensor, nn.Linear, Tensor]) -> None:
    steps, weight, targets = (part.double().numpy() for part in (maps[0], maps[1].weight.detach(), maps[2]))
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
    responses = response_maps(backbone.forward_features(signal), head)
    torch.testing.assert_close(responses.mean(2) + head.bias, head(backbone(signal)))


def test_maps_that_agree_cost_nothing_and_opposite_ones_two(maps: tuple[Tensor, nn.Linear, Tensor]) -> None:
    steps, _, targets = maps
    for sign, expected in ((1.0, 0.0), (-1.0, 2.0)):
        head = linear(torch.full((3, 4), 0.7 * sign))  # every response is the attention, at another scale
        assert float(attention_loss(steps, head, targets)) == pytest.approx(expected, abs=1e-5)


def test_records_without_a_true_class_give_neither_loss_nor_gradient(maps: tuple[Tensor, nn.Linear, Tensor]) -> None:
    steps, head, targets = maps
    steps = steps.clone().requires_grad_()
    loss = attention_loss(steps, head, targets)
    torch.testing.assert_close(loss, attention_loss(steps[:4], head, targets[:4]))
    (gradient,) = torch.autograd.grad(loss, steps)
    assert (gradient[4:] == 0).all()
    assert gradient[:4].abs().sum((1, 2)).gt(0).all()
    assert float(attention_loss(steps[4:].detach(), head, targets[4:])) == 0


def test_a_step_along_the_gradient_brings_the_attention_nearer_to_the_labels(
    maps: tuple[Tensor, nn.Linear, Tensor],
) -> None:
    steps, head, targets = maps[0].clone().requires_grad_(), *maps[1:]
    attention_loss(steps, head, targets).backward()
    assert head.weight.grad is None  # the goal is not moved towards the attention
    goal = label_map(response_maps(steps, head), targets)[:4].detach()

    def correlation(steps: Tensor) -> float:
        return float(np.mean([np.corrcoef(*pair)[0, 1] for pair in zip(attention_map(steps)[:4], goal, strict=True)]))

    with torch.no_grad():
        assert correlation(steps - 0.5 * steps.grad) > correlation(steps) + 0.01


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_flat_maps_and_an_untrained_head_are_finite(maps: tuple[Tensor, nn.Linear, Tensor], dtype: torch.dtype) -> None:
    steps, head, targets = maps
    for features, used in ((steps, linear(torch.zeros(3, 4))), (torch.ones(6, 9, 4), head), (steps[:, :1], head)):
        leaf = features.to(dtype).clone().requires_grad_()
        loss = attention_loss(leaf, copy.deepcopy(used).to(dtype), targets)
        loss.backward()
        assert loss.dtype == torch.float32
        assert float(loss.detach()) == pytest.approx(1)
        assert leaf.grad is not None
        assert leaf.grad.isfinite().all()


def test_a_head_on_other_features_than_the_steps_is_refused(maps: tuple[Tensor, nn.Linear, Tensor]) -> None:
    for head in (nn.Linear(8, 3), nn.Sequential(maps[1])):
        with pytest.raises(ValueError, match=r"(?s)steps \(6, 9, 4\), head .*linear head.*pooling"):
            response_maps(maps[0], head)
