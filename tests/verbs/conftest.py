"""A ward of recordings, and a model."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ssl_ecg.backbones import Encoder
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import Classifier, create_task, save_classifier


@pytest.fixture(scope="package")
def ward(tmp_path_factory: pytest.TempPathFactory, write_wfdb: Callable[..., Path], heartbeat: Callable) -> Path:
    """Four recordings, one of them short, one that is flat, and a file that is none."""
    folder = tmp_path_factory.mktemp("ward")
    for number, (rate, seconds) in enumerate([(500.0, 10.0), (250.0, 5.0), (500.0, 4.5), (100.0, 7.0)]):
        write_wfdb(folder / "bed", f"ecg{number}", heartbeat(rate, seconds, number), rate)
    write_wfdb(folder, "flat", np.zeros((12, 5000)))
    (folder / "notes.txt").write_text("no ECG")
    return folder


@pytest.fixture(scope="package")
def save_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function that writes a model of random weights and returns its folder."""

    def save(
        task: str = "arrhythmia",
        classes: list[str] | None = ["AF", "LBBB"],  # noqa: B006
        backbone: str = "xresnet1d10",
        signal: SignalSettings = SignalSettings(duration=5, min_duration=4),  # noqa: B008
        **options: object,
    ) -> Path:
        torch.manual_seed(0)
        model = Classifier(Encoder(backbone, {"width": 8}, signal), create_task(task, classes, **options)).eval()
        nn.init.normal_(model.head.weight)
        return save_classifier(model, tmp_path_factory.mktemp("model"), "card")

    return save


@pytest.fixture(scope="package")
def model(save_model: Callable[..., Path]) -> Path:
    return save_model()
