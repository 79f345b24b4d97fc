"""Labels that prototypes correct, by hand and where a fifth of them is wrong."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits as bce

from ssl_ecg.tasks.label_correction import Correction, corrected_labels, prototypes


def at(*degrees: float) -> torch.Tensor:
    """Features on a circle."""
    angle = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([angle.cos(), angle.sin()], 1)


def test_prototypes_are_dense_and_unlike_each_other() -> None:
    # Five records about 10 degrees, the middle one nearest to all; three about 80; one far from all.
    features = at(0, 8, 10, 12, 20, 78, 80, 82, 200)
    found = prototypes(3 * features, count=3)
    degrees = torch.rad2deg(torch.atan2(found[:, 1], found[:, 0])).round().int().tolist()
    assert degrees[0] in (8, 10)
    assert degrees[1] in (78, 80)
    assert degrees[2] == -160
    assert len(prototypes(features, count=1)) == 1


def test_wrong_labels_are_found_where_features_tell_and_unknown_ones_stay() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (400, 2)).astype(np.float32)
    features = np.concatenate([2 * truth - 1, np.ones((400, 1))], 1) @ rng.normal(size=(3, 32))
    features += 2 * rng.normal(size=features.shape)
    given = np.where(rng.random(truth.shape) < 0.2, 1 - truth, truth)
    given[:20, 0] = np.nan
    found = corrected_labels(features, given)
    assert np.isnan(found[:20, 0]).all()
    wrong = given[20:] != truth[20:]
    assert (found[20:] == truth[20:])[wrong].mean() > 0.9
    assert (found[20:] == truth[20:])[~wrong].mean() > 0.9
    alone = np.zeros((5, 1), np.float32)
    np.testing.assert_array_equal(corrected_labels(features[:5], alone), alone)


def test_corrected_labels_are_believed_from_half_of_the_training_on() -> None:
    rows, targets = np.array([7, 3, 5]), np.array([[1], [0], [1]], np.float32)
    # Too few records for prototypes: what is corrected is what is given.
    correction = Correction(0.6, 4, rows, targets, lambda: np.eye(3), 0)
    assert correction.targets.tolist() == [[0], [1], [1]]
    shares = []
    for _ in range(4):
        correction.update()
        shares.append(correction.share)
    assert shares == pytest.approx([0, 0.3, 0.6, 0.6])
    correction.labels = torch.tensor([[1.0], [0.0], [0.0]])  # of rows 3, 5, 7
    logits, given = torch.tensor([[0.3], [-1.2]]), torch.tensor([[1.0], [0.0]])
    believed = torch.tensor([[0.0], [1.0]])
    expected = 0.4 * bce(logits, given) + 0.6 * bce(logits, believed)
    torch.testing.assert_close(correction.loss(bce, logits, given, torch.tensor([7, 3])), expected)
    again = Correction(0.6, 4, rows, targets, lambda: np.eye(3), 0)
    again.go_on(correction.state())
    assert again.share == correction.share
