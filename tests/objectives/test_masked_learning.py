"""What the bimodal masked autoencoder learns from synthetic ECGs in some twenty seconds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_ecg.archive import open_archive
from ssl_ecg.backbones import create_backbone
from ssl_ecg.evaluation import macro_auroc
from ssl_ecg.labels import SplitSettings, read_labels
from ssl_ecg.objectives import create_objective
from ssl_ecg.objectives.masked_loss import masked_loss
from ssl_ecg.signals.normalisation import normalise
from ssl_ecg.synthetic import synthesize
from ssl_ecg.tasks import LinearProbe, create_task

pytestmark = pytest.mark.slow


def test_predicts_better_than_the_mean_and_probes_better_than_random_weights(tmp_path: Path) -> None:
    archive = open_archive(synthesize(tmp_path, records=800, seed=1, duration=5, workers=1))
    signals = normalise(*map(torch.from_numpy, archive.read(np.arange(len(archive)))), "lead")
    labels = read_labels(tmp_path / "labels" / "conditions.csv", archive)
    splits = SplitSettings(seed=0).split(labels)
    train, test = (torch.from_numpy(labels.rows[index]) for index in (splits.train, splits.test))

    @torch.inference_mode()
    def probe(backbone: nn.Module) -> float:
        backbone.eval()
        parts = [backbone(part).numpy() for part in signals.split(100)]
        features = np.concatenate(parts)[labels.rows]
        fitted = LinearProbe(create_task("arrhythmia", labels.classes)).fit(
            features[splits.train], labels.targets[splits.train], features[splits.validation],
            labels.targets[splits.validation],
        )  # fmt: skip
        return macro_auroc(labels.targets[splits.test], fitted.scores(features[splits.test]))

    torch.manual_seed(0)
    backbone = create_backbone("bimodal_vit", width=24, depth=2, joint_depth=2, samples=500)
    objective = create_objective(
        "bimodal_mae", backbone, 100.0, decoder_width=24, decoder_depth=2, ratio_time=0.5, ratio_frequency=0.5,
        connections=True,
    )  # fmt: skip
    random = probe(backbone)
    objective.train()
    optimizer = torch.optim.AdamW(objective.parameters(), betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=500)
    for _ in range(500):
        loss = objective({"signal": signals[train[torch.randint(len(train), (32,))]]})["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()

    objective.eval()
    patches = backbone.patches(signals[test])
    masks = objective.draw_masks(patches)
    with torch.no_grad():
        predictions, _ = objective.predict(patches, masks)

    def share_of_the_mean_predictor(name: str) -> float:
        def cost(prediction: Tensor) -> Tensor:
            return masked_loss(prediction, patches[name], masks[name].masked)

        mean = patches[name].mean((0, 1)).expand_as(patches[name])
        return float(cost(predictions[name]) / cost(mean))

    assert share_of_the_mean_predictor("time") < 0.99
    assert share_of_the_mean_predictor("frequency") < 0.6
    assert probe(backbone) > random + 0.05
