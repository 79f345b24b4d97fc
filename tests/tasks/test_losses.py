from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_ecg.tasks.losses import asymmetric, bce, challenge, focal, positive_weight, sign

LOSSES = {
    "bce": bce,
    "weighted": partial(bce, positive_weight=torch.tensor([1.0, 3.0, 0.5])),
    "focal": focal,
    "asymmetric": asymmetric,
    "asymmetric, both fading": partial(asymmetric, gamma_positive=1.0, gamma_negative=4.0, margin=0.0),
    "sign": sign,
}
each_loss = pytest.mark.parametrize("loss", LOSSES.values(), ids=LOSSES)
Loss = Callable[[Tensor, Tensor], Tensor]


@pytest.fixture
def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    logits = 3 * torch.randn(40, 3, generator=generator)
    return logits, (torch.rand(40, 3, generator=generator) < 0.4).float()


def written_out(of_positive: Callable[[float], float], of_negative: Callable[[float], float]) -> Loss:
    """The mean of a loss given as a formula of the probability, in double precision."""

    def loss(logits: Tensor, targets: Tensor) -> Tensor:
        p = 1 / (1 + np.exp(-logits.double().numpy()))
        pairs = zip(p.ravel(), targets.numpy().ravel(), strict=True)
        return torch.tensor(np.mean([of_positive(q) if y else of_negative(q) for q, y in pairs]), dtype=torch.float32)

    return loss


def test_weighted_cross_entropy_is_torchs(batch: tuple[Tensor, Tensor]) -> None:
    weight = torch.tensor([1.0, 3.0, 0.5])
    torch.testing.assert_close(bce(*batch, weight), nn.BCEWithLogitsLoss(pos_weight=weight)(*batch))
    torch.testing.assert_close(bce(*batch), nn.BCEWithLogitsLoss()(*batch))


def test_a_positive_weighs_the_root_of_negatives_over_positives() -> None:
    nan = torch.nan
    targets = torch.tensor([[1, 0, 1, 0], [0, 1, 1, 0], [0, 1, 1, 0], [0, 1, nan, nan], [0, 1, nan, nan]]).float()
    torch.testing.assert_close(positive_weight(targets), torch.tensor([2.0, 0.5, 1.0, 1.0]))


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.5, 0.7)])
def test_focal_loss_is_torchvisions(batch: tuple[Tensor, Tensor], gamma: float, alpha: float) -> None:
    from torchvision.ops import sigmoid_focal_loss

    expected = sigmoid_focal_loss(*batch, alpha=alpha, gamma=gamma, reduction="mean")
    torch.testing.assert_close(focal(*batch, gamma, alpha), expected)


def test_losses_follow_the_formulas_of_their_papers(batch: tuple[Tensor, Tensor]) -> None:
    expected = written_out(lambda p: -0.25 * (1 - p) ** 2 * np.log(p), lambda p: -0.75 * p**2 * np.log(1 - p))
    torch.testing.assert_close(focal(*batch), expected(*batch))
    for positive, negative, margin in ((0, 4, 0.05), (1, 3, 0.2)):
        expected = written_out(
            lambda p, g=positive: -((1 - p) ** g) * np.log(p),
            lambda p, g=negative, m=margin: -(max(p - m, 0) ** g) * np.log(1 - max(p - m, 0)),
        )
        torch.testing.assert_close(asymmetric(*batch, positive, negative, margin), expected(*batch))
    expected = written_out(
        lambda p: -((1 - 2 * p + p**2) if 1 - p < 0.5 else 1) * np.log(p),
        lambda p: -(p**2 if p < 0.5 else 1) * np.log(1 - p),
    )
    torch.testing.assert_close(sign(*batch), expected(*batch))


def test_the_sign_loss_counts_labels_in_doubt_as_wrong() -> None:
    torch.testing.assert_close(sign(torch.zeros(2, 1), torch.tensor([[0.0], [1.0]])), torch.tensor(2.0).log())


