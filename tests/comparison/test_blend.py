from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.comparison import CompareSettings
from ssl_ecg.comparison.arms import BLENDS, members
from ssl_ecg.comparison.blend import blend
from ssl_ecg.evaluation import macro_auroc
from ssl_ecg.tasks import create_task, load_model
from ssl_ecg.training import predict_scores

if TYPE_CHECKING:
    from conftest import Study

pytestmark = pytest.mark.slow


def judged(rng: np.random.Generator, targets: np.ndarray, noise: float) -> np.ndarray:
    logits = np.clip(2 * targets - 1 + noise * rng.standard_normal(targets.shape), -5, 5)
    return (1 / (1 + np.exp(-3 * logits))).astype(np.float32)


def test_two_models_whose_errors_differ_are_better_together_and_a_useless_one_is_left_out() -> None:
    rng = np.random.default_rng(0)
    task = create_task("arrhythmia", ["a", "b"])
    targets = (rng.random((2, 400, 2)) < 0.3).astype(np.float32)  # validation, test
    one, two, useless = ([judged(rng, part, noise) for part in targets] for noise in (2, 2, 1e3))
    found, score = blend((one[0], two[0]), targets[0], task)
    assert found.weight.tolist() == [0.5, 0.5]
    validation, test = (found.scores(part, task) for part in zip(one, two))
    assert score == pytest.approx(macro_auroc(targets[0], validation))
    assert macro_auroc(targets[1], test) > max(macro_auroc(targets[1], part[1]) for part in (one, two)) + 0.02
    for order, chosen in (((one, useless), 0.0), ((useless, one), 1.0)):
        a, b = order
        found, _ = blend((a[0], b[0]), targets[0], task)
        assert found.weight[1] == chosen
        alone = found.scores((a[1], b[1]), task)
        assert macro_auroc(targets[1], alone) == pytest.approx(macro_auroc(targets[1], one[1]), abs=1e-3)
    assert abs(test.mean() - targets[1].mean()) < 0.05  # calibrated: .3 are positive


def test_a_blend_by_hand() -> None:
    task = create_task("arrhythmia", ["a"])
    targets = np.array([[0], [1], [0], [1]], np.float32)
    logits = np.array([[[-1], [1], [-2], [2]], [[0], [3], [0], [1]]], np.float64)
    scores = tuple((1 / (1 + np.exp(-part))).astype(np.float32) for part in logits)
    found = blend(scores, targets, task, weights=(0.25,))[0].scores(scores, task)
    standard = [(part - part.mean()) / part.std() for part in logits]
    mixed = 0.75 * standard[0] + 0.25 * standard[1]
    inner = np.log(found / (1 - found))  # a line of the mixed logits
    slope = np.ptp(inner) / np.ptp(mixed)
    np.testing.assert_allclose(inner - inner.mean(), slope * (mixed - mixed.mean()), atol=1e-4)


def test_survival_curves_are_averaged_as_they_are() -> None:
    task = create_task("af_survival", None, bins=2)
    rng = np.random.default_rng(0)
    targets = np.column_stack([rng.uniform(1, 3000, 50), rng.integers(0, 2, 50), np.zeros(50)]).astype(np.float32)
    one, two = (np.sort(rng.random((50, 2)).astype(np.float32))[:, ::-1] for _ in range(2))
    found = blend((one, two), targets, task, weights=(0.5,))[0].scores((one, two), task)
    np.testing.assert_allclose(found, (one + two) / 2, rtol=1e-5)


def test_blends_and_models_of_a_comparison(study: Study, tmp_path: Path) -> None:
    arms = (
        "pretrained_blend",
        "random_probe",
        "pretrained_probe",
        "scratch",
        "scratch_ensemble",
        "pretrained_finetune",
    )
    settings = study.settings.replace(arms=arms, fractions=(1.0,))
    summary = study.run(tmp_path, settings=settings)
    assert {*arms, "pretrained_blend - scratch_ensemble", "pretrained_blend - scratch"} <= set(summary["arm"])
    results = pd.read_csv(tmp_path / "results.csv").set_index(["arm", "seed"])
    assert set(results.loc["pretrained_blend", "weight"]) <= {0.0, 0.5, 1.0}
    assert (results.loc["scratch_ensemble", "weight"] == 0.5).all()
    best = results.loc["pretrained_blend", "validation_macro_auroc"]
    for part in ("pretrained_probe", "pretrained_finetune"):
        assert (best >= results.loc[part, "validation_macro_auroc"] - 1e-9).all()

    rows = study.labels.rows[study.splits.test]
    kept = sorted(path.name for path in (tmp_path / "models").iterdir())
    assert kept == sorted(arms)
    assert not list(tmp_path.glob("runs/*/model"))
    for arm in kept:
        scores = predict_scores(load_model(tmp_path / "models" / arm), study.archive, rows)
        seed = results.loc[arm, "validation_macro_auroc"].idxmax()
        reported = np.load(tmp_path / "runs" / f"{arm}-1-{seed}" / "test_scores.npy")
        if arm.endswith("probe") or arm in BLENDS:  # which are fitted in double precision
            np.testing.assert_allclose(scores, reported, atol=1e-5)
        else:
            np.testing.assert_array_equal(scores, reported)
    before = {path: path.read_bytes() for path in (tmp_path / "models").rglob("*") if path.is_file()}
    study.run(tmp_path, settings=settings)
    assert {path: path.read_bytes() for path in (tmp_path / "models").rglob("*") if path.is_file()} == before


def test_a_blend_needs_what_it_is_made_of() -> None:
    with pytest.raises(ValueError, match="pretrained_blend is made of pretrained_finetune, pretrained_probe; name"):
        CompareSettings(arms=("scratch", "pretrained_blend"))


def test_the_probe_of_a_blend_is_that_of_simulated_hearts_where_it_is_run() -> None:
    assert members("pretrained_blend", ("synthetic_probe", "pretrained_probe")) == (
        "synthetic_probe",
        "pretrained_finetune",
    )
    assert members("pretrained_blend", ("pretrained_probe",)) == ("pretrained_probe", "pretrained_finetune")
    assert members("scratch_ensemble", ()) == ("scratch", "scratch")
