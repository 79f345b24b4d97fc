from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, f1_score
from torch import Tensor, nn

import ssl_ecg
from ssl_ecg.evaluation import best_thresholds
from ssl_ecg.tasks import Classifier, WindowSettings, create_task, load_model
from ssl_ecg.training import FinetuneSettings, extract_features, finetune, predict_scores

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from conftest import Labelled

CLASSES = ("sinus_rhythm", "sinus_bradycardia")


@pytest.fixture(scope="module")
def model(labelled: Labelled) -> Classifier:
    torch.manual_seed(1)
    made = Classifier(copy.deepcopy(labelled.encoder), create_task("arrhythmia", CLASSES))
    nn.init.normal_(made.head.weight)
    return made.eval()


def with_windows(model: Classifier, windows: WindowSettings) -> Classifier:
    made = Classifier(model.encoder, model.task, windows)
    made.head.load_state_dict(model.head.state_dict())
    return made.eval()


@pytest.mark.parametrize(("seconds", "stride", "starts"), [(2.5, 1.25, (0, 125, 250)), (2.0, 2.0, (0, 200, 300))])
@pytest.mark.parametrize("aggregate", ["max", "mean"])
@pytest.mark.parametrize("over", ["scores", "features"])
def test_scores_are_those_of_the_windows_written_out(
    labelled: Labelled,
    model: Classifier,
    seconds: float,
    stride: float,
    starts: tuple[int, ...],
    aggregate: str,
    over: str,
) -> None:
    rows = labelled.test[0][:5]
    signal = model.encoder.prepare(torch.from_numpy(labelled.archive.read(rows).signal)).signal
    width = round(100 * seconds)
    with torch.inference_mode():
        features = torch.stack([model.encoder.backbone(signal[..., start : start + width]) for start in starts])
        reduce = {"max": lambda x: x.max(dim=0).values, "mean": lambda x: x.mean(dim=0)}[aggregate]
        if over == "features":
            expected = torch.sigmoid(model.head(reduce(features)))
        else:
            expected = reduce(torch.sigmoid(model.head(features)))
    cut = with_windows(model, WindowSettings(seconds=seconds, stride=stride, aggregate=aggregate, over=over))
    found = predict_scores(cut, labelled.archive, rows, batch_size=2)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("aggregate", ["max", "mean"])
@pytest.mark.parametrize("over", ["scores", "features"])
def test_short_records_have_fewer_windows(labelled: Labelled, model: Classifier, aggregate: str, over: str) -> None:
    """The last window ends with what was recorded; one that is longer than the record counts its recorded steps."""
    signal = torch.from_numpy(labelled.archive.read(labelled.test[0][:4]).signal)
    starts = {500: (0, 125, 250), 400: (0, 125, 150), 375: (0, 125), 100: (0,)}
    recorded = torch.tensor([*starts])
    cut = with_windows(model, WindowSettings(seconds=2.5, stride=1.25, aggregate=aggregate, over=over))
    with torch.inference_mode():
        found = cut.scores(signal, recorded)
        normalised = model.encoder.prepare(signal, recorded).signal
        for record, scores, (samples, places) in zip(normalised, found, starts.items(), strict=True):
            windows = torch.stack([record[:, place : place + 250] for place in places])
            features = model.encoder.backbone(windows, torch.tensor([min(samples, 250)] * len(places)))
            each = features if over == "features" else torch.sigmoid(model.head(features))
            pooled = each.amax(0) if aggregate == "max" else each.mean(0)
            expected = torch.sigmoid(model.head(pooled)) if over == "features" else pooled
            torch.testing.assert_close(scores, expected, rtol=1e-4, atol=1e-6)


def test_one_window_is_the_whole_record(labelled: Labelled, model: Classifier) -> None:
    rows = labelled.test[0]
    whole = predict_scores(model, labelled.archive, rows)
    for over in ("scores", "features"):
        found = predict_scores(
            with_windows(model, WindowSettings(seconds=5.0, stride=5.0, over=over)), labelled.archive, rows
        )
        np.testing.assert_allclose(found, whole, rtol=1e-4, atol=1e-6)


def test_records_of_another_length_are_refused_with_windows_too(model: Classifier) -> None:
    for over in ("scores", "features"):
        with pytest.raises(ValueError, match="500 samples"):
            with_windows(model, WindowSettings(seconds=2.5, over=over)).scores(torch.zeros(1, 12, 400))


