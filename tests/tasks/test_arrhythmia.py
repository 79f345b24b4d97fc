from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, roc_auc_score
from torch import nn

from ssl_ecg.tasks import create_task, list_tasks
from ssl_ecg.tasks.registry import register

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
    metrics = task.metrics(targets, scores)
    assert metrics["macro_auroc"] == pytest.approx(roc_auc_score(targets, scores, average="macro"))
    assert metrics["macro_auprc"] == pytest.approx(average_precision_score(targets, scores, average="macro"))
    assert task.selection in metrics


def test_errors_name_argument_and_value() -> None:
    assert "arrhythmia" in list_tasks()
    with pytest.raises(ValueError, match=r"task='arythmia'.*arrhythmia"):
        create_task("arythmia", CLASSES)
    with pytest.raises(ValueError, match="classes"):
        create_task("arrhythmia", ())
    with pytest.raises(ValueError, match="name='arrhythmia'"):
        register("arrhythmia", lambda classes: create_task("arrhythmia", classes))
