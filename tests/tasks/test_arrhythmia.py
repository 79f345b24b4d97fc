from __future__ import annotations

import json
import logging
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import accuracy_score, average_precision_score, f1_score, roc_auc_score
from torch import nn

from ssl_ecg.evaluation import bootstrap_metrics, challenge_metric
from ssl_ecg.settings import SettingsError, options_of
from ssl_ecg.tasks import create_task, list_tasks
from ssl_ecg.tasks.losses import asymmetric, bce, focal, sign
from ssl_ecg.tasks.registry import TASKS, register

CLASSES = ("sinus_rhythm", "atrial_fibrillation", "lvh")


def test_loss_is_torchs_where_all_labels_are_known() -> None:
    logits, targets = 3 * torch.randn(7, 3), (torch.rand(7, 3) < 0.4).float()
    loss = create_task("arrhythmia", CLASSES).loss(logits, targets)
    torch.testing.assert_close(loss, nn.BCEWithLogitsLoss()(logits, targets))


def test_unknown_labels_count_for_nothing() -> None:
    task = create_task("arrhythmia", CLASSES)
    logits, targets = torch.randn(7, 3, requires_grad=True), (torch.rand(7, 3) < 0.4).float()
    unknown = torch.rand(7, 3) < 0.4
    unknown[3] = True
    loss = task.loss(logits, targets.masked_fill(unknown, torch.nan))
    loss.backward()
    assert logits.grad is not None
    assert (logits.grad[unknown] == 0).all()
    assert (logits.grad[~unknown] != 0).all()
    known = nn.functional.binary_cross_entropy_with_logits(logits[~unknown], targets[~unknown])
    torch.testing.assert_close(loss, known)


def test_a_batch_without_a_known_label_gives_0_and_no_gradient() -> None:
    logits = torch.randn(4, 3, requires_grad=True)
    loss = create_task("arrhythmia", CLASSES).loss(logits, torch.full((4, 3), torch.nan))
    loss.backward()
    assert float(loss.detach()) == 0
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_loss_and_scores_are_float32_and_finite_for_low_precision_logits(dtype: torch.dtype) -> None:
    task = create_task("arrhythmia", CLASSES)
    logits = torch.tensor([[100.0, -100.0, 0.0]], dtype=dtype)
    loss = task.loss(logits, torch.tensor([[0.0, 1.0, 1.0]]))
    assert loss.dtype == task.scores(logits).dtype == torch.float32
    assert float(loss) == pytest.approx((200 + np.log(2)) / 3, rel=1e-3)
    torch.testing.assert_close(task.scores(logits), torch.tensor([[1.0, 0.0, 0.5]]))


def test_head_starts_at_even_odds() -> None:
    task = create_task("arrhythmia", CLASSES)
    head = task.head(16)
    assert task.classes == CLASSES
    assert torch.equal(task.scores(head(torch.randn(5, 16))), torch.full((5, 3), 0.5))


def test_metrics_are_macro_means_and_name_the_one_for_selection() -> None:
    rng = np.random.default_rng(0)
    targets, scores = (rng.random((60, 3)) < 0.3).astype(float), rng.random((60, 3))
    task = create_task("arrhythmia", CLASSES)
    metrics = task.evaluate(targets, scores)
    assert metrics["macro_auroc"] == pytest.approx(roc_auc_score(targets, scores, average="macro"))
    assert metrics["macro_auprc"] == pytest.approx(average_precision_score(targets, scores, average="macro"))
    assert next(iter(metrics)) == task.selection.name


def test_every_loss_is_the_one_of_its_name() -> None:
    logits, targets = 3 * torch.randn(7, 3), (torch.rand(7, 3) < 0.4).float()
    for name, loss in (("bce", bce), ("focal", focal), ("asymmetric", asymmetric), ("sign", sign)):
        task = create_task("arrhythmia", CLASSES, loss=name)
        assert task.options == {"loss": name}
        assert task.for_training(targets.numpy()) is task
        assert torch.equal(task.loss(logits, targets), loss(logits, targets))


def test_the_weighted_loss_takes_its_weights_from_training() -> None:
    task = create_task("arrhythmia", CLASSES, loss="weighted")
    logits, targets = 3 * torch.randn(7, 3), (torch.rand(7, 3) < 0.4).float()
    with pytest.raises(ValueError, match=r"loss='weighted'.*for_training"):
        task.loss(logits, targets)
    train = np.array([[1, 0, 0], [0, 0, 1], [0, 1, 1], [0, 1, 1], [0, np.nan, 1]], np.float32)
    weights = torch.tensor([2.0, 1.0, 0.5])
    expected = nn.BCEWithLogitsLoss(pos_weight=weights)(logits, targets)
    torch.testing.assert_close(task.for_training(train).loss(logits, targets), expected)
    with pytest.raises(ValueError, match="loss='weighted'"):  # the task itself, which other runs share, learned nothing
        task.loss(logits, targets)


