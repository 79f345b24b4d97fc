"""A comparison small enough for seconds: five-second signals, a network of 4 channels, a dozen training steps."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import pytest
import torch

from ssl_ecg.archive import Archive, open_archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.comparison import CompareSettings, Round, compare
from ssl_ecg.labels import LabelTable, Splits, SplitSettings, read_labels
from ssl_ecg.synthetic import synthesize
from ssl_ecg.training import FinetuneSettings

CLASSES = ("sinus_rhythm", "sinus_bradycardia", "st_depression")


@dataclass(frozen=True)
class Study:
    """Everything a comparison needs; ``run`` compares into a folder."""

    encoder: Encoder
    archive: Archive
    labels: LabelTable
    splits: Splits
    settings: CompareSettings

    def run(self, out: Path, **changes: object) -> pd.DataFrame:
        changed = replace(self, **changes)
        rounds = [Round((changed.encoder,), changed.splits)]
        return compare(rounds, changed.archive, changed.labels, out, changed.settings, False)


def small_settings(**changes: object) -> CompareSettings:
    """Two fractions, two seeds, two candidates a trained arm, six steps."""
    training = FinetuneSettings(
        steps=6, batch_size=16, evaluations=2, crop=None, layer_decay=0.5, freeze_norm=True, precision="32-true"
    )
    settings: dict[str, object] = {
        "fractions": (0.3, 1.0),
        "seeds": (3, 4),
        "probe_draws": 2,
        "pretrained_finetune": training,
        "scratch": training.replace(head="zero", layer_decay=1.0, freeze_norm=False),
        "pretrained_candidates": ({"learning_rate": 1e-4}, {"learning_rate": 1e-2}),
        "scratch_candidates": ({"learning_rate": 1e-3}, {"learning_rate": 1e-2}),
        "replicates": 50,
    }
    return CompareSettings(**{**settings, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    folder = tmp_path_factory.mktemp("study")
    archive = open_archive(synthesize(folder / "archive", records=150, seed=5, duration=5, workers=1))
    labels = read_labels(folder / "archive" / "labels" / "conditions.csv", archive, CLASSES)
    torch.manual_seed(0)
    encoder = Encoder("xresnet1d10", {"width": 4}, archive.settings).eval()
    splits = SplitSettings(seed=0, validation=0.25, test=0.35).split(labels)
    return Study(encoder, archive, labels, splits, small_settings())


@pytest.fixture(scope="session")
def finished(study: Study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished comparison; read it, do not change it."""
    out = tmp_path_factory.mktemp("finished") / "comparison"
    study.run(out, settings=small_settings(loggers=("jsonl",)))
    return out


@pytest.fixture
def small() -> Callable[..., CompareSettings]:
    return small_settings
