"""What the optimiser is told, and which records choose: all of them, in order."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ssl_ecg.archive import Archive
from ssl_ecg.objectives import create_objective
from ssl_ecg.tasks import Classifier
from ssl_ecg.training import PretrainSettings, finetune, finetuning
from ssl_ecg.training.finetune_module import FinetuneModule
from ssl_ecg.training.pretraining import PretrainData, PretrainModule


def optimisation(settings: PretrainSettings, epochs: int, per_epoch: int) -> dict[str, Any]:
    from ssl_ecg.backbones import create_backbone

    objective = create_objective("cmsc", create_backbone("xresnet1d10", width=4), 100.0)
    return dict(PretrainModule(objective, settings, epochs * per_epoch, per_epoch).configure_optimizers())


def test_pretraining_warms_up_linearly_and_ends_at_zero() -> None:
    made = optimisation(PretrainSettings(warmup_epochs=2, epochs=5, learning_rate=0.01), 5, 4)
    rates = []
    for _ in range(20):
        rates.append(made["optimizer"].param_groups[0]["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert rates[:8] == pytest.approx([0.01 * (step + 1) / 8 for step in range(8)], rel=0.15)
    assert rates[0] < 0.2 * max(rates)
    assert int(np.argmax(rates)) in (7, 8)
    assert np.all(np.diff(rates[8:]) < 0)
    assert rates[-1] < 0.05 * max(rates)
    without = optimisation(PretrainSettings(warmup_epochs=0, epochs=5, learning_rate=0.01), 5, 4)
    assert without["optimizer"].param_groups[0]["lr"] == pytest.approx(0.01)


def test_beta2_and_weight_decay_reach_adamw() -> None:
    optimizer = optimisation(PretrainSettings(beta2=0.9, weight_decay=0.07), 5, 4)["optimizer"]
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.9)}
    assert sorted({group["weight_decay"] for group in optimizer.param_groups}) == [0.0, 0.07]
    assert isinstance(optimizer, torch.optim.AdamW)


@pytest.mark.parametrize("schedule", ["cosine", "onecycle"])
def test_finetuning_warms_up_and_ends_at_zero(schedule: str, labelled: Any, tiny_finetuning: Any) -> None:
    settings = tiny_finetuning.replace(steps=20, warmup=0.4, schedule=schedule, learning_rate=0.01, layer_decay=0.5)
    made = dict(FinetuneModule(Classifier(labelled.encoder, labelled.task), settings).configure_optimizers())
    rates = []
    for _ in range(20):
        rates.append([group["lr"] for group in made["optimizer"].param_groups])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    head, slowest = np.array(rates)[:, -1], np.array(rates).min(axis=1)
    assert int(np.argmax(head)) == 7  # the last of 8 steps of warm-up
    assert head[0] < 0.2 * head.max() == pytest.approx(0.002)
    assert np.all(np.diff(head[:8]) > 0)
    assert np.all(np.diff(head[8:]) < 0)
    assert head[-1] < 1e-3 * head.max()
    assert slowest.max() == pytest.approx(0.5**4 * 0.01)


def test_pretraining_validates_on_every_record_in_order(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings
) -> None:
    rows = np.array([3, 70, 1, *range(10, 31)])
    data = PretrainData(tiny_archive, np.arange(40, 60), rows, tiny_pretraining.replace(batch_size=10))
    for _ in range(2):
        seen = [batch["row"].numpy() for batch in data.val_dataloader()]
        assert [len(part) for part in seen] == [10, 10, 4]
        np.testing.assert_array_equal(np.concatenate(seen), rows)


def test_finetuning_validates_on_every_record_in_order(
    labelled: Any, tiny_finetuning: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[np.ndarray] = []
    step = FinetuneModule.validation_step

    def watch(self: nn.Module, batch: dict[str, torch.Tensor], index: int) -> None:
        seen.append(batch["row"].numpy())
        step(self, batch, index)

    monkeypatch.setattr(FinetuneModule, "validation_step", watch)
    monkeypatch.setattr(finetuning, "EVALUATION_BATCH", 16)
    rows = labelled.validation[0]
    found = finetune(
        labelled.encoder, labelled.task, labelled.archive, labelled.train, labelled.validation, tiny_finetuning
    )
    each = -(-len(rows) // 16)
    assert len(seen) == each * (len(found.curve) - 1)  # nothing is computed before the first step
    assert len(rows) % 16
    for start in range(0, len(seen), each):
        np.testing.assert_array_equal(np.concatenate(seen[start : start + each]), rows)
