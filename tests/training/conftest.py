"""A small synthetic archive that the tests of the engine share."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from ssl_ecg.archive import Archive, open_archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.labels import SplitSettings, read_labels
from ssl_ecg.synthetic import synthesize
from ssl_ecg.tasks import Task, WindowSettings, create_task
from ssl_ecg.training import Finetuned, FinetuneSettings, PretrainSettings, finetune
from ssl_ecg.training.finetune_module import FinetuneModule


@pytest.fixture(autouse=True, scope="session")
def _on_the_cpu() -> None:
    """Bit-for-bit comparisons hold on the CPU; on a GPU some sums come in any order."""
    os.environ["CUDA_VISIBLE_DEVICES"] = ""


@pytest.fixture(scope="session")
def tiny_archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """80 synthetic ECGs of some 30 patients, 5 s at 100 Hz."""
    folder: Path = tmp_path_factory.mktemp("synthetic")
    return open_archive(synthesize(folder, records=80, seed=5, duration=5, workers=1))


@pytest.fixture(scope="session")
def tiny_pretraining() -> PretrainSettings:
    """A pretraining of seconds, with everything random that a real one has."""
    return PretrainSettings(
        objective={
            "name": "cmsc",
            "projector_width": 16,
            "embedding": 8,
            "augment": {"lead_masking": 0.5, "gaussian_noise": 0.1},
        },
        backbone={"name": "xresnet1d10", "width": 8},
        epochs=4,
        batch_size=16,
        learning_rate=1e-3,
        weight_decay=0.05,
        warmup_epochs=1,
        patience=15,
        keep="last",
        validation=0.2,
        precision="32-true",
        devices=1,
        seed=3,
    )


@dataclass(frozen=True)
class Labelled:
    """Records with labels of two rhythms, in three parts, and a random encoder for them."""

    archive: Archive
    encoder: Encoder
    task: Task
    train: tuple[np.ndarray, np.ndarray]
    validation: tuple[np.ndarray, np.ndarray]
    test: tuple[np.ndarray, np.ndarray]

    def finetune(self, settings: FinetuneSettings, encoder: Encoder | None = None, **parts: Any) -> Finetuned:
        """Train, with other records where ``train`` or ``validation`` are given."""
        parts = {"train": self.train, "validation": self.validation, **parts}
        start = encoder or self.encoder
        return finetune(start, self.task, self.archive, parts["train"], parts["validation"], settings)


@pytest.fixture
def at_every_step(
    monkeypatch: pytest.MonkeyPatch,
) -> Callable[[Callable[[FinetuneModule, dict[str, Tensor]], Any]], list[Any]]:
    """A function that notes what another one says of the module and the batch at each training step."""

    def watch(look: Callable[[FinetuneModule, dict[str, Tensor]], Any]) -> list[Any]:
        seen: list[Any] = []
        original = FinetuneModule.training_step

        def step(self: FinetuneModule, batch: dict[str, Tensor], batch_index: int) -> Tensor:
            seen.append(look(self, batch))
            return original(self, batch, batch_index)

        monkeypatch.setattr(FinetuneModule, "training_step", step)
        return seen

    return watch


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Labelled:
    """240 synthetic ECGs of 5 s: enough to learn slow and fast rhythms from."""
    folder = synthesize(tmp_path_factory.mktemp("labelled"), records=240, seed=5, duration=5, workers=1)
    archive = open_archive(folder)
    labels = read_labels(folder / "labels" / "conditions.csv", archive, ("sinus_rhythm", "sinus_bradycardia"))
    splits = SplitSettings(seed=4, validation=0.25, test=0.25).split(labels)
    torch.manual_seed(0)
    encoder = Encoder("xresnet1d10", {"width": 8}, archive.settings)
    encoder(*map(torch.from_numpy, archive.read(labels.rows[splits.train])))  # batch norms know the signals
    parts = [(labels.rows[index], labels.targets[index]) for index in (splits.train, splits.validation, splits.test)]
    return Labelled(archive, encoder.eval(), create_task("arrhythmia", labels.classes), *parts)


@pytest.fixture(scope="session")
def tiny_finetuning() -> FinetuneSettings:
    """A finetuning of a second, every setting given."""
    return FinetuneSettings(
        steps=8,
        epochs=None,
        batch_size=32,
        learning_rate=3e-3,
        layer_decay=0.8,
        weight_decay=0.05,
        schedule="cosine",
        warmup=0.1,
        head="probe",
        freeze_norm=True,
        crop=None,
        windows=WindowSettings(),
        augment={},
        supervised_contrastive=0.0,
        semantic_views=False,
        keep_order=(),
        attention=0.0,
        one_per_patient=False,
        evaluations=4,
        precision="32-true",
        seed=0,
    )
