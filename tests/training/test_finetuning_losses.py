"""What finetuning may learn from labels beside the loss of its task."""

from __future__ import annotations

import copy
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_ecg.backbones import Backbone, Encoder
from ssl_ecg.tasks import (
    Classifier,
    WindowSettings,
    supervised_contrastive_loss,
)
from ssl_ecg.tasks.attention import attention_loss
from ssl_ecg.training import FinetuneSettings
from ssl_ecg.training.finetune_module import FinetuneModule
from ssl_ecg.views import semantic_views

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from conftest import Labelled


def test_records_with_common_labels_attract_each_other_where_wanted(
    labelled: Labelled, tiny_finetuning: FinetuneSettings
) -> None:
    model = Classifier(copy.deepcopy(labelled.encoder), labelled.task)
    rows, targets = (torch.from_numpy(part[:16]) for part in labelled.train)
    read = labelled.archive.read(rows.numpy())._asdict()
    batch = {**{name: torch.from_numpy(part) for name, part in read.items()}, "targets": targets}
    without, with_it = (
        FinetuneModule(model, tiny_finetuning.replace(supervised_contrastive=weight)).training_step(batch, 0)
        for weight in (0.0, 0.3)
    )
    features = labelled.encoder(batch["signal"], batch["recorded"], batch["leads"])
    attraction = supervised_contrastive_loss(features, targets)
    assert float(attraction.detach()) > 0.5
    torch.testing.assert_close(with_it, without + 0.3 * attraction)


def test_semantic_views_of_a_record_and_of_those_with_common_labels_attract_each_other(
    labelled: Labelled, tiny_finetuning: FinetuneSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    views: list[Tensor] = []

    def spy(*given: Any) -> Tensor:
        views.append(semantic_views(*given))
        return views[-1]

    monkeypatch.setattr(sys.modules[FinetuneModule.__module__], "semantic_views", spy)
    model = Classifier(copy.deepcopy(labelled.encoder), labelled.task)
    rows, targets = (torch.from_numpy(part[:16]) for part in labelled.train)
    targets = targets.clone()
    targets[0, 1] = np.nan
    slow = ((targets[:, 1] == 1) | targets[:, 1].isnan()).numpy()
    batch = {
        **{name: torch.from_numpy(part) for name, part in labelled.archive.read(rows.numpy())._asdict().items()},
        "targets": targets,
    }
    settings = tiny_finetuning.replace(
        supervised_contrastive=0.3, semantic_views=True, keep_order=("sinus_bradycardia",)
    )
    loss = FinetuneModule(model, settings).training_step(batch, 0)
    signal, recorded, leads = model.encoder.prepare(batch["signal"], batch["recorded"], batch["leads"])
    moved = (views[0][0] - signal).abs().amax((1, 2)) > 0
    assert not moved[slow].any()
    assert moved[~slow].any()
    features = torch.stack([model.features(view, recorded, leads) for view in views[0]])
    expected = model.task.loss(model.head(model.features(signal, recorded, leads)), targets)
    torch.testing.assert_close(loss, expected + 0.3 * supervised_contrastive_loss(features, targets))
    finished = labelled.finetune(settings.replace(crop=2.5, augment={"gaussian_noise": 0.1}))
    assert np.isfinite([row["validation_loss"] for row in finished.curve]).all()
    with pytest.raises(ValueError, match=r"keep_order=\['flutter'\]: are no classes; choose of sinus_rhythm"):
        labelled.finetune(settings.replace(keep_order=("flutter",)))


@pytest.mark.parametrize("windows", [WindowSettings(), WindowSettings(seconds=2.5, over="features")])
def test_attention_is_pulled_to_the_true_classes_where_wanted(
    labelled: Labelled, tiny_finetuning: FinetuneSettings, windows: WindowSettings
) -> None:
    model = Classifier(copy.deepcopy(labelled.encoder), labelled.task, windows)
    nn.init.normal_(model.head.weight)
    rows, targets = (torch.from_numpy(part[:16]) for part in labelled.train)
    read = labelled.archive.read(rows.numpy())._asdict()
    batch = {**{name: torch.from_numpy(part) for name, part in read.items()}, "targets": targets}
    without, with_it = (
        FinetuneModule(model, tiny_finetuning.replace(windows=windows, attention=weight)).training_step(batch, 0)
        for weight in (0.0, 0.3)
    )
    starts = (0, 125, 250) if windows.of_features else (0,)
    signal = labelled.encoder.prepare(batch["signal"]).signal
    crops = [signal[..., start : start + (250 if windows.of_features else 500)] for start in starts]
    steps = torch.cat([labelled.encoder.backbone.forward_features(crop) for crop in crops], dim=1)
    apart = attention_loss(steps, model.head, targets)
    assert float(apart.detach()) > 0.01
    torch.testing.assert_close(with_it, without + 0.3 * apart)


def test_attention_needs_steps_that_are_pooled_and_nothing_else(
    labelled: Labelled, tiny_finetuning: FinetuneSettings
) -> None:
    class Scaled(Backbone):
        def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
            return signal.transpose(1, 2)

        def forward(self, *signals: Tensor | None) -> Tensor:
            return 2 * super().forward(*signals)

    encoder = Encoder(Scaled(12, 12), {}, labelled.archive.settings)
    with pytest.raises(ValueError, match=r"attention=0.1: backbone '.*Scaled'"):
        labelled.finetune(tiny_finetuning.replace(attention=0.1), encoder)
