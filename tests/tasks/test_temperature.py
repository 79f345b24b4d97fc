"""Temperatures against a grid, and against what a model then says."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ssl_ecg.backbones import Encoder
from ssl_ecg.evaluation import coverage
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import Classifier, create_task, load_model, save_classifier
from ssl_ecg.tasks.temperature import fit_temperature, temper, temperature_table, tempered

SIGNAL = SignalSettings(duration=5, min_duration=4)


def overconfident() -> tuple[np.ndarray, np.ndarray]:
    """Logits [n, 2] that are 3 and 1.5 times what labels say, some labels unknown."""
    rng = np.random.default_rng(0)
    true = rng.normal(size=(4000, 2)) * 2
    labels = (rng.random((4000, 2)) < 1 / (1 + np.exp(-true))).astype(np.float64)
    labels[:500, 0] = np.nan
    return true * (3, 1.5), labels


def entropy(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(np.nanmean(np.logaddexp(0, logits) - labels * logits))


def test_the_temperature_of_each_label_and_of_all() -> None:
    logits, labels = overconfident()
    each = fit_temperature(logits, labels, "label")
    assert each == pytest.approx([3, 1.5], rel=0.1)
    grid = np.exp(np.linspace(np.log(0.5), np.log(5), 400))
    for c in range(2):
        tried = [entropy(logits[:, c] / t, labels[:, c]) for t in grid]
        assert grid[np.argmin(tried)] == pytest.approx(each[c], rel=0.01)
    one = fit_temperature(logits, labels, "one")
    known = ~np.isnan(labels)
    tried = [entropy(logits[known] / t, labels[known]) for t in grid]
    assert one == pytest.approx([grid[np.argmin(tried)]] * 2, rel=0.01)
    assert fit_temperature(logits, np.zeros_like(labels), "label").tolist() == [1, 1]


def test_coverage_by_hand() -> None:
    labels = np.array([[1, 1], [0, 0], [1, np.nan], [0, 1], [1, np.nan]], float)
    scores = np.array([[0.95, 0.5], [0.92, 0.05], [0.3, 0.99], [0.1, 0.02], [0.05, 0.5]])
    covered, sure = coverage(labels, scores)
    assert covered.tolist() == pytest.approx([3 / 5, 2 / 3])
    assert sure.tolist() == pytest.approx([4 / 5, 2 / 3])
    assert np.isnan(coverage(np.full((2, 1), np.nan), np.full((2, 1), 0.5))).all()
    with pytest.raises(ValueError, match=r"level=0\.5: must be above"):
        coverage(labels, scores, 0.5)


def test_a_model_says_its_logits_over_the_temperature(tmp_path: Path) -> None:
    torch.manual_seed(0)
    for head in ("linear", "hidden"):
        model = Classifier(
            Encoder("xresnet1d10", {"width": 4}, SIGNAL), create_task("arrhythmia", ("a", "b")), None, head
        )
        nn.init.normal_(list(model.eval().head.modules())[-1].weight, std=5)
        signal = torch.randn(40, 12, 500)
        before, labels = model.predict(signal), (torch.rand(40, 2) < 0.5).float().numpy()
        temperature = temper(model, labels, before, "label")
        assert (np.abs(np.log(temperature)) > 0.1).all()
        after = load_model(save_classifier(model, tmp_path / head, "card")).predict(signal)
        wanted = 1 / (1 + (1 / before.astype(float) - 1) ** (1 / temperature))
        np.testing.assert_allclose(after, wanted, atol=1e-5)
        np.testing.assert_allclose(tempered(model.task, before, temperature), wanted, atol=1e-5)


def test_what_it_did_is_told_of_each_class() -> None:
    logits, labels = overconfident()
    task, before = create_task("arrhythmia", ("a", "b")), 1 / (1 + np.exp(-logits))
    temperature = fit_temperature(logits, labels, "label")
    table = temperature_table(task, temperature, labels, tempered(task, before, temperature))
    assert (table["calibration_error"] < table["calibration_error_before"]).all()
    assert (table["covered_before"] < 0.97).all()
    assert (table["covered"] > table["covered_before"]).all()
    assert (table["sure"] < table["sure_before"]).all()
    assert table["calibration_error"].max() < 0.03


def test_what_has_no_logit_per_class_is_refused() -> None:
    model = Classifier(Encoder("xresnet1d10", {"width": 4}, SIGNAL), create_task("af_survival", None, bins=2))
    with pytest.raises(ValueError, match="temperature='one': task 'af_survival' or its head has no logit per class"):
        temper(model, np.zeros((3, 3)), np.ones((3, 2)), "one")