def test_tuned_thresholds_decide_and_add_their_metrics(caplog: pytest.LogCaptureFixture) -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((200, 3)) < (0.1, 0.4, 0.3)).astype(np.float32)
    scores = np.clip(0.3 * targets + 0.5 * rng.random((200, 3)), 0, 1).astype(np.float32)
    validation, test = slice(0, 100), slice(100, 200)
    targets[validation, 2] = 0
    task = create_task("arrhythmia", CLASSES)
    with caplog.at_level(logging.INFO):
        tuned = task.tuned(targets[validation], scores[validation])
    assert [record.getMessage() for record in caplog.records] == [
        "threshold .5, since validation has no positive record: lvh"
    ]
    thresholds = tuned.options["thresholds"]
    assert thresholds[2] == 0.5
    assert task.options == {"loss": "bce"}
    assert set(task.evaluate(targets, scores)) == {"macro_auroc", "macro_auprc"}
    decisions = scores[test] >= np.array(thresholds)
    assert (tuned.decide(scores[test]) == decisions).all()
    metrics, f1 = tuned.evaluate(targets[test], scores[test]), f1_score(targets[test], decisions, average=None)
    assert metrics["macro_f1"] == pytest.approx(f1.mean())
    assert metrics["subset_accuracy"] == pytest.approx(accuracy_score(targets[test], decisions))
    weighted = tuned.weighted_metrics(targets[test], scores[test], np.ones((100, 2)))
    assert {name: value[1] for name, value in weighted.items()} == pytest.approx(metrics)
    table = tuned.per_class(targets[test], scores[test])
    assert table["threshold"].tolist() == thresholds
    np.testing.assert_allclose(table["f1"], f1)
    again = create_task("arrhythmia", CLASSES, **tuned.options)
    assert again.options == tuned.options
    assert again.tuned(targets[test], scores[test]) is again
    with pytest.raises(ValueError, match="thresholds=None"):
        task.decide(scores)


def test_a_class_without_positives_is_in_the_tables_and_not_in_the_averages() -> None:
    rng = np.random.default_rng(0)
    targets, scores = (rng.random((60, 3)) < 0.3).astype(float), rng.random((60, 3))
    targets[:, 1] = 0
    task = create_task("arrhythmia", CLASSES, thresholds=[0.5, 0.5, 0.5])
    table = task.tables(targets, scores)["per_class"].set_index("class")
    assert table.loc["atrial_fibrillation", "positives_test"] == 0
    assert table.loc["atrial_fibrillation", ["auroc", "auprc", "f1"]].isna().all()
    metrics = task.evaluate(targets, scores)
    for name in ("auroc", "auprc", "f1"):
        assert metrics[f"macro_{name}"] == pytest.approx(table.loc[["sinus_rhythm", "lvh"], name].mean())


def test_errors_name_argument_and_value() -> None:
    with pytest.raises(ValueError, match=r"loss='hinge'.*weighted"):
        create_task("arrhythmia", CLASSES, loss="hinge")
    for wrong in ([0.5], [0.5, 0.5, 1.5], [0.5, 0.5, float("nan")]):
        with pytest.raises(ValueError, match="thresholds="):
            create_task("arrhythmia", CLASSES, thresholds=wrong)
    with pytest.raises(ValueError, match=r"classes=\['AF_score'\]: predictions.csv has scores under such names"):
        create_task("arrhythmia", ("AF", "AF_score"))
    assert "arrhythmia" in list_tasks()
    with pytest.raises(ValueError, match=r"task='arythmia'.*arrhythmia"):
        create_task("arythmia", CLASSES)
    with pytest.raises(ValueError, match="classes"):
        create_task("arrhythmia", ())
    with pytest.raises(ValueError, match="name='arrhythmia'"):
        register("arrhythmia", lambda classes: create_task("arrhythmia", classes))


