"""The loss by which a student learns from its teacher, computed by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from ssl_ecg.tasks import create_task
from ssl_ecg.tasks.distillation import DistilSettings, Taught, features_loss, soft_targets_loss

NAN = float("nan")


def cross_entropy(target: float, logit: float) -> float:
    p = 1 / (1 + math.exp(-logit))
    return -target * math.log(p) - (1 - target) * math.log(1 - p)


def test_soft_targets_by_hand() -> None:
    """At T = 2 a teacher's logit of 2 log 3 is a target of 3/4, one of 0 a target of 1/2."""
    teacher = torch.tensor([[2 * math.log(3), 0.0], [NAN, NAN]])
    logits = torch.tensor([[1.0, -2.0], [50.0, 50.0]], requires_grad=True)
    loss = soft_targets_loss(logits, teacher, 2.0)
    wanted = 4 * (cross_entropy(0.75, 0.5) + cross_entropy(0.5, -1.0)) / 2
    assert loss.item() == pytest.approx(wanted, rel=1e-6)
    loss.backward()
    assert logits.grad is not None
    assert torch.equal(logits.grad[1], torch.zeros(2))  # the teacher was not asked
    # d/dz of T^2 CE(q, z / T) = T (sigmoid(z / T) - q), over the two known targets
    assert logits.grad[0, 0].item() == pytest.approx(2 * (1 / (1 + math.exp(-0.5)) - 0.75) / 2, rel=1e-5)


def test_a_student_that_says_what_its_teacher_says_has_no_gradient() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    soft_targets_loss(logits, logits.detach(), 3.0).backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6


def test_features_by_hand() -> None:
    mapped, teacher = torch.tensor([[1.0, 2.0], [9.0, 9.0]]), torch.tensor([[0.0, 4.0], [NAN, NAN]])
    assert features_loss(mapped, teacher).item() == (1 + 4) / 2
    assert features_loss(mapped, torch.full_like(mapped, NAN)).item() == 0


@pytest.fixture
def taught() -> Taught:
    settings = DistilSettings(temperature=2, soft=3, features=0.5)
    return Taught(create_task("arrhythmia", ["AF", "LBBB"]), settings, width=2)


def test_the_whole_loss_by_hand(taught: Taught) -> None:
    labels = np.array([[1, np.nan], [np.nan, np.nan]], np.float32)
    said = np.array([[0, 2], [-2, 4]], np.float32), np.array([[1, -1], [0, 2]], np.float32)
    targets = taught.targets(labels, said)
    assert targets.shape == (2, 2 + 2 + 2)
    assert taught.informative(targets).all()  # a record without labels teaches too
    logits = torch.tensor([[0.5, 1.0, 1.0, 0.0], [0.0, -1.0, 2.0, 0.0]])
    soft = [cross_entropy(1 / (1 + math.exp(-t / 2)), z / 2) for t, z in ((0, 0.5), (2, 1), (-2, 0), (4, -1))]
    wanted = cross_entropy(1, 0.5) + 3 * 4 * sum(soft) / 4 + 0.5 * (0 + 1 + 4 + 4) / 4
    assert taught.loss(logits, torch.from_numpy(targets)).item() == pytest.approx(wanted, rel=1e-6)
    alone = taught.targets(labels, None)  # as validation has them
    assert taught.loss(logits, torch.from_numpy(alone)).item() == pytest.approx(cross_entropy(1, 0.5), rel=1e-6)
    assert taught.informative(alone).tolist() == [True, False]


def test_scores_and_metrics_are_of_the_labels(taught: Taught) -> None:
    logits, labels = torch.randn(20, 4), np.tile(np.array([[0, 1], [1, 0]], np.float32), (10, 1))
    scores = taught.scores(logits)
    assert torch.equal(scores, taught.task.scores(logits[:, :2]))
    found = taught.evaluate(taught.targets(labels, None), scores.numpy())
    assert found == taught.task.evaluate(labels, scores.numpy())
    assert taught.outcomes == ("AF", "LBBB")
    assert np.array_equal(taught.outcome(taught.targets(labels, None)), labels)


@pytest.mark.parametrize("soft", [0.0, 1.0])
def test_a_weight_of_0_asks_for_nothing(soft: float) -> None:
    taught = Taught(create_task("arrhythmia", ["AF"]), DistilSettings(soft=soft, features=0), width=7)
    said = np.ones((3, 1), np.float32), np.ones((3, 7), np.float32)
    targets = taught.targets(np.full((3, 1), np.nan, np.float32), said)
    assert targets.shape == (3, 2)
    assert taught.informative(targets).all() == bool(soft)
    assert taught.head(5).out_features == 1


def test_what_only_the_teacher_was_for_is_taken_from_the_head(taught: Taught) -> None:
    head = taught.head(5)
    nn.init.normal_(head.weight)
    features = torch.randn(3, 5)
    before = head(features)[:, :2]
    assert taught.untaught(head) is taught.task
    torch.testing.assert_close(head(features), before)
    assert head.out_features == 2
