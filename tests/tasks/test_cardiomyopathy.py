from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import average_precision_score, brier_score_loss, roc_auc_score, roc_curve
from torch import nn

import ssl_ecg
from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.evaluation import decision_curve
from ssl_ecg.tasks import create_task, load_model
from ssl_ecg.tasks.cardiomyopathy import COLUMNS
from ssl_ecg.training import predict_scores
from ssl_ecg.verbs import VERBS

SPLIT = ssl_ecg.SplitSettings(validation=0.3, test=0.35, seed=1)


def outcomes(n: int = 200, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Targets and scores [n, 1], some of the targets unknown."""
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, 1)) < 0.25).astype(np.float32)
    scores = np.clip(0.3 * targets + 0.6 * rng.random((n, 1)), 0, 1).astype(np.float32)
    targets[::11] = np.nan
    return targets, scores


def task(**options: object):
    return create_task("cardiomyopathy", COLUMNS, **options)


def test_metrics_are_those_of_scikit_learn_on_the_known_records() -> None:
    targets, scores = outcomes()
    label, score = targets[~np.isnan(targets)], scores[~np.isnan(targets)]
    found = task(specificity=0.8).evaluate(targets, scores)
    false, true, _ = roc_curve(label, score, drop_intermediate=False)
    assert found == pytest.approx(
        {
            "auroc": roc_auc_score(label, score),
            "auprc": average_precision_score(label, score),
            "brier": brier_score_loss(label, score),
            "sensitivity_at_specificity": true[false <= 0.2 + 1e-9].max(),
        }
    )
    assert next(iter(found)) == task().selection.name


def test_weighted_metrics_are_those_of_repeated_records() -> None:
    validation, (targets, scores) = outcomes(seed=1), outcomes()
    tuned = task().tuned(*validation)
    weights = np.random.default_rng(2).integers(0, 3, (len(targets), 3))
    found = tuned.weighted_metrics(targets, scores, weights)
    for r in range(3):
        repeated = np.repeat(np.arange(len(targets)), weights[:, r])
        expected = tuned.evaluate(targets[repeated], scores[repeated])
        assert {name: values[r] for name, values in found.items()} == pytest.approx(expected)


def test_the_threshold_is_tuned_on_validation_and_kept() -> None:
    validation, test = outcomes(seed=1), outcomes(seed=2)
    tuned = task(specificity=0.8).tuned(*validation)
    assert 0.8 <= tuned.evaluate(*validation)["specificity"] < 0.85
    named, label = test[1][:, 0] >= tuned.options["thresholds"][0], test[0][:, 0]
    metrics = tuned.evaluate(*test)
    assert metrics["sensitivity"] == pytest.approx(named[label == 1].mean())
    assert metrics["specificity"] == pytest.approx(1 - named[label == 0].mean())
    row = tuned.per_class(*test).iloc[0]
    assert (row["class"], row["positives_test"]) == ("low_lvef", int((label == 1).sum()))
    assert row[["sensitivity", "specificity"]].tolist() == [metrics["sensitivity"], metrics["specificity"]]
    again = task(**tuned.options)
    assert again.options == tuned.options
    assert again.tuned(*test) is again


def test_without_negatives_in_validation_the_threshold_is_a_half_and_the_log_says_so(caplog) -> None:
    with caplog.at_level(logging.WARNING):
        tuned = task().tuned(np.ones((3, 1)), np.full((3, 1), 0.2))
    assert tuned.options["thresholds"] == [0.5]
    assert "validation has no record without low_lvef" in caplog.text


def test_only_known_outcomes_are_learned_from() -> None:
    targets, _ = outcomes()
    assert (task().informative(targets) == ~np.isnan(targets[:, 0])).all()
    logits = torch.randn(6, 1)
    known = torch.tensor([[1.0], [0.0], [np.nan], [1.0], [0.0], [0.0]])
    expected = nn.functional.binary_cross_entropy_with_logits(logits[[0, 1, 3, 4, 5]], known[[0, 1, 3, 4, 5]])
    torch.testing.assert_close(task().loss(logits, known), expected)
    weighted = task(loss="weighted").for_training(known.numpy())
    expected = nn.functional.binary_cross_entropy_with_logits(
        logits[[0, 1, 3, 4, 5]], known[[0, 1, 3, 4, 5]], pos_weight=torch.tensor(1.5).sqrt()
    )
    torch.testing.assert_close(weighted.loss(logits, known), expected)


def test_what_cannot_be_is_named() -> None:
    for options, message in (
        ({"specificity": 90}, "specificity=90: choose"),
        ({"loss": "mse"}, "loss='mse': choose"),
        ({"thresholds": [0.1, 0.2]}, "for each of 1 classes"),
    ):
        with pytest.raises(ValueError, match=message):
            task(**options)
    with pytest.raises(ValueError, match=r"classes=\['lvef'\]: task 'cardiomyopathy' needs low_lvef"):
        create_task("cardiomyopathy", ["lvef"])
    with pytest.raises(ValueError, match=r"low_lvef=35: must be 1, 0 or blank \(1 such values\)"):
        task().outcome(np.array([[1.0], [np.nan], [35.0]]))
    with pytest.raises(ValueError, match="AUROC is not defined: there is no positive or no negative among these 3"):
        task().evaluate(np.ones((3, 1)), np.full((3, 1), 0.2))


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return ssl_ecg.synthesize(tmp_path_factory.mktemp("lvef") / "archive", records=240, seed=3, duration=5)


@pytest.mark.slow
def test_probe_writes_its_risk_with_calibration_and_decision_curve(archive: Archive, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = Encoder("xresnet1d10", {"width": 8}, archive.settings).eval()
    labels = archive.folder / "labels" / "low_lvef.csv"
    metrics = ssl_ecg.probe(encoder, archive, labels, tmp_path, task="cardiomyopathy", split=SPLIT).metrics
    assert json.loads((tmp_path / "metrics.json").read_text()) == metrics
    names = ("auroc", "auprc", "brier", "sensitivity_at_specificity", "sensitivity", "specificity")
    for name in names:
        assert metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"]
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    truth = pd.read_csv(labels).set_index("record_id").loc[predictions["record_id"], "low_lvef"].to_numpy()
    np.testing.assert_array_equal(predictions["low_lvef"], truth)
    assert metrics["auroc"] == pytest.approx(roc_auc_score(truth, predictions["low_lvef_score"]))
    assert metrics["brier"] == pytest.approx(brier_score_loss(truth, predictions["low_lvef_score"]), abs=1e-5)
    assert pd.read_csv(tmp_path / "calibration.csv")["records"].sum() == len(truth)
    written = pd.read_csv(tmp_path / "decision_curve.csv").drop(columns="class")
    np.testing.assert_allclose(written, decision_curve(truth, predictions["low_lvef_score"]), atol=1e-5)
    assert pd.read_csv(tmp_path / "per_class.csv")["positives_test"].tolist() == [truth.sum()]


@pytest.mark.slow
def test_the_image_path_is_finetuned_as_published_and_keeps_its_threshold(archive: Archive, tmp_path: Path) -> None:
    options = {"network": "test_resnet", "lead_height": 8, "samples_per_column": 8}
    published = VERBS["finetune"].compose(["training=image"]).training
    assert (published.epochs, published.schedule, published.weight_decay) == (35, "onecycle", 0)
    short = published.replace(epochs=2, evaluations=2, precision="32-true")
    labels = archive.folder / "labels" / "low_lvef.csv"
    fitted = ssl_ecg.finetune(
        Encoder("ecg_image", options, archive.settings),
        archive,
        labels,
        tmp_path,
        task={"name": "cardiomyopathy", "loss": "weighted", "specificity": 0.8},
        training=short.replace(supervised_contrastive=0.1),
        split=SPLIT,
        progress=False,
    )
    metrics, curve = fitted.metrics, pd.read_csv(tmp_path / "curve.csv")
    assert metrics["step"] == curve.loc[curve["validation_auroc"].idxmax(), "step"]
    model, predictions = load_model(tmp_path), pd.read_csv(tmp_path / "predictions.csv")
    assert (model.task.options["loss"], model.task.options["specificity"]) == ("weighted", 0.8)
    scores = predict_scores(model, archive, archive.rows(predictions["record_id"]))
    np.testing.assert_allclose(scores[:, 0], predictions["low_lvef_score"], atol=1e-5)
    again = model.task.evaluate(predictions[["low_lvef"]].to_numpy(), scores)
    assert again == pytest.approx({name: metrics[name] for name in again}, abs=1e-4)
    assert {"sensitivity", "specificity"} <= set(again)
