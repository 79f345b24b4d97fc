from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
import pytest

import ssl_ecg
from ssl_ecg import SplitSettings
from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.comparison import CompareSettings
from ssl_ecg.comparison.arms import BLENDS, PRIORS, members
from ssl_ecg.comparison.blend import blend, weights_of
from ssl_ecg.evaluation import macro_auroc
from ssl_ecg.tasks import create_task, load_model, simulated_probe
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
    found = blend(scores, targets, task, weights=[(0.75, 0.25)])[0].scores(scores, task)
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
    found = blend((one, two), targets, task, weights=[(0.5, 0.5)])[0].scores((one, two), task)
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
    assert set(results.loc["pretrained_blend", "weights"]) <= {"0.50 0.50", "1.00 0.00", "0.00 1.00"}
    assert (results.loc["scratch_ensemble", "weights"] == "0.50 0.50").all()
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


def test_a_blend_is_made_of_what_knows_simulated_hearts_where_that_is_run() -> None:
    probes = ("synthetic_probe", "pretrained_probe")
    assert members("pretrained_blend", probes) == ("synthetic_probe", "pretrained_finetune")
    assert members("pretrained_blend", ("pretrained_probe",)) == ("pretrained_probe", "pretrained_finetune")
    assert members("scratch_ensemble", ()) == ("scratch", "scratch")
    networks, priors = ("pretrained_finetune", "scratch"), ("synthetic_prior_probe", "pretrained_prior_probe")
    assert members("pretrained_blend", (*probes, *priors[1:])) == (*priors[1:], *networks)
    assert members("pretrained_blend", (*probes, *priors)) == (*priors, *networks)
    assert members("scratch_blend", ()) == ("synthetic_prior_probe", "scratch")


def test_weights_are_means_of_some_models_all_of_them_first() -> None:
    assert weights_of(2) == [(0.5, 0.5), (1, 0), (0, 1)]
    third = 1 / 3
    assert weights_of(3)[0] == pytest.approx((third, third, third))
    assert weights_of(3)[1:4] == [(0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5)]
    assert weights_of(3)[4:] == [(1, 0, 0), (0, 1, 0), (0, 0, 1)]


def test_simulated_hearts_say_what_no_label_says_and_are_where_few_labels_begin(
    named_conditions: tuple[Archive, pd.DataFrame],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(simulated_probe, "RECORDS", 1000)
    archive, table = named_conditions
    trained = {"steps": 4, "batch_size": 8, "precision": "32-true"}
    given = {
        "arms": ("synthetic_zero_shot", *PRIORS, "synthetic_probe", "scratch", "pretrained_finetune", *BLENDS),
        "fractions": (0.5, 1.0),
        "seeds": (0,),
        "probe_draws": 1,
        "replicates": 50,
        "split": SplitSettings(validation=0.3, test=0.3),
        "meanings": {"wide": ["right_bundle_branch_block"]},
        "progress": False,
        **{arm: {"name": arm.removesuffix("_finetune"), **trained} for arm in ("scratch", "pretrained_finetune")},
        **{f"{arm}_candidates": ({},) for arm in ("scratch", "pretrained")},
    }
    encoder = Encoder("xresnet1d10", {"width": 4}, archive.settings)
    encoder.origin = {"start": {"objective": "simulation"}}
    summary = ssl_ecg.compare(encoder, archive, table, tmp_path / "out", **given)
    whole = summary[(summary["metric"] == "macro_auroc") & (summary["fraction"] == 1)]
    mean = whole.set_index("arm")["mean"]
    assert mean["synthetic_zero_shot"] > 0.9, "no label of these ECGs was used"
    assert mean["synthetic_zero_shot"] > mean["scratch"] + 0.1
    assert mean["synthetic_prior_probe"] > 0.9
    identity = json.loads((tmp_path / "out" / "comparison.json").read_text(encoding="utf-8"))
    assert "synthetic_prior_probe" in str(identity), "other members are another comparison"
    assert "synthetic_zero_shot: no better" not in caplog.text
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    results = results[results["fraction"] == 1].set_index("arm")
    for blended in ("scratch_blend", "pretrained_blend"):
        parts = members(blended, given["arms"])
        score = results["validation_macro_auroc"]
        assert score[blended] >= score[list(parts)].max() - 1e-9
    assert (tmp_path / "out" / "models" / "scratch_blend" / "task.json").is_file()

    unknown = table.rename(columns={"AF": "a", "wide": "b"})
    every = ("synthetic_zero_shot", *PRIORS, "scratch", "scratch_blend", "pretrained_finetune", "pretrained_blend")
    given |= {"arms": every}
    summary = ssl_ecg.compare(encoder, archive, unknown, tmp_path / "other", **{**given, "meanings": None})
    assert {arm for arm in summary["arm"] if " - " not in arm} == {"scratch", "pretrained_finetune"}
    assert "pretrained_blend left out: it is made of pretrained_probe too" in caplog.text
    named_all = "pretrained_prior_probe, synthetic_prior_probe, synthetic_zero_shot"
    assert f"{named_all} left out: no label has a meaning in simulated hearts" in caplog.text

    encoder.origin = {}
    arms = ("pretrained_prior_probe", "pretrained_probe", "pretrained_finetune", "scratch", "pretrained_blend")
    summary = ssl_ecg.compare(encoder, archive, table, tmp_path / "third", **{**given, "arms": arms})
    assert {"pretrained_probe", "scratch", "pretrained_blend"} <= set(summary["arm"])
    assert "pretrained_prior_probe left out: the encoder has not learned from simulated hearts" in caplog.text