def test_focal_and_asymmetric_without_their_exponents_are_cross_entropy(batch: tuple[Tensor, Tensor]) -> None:
    torch.testing.assert_close(2 * focal(*batch, gamma=0, alpha=0.5), bce(*batch))
    torch.testing.assert_close(asymmetric(*batch, gamma_negative=0, margin=0), bce(*batch))


@each_loss
def test_unknown_labels_give_neither_loss_nor_gradient(loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
    logits, targets = batch
    rows = torch.arange(40) < 25
    half = loss(logits[rows], targets[rows])
    logits = logits.clone().requires_grad_()
    masked = loss(logits, targets.masked_fill(~rows[:, None], torch.nan))
    torch.testing.assert_close(masked, half)
    masked.backward()
    assert logits.grad is not None
    assert (logits.grad[~rows] == 0).all()
    assert logits.grad[rows].any()
    assert float(loss(logits, torch.full_like(targets, torch.nan)).detach()) == 0


@each_loss
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_saturated_logits_give_finite_float32_losses_and_gradients(loss: Loss, dtype: torch.dtype) -> None:
    logits = torch.tensor([[6e4, -6e4, 0.0], [-6e4, 6e4, 200.0]], dtype=dtype, requires_grad=True)
    for targets in (torch.zeros(2, 3), torch.ones(2, 3)):
        value = loss(logits, targets)
        (gradient,) = torch.autograd.grad(value, logits)
        assert value.dtype == torch.float32
        assert value.isfinite()
        assert gradient.isfinite().all()


@each_loss
def test_gradients_are_those_of_finite_differences(loss: Loss, batch: tuple[Tensor, Tensor]) -> None:
    logits, targets = batch[0][:4].clone().requires_grad_(), batch[1][:4]
    (gradient,) = torch.autograd.grad(loss(logits, targets), logits)
    step = 1e-2
    for b, c in np.ndindex(4, 3):
        moved = torch.zeros(4, 3)
        moved[b, c] = step
        slope = (loss(logits + moved, targets) - loss(logits - moved, targets)) / (2 * step)
        assert float(gradient[b, c]) == pytest.approx(float(slope.detach()), abs=2e-4)


def test_the_challenge_loss_adds_what_the_soft_metric_lacks_and_a_pull_to_the_ends() -> None:
    rewards = torch.tensor([[1.0, 0.3], [0.3, 1.0]])  # the first class is the normal one
    p = torch.tensor([[0.2, 0.6]])
    logits, targets = torch.logit(p), torch.tensor([[0.0, 1.0]])
    earned = (0.3 * 0.2 + 0.6) / (1 + 0.2)  # one true, 1.2 true or named
    pull = (0.2 * 0.8 + 0.6 * 0.4) / 2
    expected = bce(logits, targets) + (1 - earned) + 0.5 * pull  # the normal class earns .15: a span of .85 counts as 1
    torch.testing.assert_close(challenge(logits, targets, rewards, [0], sparsity=0.5), expected)
    thrice = challenge(logits.repeat(3, 1), targets.repeat(3, 1), rewards, [0], sparsity=0)
    torch.testing.assert_close(thrice, bce(logits, targets) + 3 * (1 - earned) / (3 * 0.85))
    unknown = torch.tensor([[torch.nan, 1.0]])
    expected = bce(logits, unknown) + (1 - 0.6)
    torch.testing.assert_close(challenge(logits, unknown, rewards, [0], sparsity=0), expected)


def test_where_outputs_are_decisions_the_challenge_loss_lacks_what_the_metric_does() -> None:
    from ssl_ecg.evaluation import challenge_metric

    generator = torch.Generator().manual_seed(0)
    targets, named = (
        (torch.rand(50, 3, generator=generator) < 0.4).float(),
        torch.rand(50, 3, generator=generator) < 0.5,
    )
    rewards = torch.rand(3, 3, generator=generator).fill_diagonal_(1.0)
    logits = 40.0 * named - 20.0
    metric = challenge_metric(targets, named, ["1", "426783006", "3"], rewards)
    found = challenge(logits, targets, rewards, [1], sparsity=0) - bce(logits, targets)
    assert float(found) == pytest.approx(1 - metric, abs=1e-4)
