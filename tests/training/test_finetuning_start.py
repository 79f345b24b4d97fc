"""Where finetuning starts: at the linear probe, at zero, or at the mean over steps."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from torch import nn

from ssl_ecg.tasks import (
    Classifier,
    LinearProbe,
    create_task,
    load_model,
    save_classifier,
)
from ssl_ecg.training import FinetuneSettings, extract_features, finetune
from ssl_ecg.training.finetune_module import FinetuneModule
from ssl_ecg.training.frozen import start_as_probe

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from conftest import Labelled


def test_the_first_evaluation_is_the_linear_probe(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    curve = labelled.finetune(tiny_finetuning.replace(steps=2, evaluations=1)).curve
    (train_rows, train), (rows, targets) = labelled.train, labelled.validation
    train_x, x = (extract_features(labelled.encoder, labelled.archive, r) for r in (train_rows, rows))
    probe = LinearProbe(labelled.task).fit(train_x, train, x, targets)
    expected = labelled.task.evaluate(targets, probe.scores(x))
    assert curve[0]["step"] == 0
    assert np.isnan(curve[0]["train_loss"])
    assert curve[0]["validation_macro_auroc"] == pytest.approx(probe.validation_score, abs=1e-6)
    for name, value in expected.items():
        assert curve[0][f"validation_{name}"] == pytest.approx(value, abs=1e-6)
    loss = nn.BCELoss()(torch.from_numpy(probe.scores(x)), torch.from_numpy(targets).double())
    assert curve[0]["validation_loss"] == pytest.approx(float(loss), rel=1e-4)


def test_a_zero_head_starts_from_nothing(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    curve = labelled.finetune(tiny_finetuning.replace(head="zero", steps=2, evaluations=1)).curve
    assert curve[0]["validation_macro_auroc"] == 0.5
    assert curve[0]["validation_loss"] == pytest.approx(np.log(2))


def test_nothing_is_computed_of_validation_before_the_first_step(
    labelled: Labelled, tiny_finetuning: FinetuneSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    passes: list[float] = []
    original = FinetuneModule.validation_step

    def counted(module: FinetuneModule, *given: object) -> None:
        passes.append(module.global_step)
        original(module, *given)

    monkeypatch.setattr(FinetuneModule, "validation_step", counted)
    for head in ("probe", "zero", "hidden"):
        curve = labelled.finetune(tiny_finetuning.replace(head=head, freeze_norm=False, steps=2, evaluations=1)).curve
        assert [row["step"] for row in curve] == [0, 2]
    assert passes == [2, 2, 2]
    # A head of one's own that starts otherwise has to be asked.
    task = create_task("arrhythmia", labelled.task.classes)
    task.head = lambda width: nn.Linear(width, 2)  # type: ignore[method-assign]
    torch.manual_seed(0)
    settings = tiny_finetuning.replace(head="zero", steps=2, evaluations=1)
    curve = finetune(labelled.encoder, task, labelled.archive, labelled.train, labelled.validation, settings).curve
    assert passes[3:] == [0, 2]
    assert curve[0]["validation_macro_auroc"] != 0.5


def test_a_probe_starts_from_features_that_are_kept(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    asked: list[list[int]] = []

    def frozen(rows: np.ndarray) -> np.ndarray:
        asked.append(rows.tolist())
        return extract_features(labelled.encoder, labelled.archive, rows)

    settings = tiny_finetuning.replace(steps=2, evaluations=1)
    parts = (labelled.encoder, labelled.task, labelled.archive, labelled.train, labelled.validation)
    finished = finetune(*parts, settings, frozen=frozen)
    assert asked == [labelled.train[0].tolist(), labelled.validation[0].tolist()]
    assert finished.curve[0] == pytest.approx(labelled.finetune(settings).curve[0], rel=1e-6, nan_ok=True)
    for other in (settings.replace(head="zero"), settings.replace(windows={"seconds": 2.5, "over": "features"})):
        finetune(*parts, other, frozen=frozen)
    assert len(asked) == 2


def test_probe_start_needs_a_linear_head(labelled: Labelled, tiny_finetuning: FinetuneSettings) -> None:
    task = create_task("arrhythmia", labelled.task.classes)
    task.head = lambda width: nn.Sequential(nn.Linear(width, 4), nn.ReLU(), nn.Linear(4, 2))  # type: ignore[method-assign]
    with pytest.raises(ValueError, match=r"head='probe'.*choose head='zero'"):
        finetune(
            labelled.encoder, task, labelled.archive, labelled.train, labelled.validation, tiny_finetuning.replace()
        )


def test_training_begins_where_the_probe_is(
    labelled: Labelled, tiny_finetuning: FinetuneSettings, caplog: pytest.LogCaptureFixture
) -> None:
    settings = FinetuneSettings(
        steps=2, evaluations=2, batch_size=64, crop=None, learning_rate=1e-9, precision="32-true"
    )
    apart = {}
    for frozen in (None, False):
        first = labelled.finetune(settings.replace(freeze_norm=frozen)).curve[:2]
        probe = Classifier(copy.deepcopy(labelled.encoder), labelled.task).eval()
        start_as_probe(probe, labelled.archive, labelled.train, labelled.validation)
        with torch.inference_mode():
            signals = map(torch.from_numpy, labelled.archive.read(labelled.train[0]))
            evaluated = float(labelled.task.loss(probe(*signals), torch.from_numpy(labelled.train[1])))
        apart[frozen] = abs(first[1]["train_loss"] - evaluated)
    assert apart[None] < 0.1 * evaluated
    assert apart[False] > 3 * apart[None]
    assert "finetuning never beat the probe on validation" in caplog.text
    assert not settings.replace(head="zero").norms_kept


def test_attention_over_steps_starts_as_the_probe_and_is_kept(
    labelled: Labelled, tiny_finetuning: FinetuneSettings, tmp_path: Path
) -> None:
    plain = labelled.finetune(tiny_finetuning)
    finished = labelled.finetune(tiny_finetuning.replace(attention_heads=4))
    name = f"validation_{labelled.task.selection}"
    assert finished.curve[0][name] == pytest.approx(plain.curve[0][name], abs=1e-4)
    assert finished.model.encoder.name == "attention_pooled"
    if finished.best["step"]:
        assert finished.model.encoder.backbone.attention.score.weight.abs().max() > 0
    again = load_model(save_classifier(finished.model, tmp_path, "# A card\n"))
    signals = tuple(map(torch.from_numpy, labelled.archive.read(labelled.test[0][:4])))
    torch.testing.assert_close(again.scores(*signals), finished.model.scores(*signals))