def test_windows_that_do_not_fit_are_refused(labelled: Labelled, model: Classifier) -> None:
    for wrong, named in (
        ({"seconds": 2.0, "stride": 3.0}, "stride=3"),
        ({"seconds": 2.0, "stride": 0.0}, "stride=0"),
        ({"aggregate": "median"}, "aggregate='median'"),
        ({"over": "logits"}, "over='logits'"),
    ):
        with pytest.raises(ValueError, match=named):
            WindowSettings(**wrong)
    for windows in (WindowSettings(seconds=6.0), WindowSettings(seconds=2.0, stride=0.001)):
        with pytest.raises(ValueError, match=r"records have 500 samples of 0.01 s"):
            with_windows(model, windows)
    survival = create_task("af_survival", ("time_days", "event", "prevalent"))
    with pytest.raises(ValueError, match=r"aggregate='max'.*af_survival"):
        Classifier(labelled.encoder, survival, WindowSettings(seconds=2.5))
    Classifier(labelled.encoder, survival, WindowSettings(seconds=2.5, over="features"))


@pytest.mark.parametrize("aggregate", ["max", "mean"])
def test_windows_of_features_are_trained_on_and_chosen_on(
    labelled: Labelled, tiny_finetuning: FinetuneSettings, aggregate: str
) -> None:
    seen: list[tuple[bool, tuple[int, ...]]] = []
    encoder = copy.deepcopy(labelled.encoder)
    encoder.backbone.register_forward_pre_hook(
        lambda module, given: seen.append((module.training, tuple(given[0].shape)))
    )
    windows = WindowSettings(seconds=2.5, stride=1.25, aggregate=aggregate, over="features")
    settings = tiny_finetuning.replace(crop=2.0, windows=windows, steps=2, evaluations=1)
    finished = finetune(encoder, labelled.task, labelled.archive, labelled.train, labelled.validation, settings)
    assert {shape for training, shape in seen if training} == {(3 * 32, 12, 250)}
    assert {shape[2] for _, shape in seen} == {250}
    scores = predict_scores(finished.model, labelled.archive, labelled.validation[0])
    metrics = labelled.task.evaluate(labelled.validation[1], scores)
    assert metrics["macro_auroc"] == pytest.approx(finished.best["validation_macro_auroc"], abs=1e-6)

    # The head starts as the probe on the same features.
    def pooled(rows: np.ndarray) -> np.ndarray:
        signal = labelled.encoder.prepare(torch.from_numpy(labelled.archive.read(rows).signal)).signal
        with torch.inference_mode():
            each = [labelled.encoder.backbone(signal[..., start : start + 250]) for start in (0, 125, 250)]
        stacked = torch.stack(each)
        return (stacked.amax(0) if aggregate == "max" else stacked.mean(0)).numpy()

    (rows, train), (validation_rows, validation) = labelled.train, labelled.validation
    probe = labelled.task.fit_probe(pooled(rows), train, pooled(validation_rows), validation)
    expected = labelled.task.evaluate(validation, probe.scores(pooled(validation_rows)))["macro_auroc"]
    assert finished.curve[0]["validation_macro_auroc"] == pytest.approx(expected, abs=1e-3)