def test_the_options_of_the_settings_are_those_of_the_constructor() -> None:
    made = options_of(TASKS["arrhythmia"])
    assert dict(made()) == {"loss": "bce", "thresholds": None, "challenge_weights": None, "tune": "f1"}
    assert all(field.description for field in made.model_fields.values())
    survival = options_of(TASKS["af_survival"])  # those of the mixin and of the class it is mixed into
    assert set(survival.model_fields) == {"horizon_days", "bins", "encoding", "prevalent", "auxiliary", "event"}
    with pytest.raises(SettingsError, match="horizon_day=7"):
        survival(horizon_day=7)


CODES = ("164889003", "426783006", "733534002|164909002")


@pytest.fixture
def rewards(tmp_path: Path) -> Path:
    """Rewards of three classes of the challenge, in another order than the labels."""
    codes = [CODES[2], CODES[0], CODES[1]]
    values = [[1, 0.3, 0.4], [0.3, 1, 0.5], [0.4, 0.5, 1]]
    pd.DataFrame(values, codes, codes).to_csv(tmp_path / "weights.csv")
    return tmp_path / "weights.csv"


def test_the_challenge_metric_is_one_of_decisions(rewards: Path) -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((60, 3)) < 0.4).astype(np.float32)
    scores = (0.5 * (1 - targets) + 0.4 * rng.random((60, 3))).astype(np.float32)  # worse than naming nothing
    targets[:10, 0] = np.nan
    task = create_task("arrhythmia", CODES, challenge_weights=str(rewards))
    assert "challenge_metric" not in task.evaluate(targets, scores)
    task = create_task("arrhythmia", CODES, challenge_weights=str(rewards), thresholds=[0.5, 0.6, 0.4])
    matrix = pd.read_csv(rewards, index_col=0).loc[list(CODES), list(CODES)].to_numpy()
    expected = challenge_metric(targets[10:], scores[10:] >= [0.5, 0.6, 0.4], CODES, matrix)
    assert expected < 0
    assert task.evaluate(targets, scores)["challenge_metric"] == pytest.approx(expected)

    never = np.where(np.arange(3) == 0, np.nan, targets)  # no record is labelled in full
    assert set(task.evaluate(never, scores)) == {"macro_auroc", "macro_auprc", "macro_f1"}

    rewards.unlink()  # the options that a model keeps hold the rewards
    again = create_task("arrhythmia", CODES, **json.loads(json.dumps(dict(task.options))))
    assert again.evaluate(targets, scores) == task.evaluate(targets, scores)
    intervals = bootstrap_metrics(targets, scores, np.arange(60), 50, metrics=again.weighted_metrics)
    mean, low, high, *_ = intervals["challenge_metric"]
    assert mean == pytest.approx(expected)
    assert low < mean < high


def test_rewards_of_other_classes_are_refused(rewards: Path) -> None:
    with pytest.raises(ValueError, match=r"challenge_weights: the rows are 733534002\|164909002, .*classes.* a, b"):
        create_task("arrhythmia", ("a", "b"), challenge_weights=rewards)
    without_normal = {"a": {"a": 1.0, "b": 0.0}, "b": {"a": 0.0, "b": 1.0}}
    with pytest.raises(ValueError, match="normal_class '426783006'"):
        create_task("arrhythmia", ("a", "b"), challenge_weights=without_normal)


def test_thresholds_can_be_tuned_for_the_challenge_metric(rewards: Path) -> None:
    rng = np.random.default_rng(0)
    targets = (rng.random((60, 3)) < 0.4).astype(np.float32)
    scores = np.clip(0.3 * targets + 0.6 * rng.random((60, 3)), 0, 1).astype(np.float32)
    found = {}
    for tune in ("f1", "challenge_metric"):
        task = create_task("arrhythmia", CODES, challenge_weights=rewards, tune=tune).tuned(targets, scores)
        found[tune] = task.evaluate(targets, scores)["challenge_metric"]
        assert create_task("arrhythmia", CODES, **task.options).options == task.options
    assert found["challenge_metric"] > found["f1"]
    loss = create_task("arrhythmia", CODES, challenge_weights=rewards, loss="challenge").loss
    assert loss(torch.zeros(2, 3), torch.eye(3)[:2]) > 0


def test_what_needs_rewards_says_so() -> None:
    for options in ({"loss": "challenge"}, {"tune": "challenge_metric"}):
        with pytest.raises(ValueError, match=r"the challenge metric needs rewards; give challenge_weights"):
            create_task("arrhythmia", CODES, **options)
    with pytest.raises(ValueError, match=r"tune='auroc': choose one of f1, macro_f1"):
        create_task("arrhythmia", CODES, tune="auroc")