def test_windows_of_scores_are_no_part_of_the_training(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    parts = labelled.encoder, labelled.task, labelled.archive, labelled.train, labelled.validation
    settings = tiny_finetuning.replace(steps=2, evaluations=1)
    whole, cut = finetune(*parts, settings), finetune(*parts, settings.replace(windows=WindowSettings(seconds=2.5)))
    assert cut.curve[1:] == whole.curve[1:]
    weights: dict[str, Tensor] = whole.model.state_dict()
    assert all(torch.equal(value, weights[name]) for name, value in cut.model.state_dict().items())
    scores = [predict_scores(made.model, labelled.archive, labelled.test[0]) for made in (whole, cut)]
    assert not np.allclose(*scores)


def test_features_without_a_head_know_no_windows(labelled: Labelled, model: Classifier) -> None:
    rows = labelled.test[0][:3]
    cut = with_windows(model, WindowSettings(seconds=2.5, over="features"))
    whole = extract_features(labelled.encoder, labelled.archive, rows)
    np.testing.assert_allclose(extract_features(cut.encoder, labelled.archive, rows), whole, rtol=1e-5, atol=1e-6)


@pytest.fixture(scope="module")
def table(labelled: Labelled) -> pd.DataFrame:
    """Labels with folds: 8 validates, 9 tests."""
    parts = {0: labelled.train, 8: labelled.validation, 9: labelled.test}
    frames = [
        pd.DataFrame(targets, columns=list(CLASSES)).assign(
            record_id=labelled.archive.manifest["record_id"].iloc[rows].to_numpy(), fold=fold
        )
        for fold, (rows, targets) in parts.items()
    ]
    return pd.concat(frames, ignore_index=True)


def probed(labelled: Labelled, table: pd.DataFrame, out: Path) -> tuple[dict[str, Any], pd.DataFrame, pd.DataFrame]:
    split = ssl_ecg.SplitSettings(validation_folds=(8,), test_folds=(9,))
    metrics = ssl_ecg.probe(labelled.encoder, labelled.archive, table, out, classes=CLASSES, split=split).metrics
    return metrics, pd.read_csv(out / "per_class.csv").set_index("class"), pd.read_csv(out / "predictions.csv")


def test_a_probe_decides_by_thresholds_that_test_cannot_move(
    labelled: Labelled, table: pd.DataFrame, tmp_path: Path
) -> None:
    metrics, per_class, predictions = probed(labelled, table, tmp_path / "as_it_is")
    scores = predictions[[f"{name}_score" for name in CLASSES]].to_numpy()
    decisions, targets = scores >= per_class["threshold"].to_numpy(), predictions[list(CLASSES)].to_numpy()
    f1 = f1_score(targets, decisions, average=None)
    np.testing.assert_allclose(per_class["f1"], f1, atol=1e-5)
    assert metrics["macro_f1"] == pytest.approx(f1.mean())
    assert metrics["macro_f1_low"] <= metrics["macro_f1"] <= metrics["macro_f1_high"]
    assert metrics["subset_accuracy"] == pytest.approx(accuracy_score(targets, decisions))
    for fold, part in ((0, "train"), (8, "validation"), (9, "test")):
        positives = table.loc[table["fold"] == fold, list(CLASSES)].sum().to_numpy()
        np.testing.assert_array_equal(per_class[f"positives_{part}"], positives)
    calibration = pd.read_csv(tmp_path / "as_it_is" / "calibration.csv")
    assert calibration.groupby("class")["records"].sum().tolist() == [len(predictions)] * 2

    other = table.copy()
    other.loc[table["fold"] == 9, list(CLASSES)] = 1 - other.loc[table["fold"] == 9, list(CLASSES)]
    _, moved, _ = probed(labelled, other, tmp_path / "test_flipped")
    assert moved["threshold"].tolist() == per_class["threshold"].tolist()
    assert (moved["f1"] != per_class["f1"]).all()


def test_a_finetuned_model_keeps_thresholds_tuned_on_validation_windows(
    labelled: Labelled, table: pd.DataFrame, tiny_finetuning: FinetuneSettings, tmp_path: Path
) -> None:
    windows = WindowSettings(seconds=2.5, stride=1.25)
    fitted = ssl_ecg.finetune(
        labelled.encoder,
        labelled.archive,
        table,
        tmp_path,
        classes=CLASSES,
        task={"name": "arrhythmia", "loss": "weighted"},
        training=tiny_finetuning.replace(steps=2, evaluations=1, windows=windows),
        split=ssl_ecg.SplitSettings(validation_folds=(8,), test_folds=(9,)),
        progress=False,
    )
    metrics, kept = fitted.metrics, load_model(tmp_path)
    assert kept.windows == windows
    scores = predict_scores(kept, labelled.archive, labelled.validation[0])
    expected = best_thresholds(labelled.validation[1], scores)
    np.testing.assert_allclose(kept.task.thresholds, expected, atol=1e-5)
    assert json.loads((tmp_path / "task.json").read_text())["options"]["loss"] == "weighted"
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    rows = labelled.archive.rows(predictions["record_id"])
    found = predict_scores(kept, labelled.archive, rows)
    np.testing.assert_allclose(predictions[[f"{name}_score" for name in CLASSES]], found, atol=1e-5)
    assert metrics["macro_f1"] == pytest.approx(
        f1_score(predictions[list(CLASSES)], kept.task.decide(found), average="macro")
    )
