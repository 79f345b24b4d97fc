from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

import ssl_ecg
from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder, save_encoder
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import load_model

pytestmark = pytest.mark.slow


class Plain(nn.Module):
    """[B, L, T] -> [B, D], and it knows nothing of this package."""

    def __init__(self, width: int = 6) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Conv1d(12, width, 25, 10), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten())

    def forward(self, signal: Tensor) -> Tensor:
        return self.layers(signal)


class Stepwise(Plain):
    """The same with steps."""

    def forward_features(self, signal: Tensor) -> Tensor:
        return self.layers[:2](signal).transpose(1, 2)


class Odd(Plain):
    """With a parameter that nothing resets."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))


BUDGET = {"steps": 2, "batch_size": 16, "evaluations": 1, "crop": None, "precision": "32-true"}
SMALL = {"epochs": 1, "batch_size": 16, "warmup_epochs": 0, "progress": False}
SPLIT = {"validation": 0.25, "test": 0.3, "seed": 2}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return ssl_ecg.synthesize(tmp_path_factory.mktemp("foreign") / "archive", records=80, seed=5, duration=5, workers=1)


@pytest.mark.parametrize("kind", [Plain, Stepwise])
def test_saved_features_come_back_with_the_class_that_the_folder_asks_for(kind: type[Plain], tmp_path: Path) -> None:
    signal = SignalSettings(duration=5, min_duration=5)
    encoder = Encoder(kind(), {}, signal).eval()
    ecgs = torch.randn(3, 12, 500)
    assert encoder(ecgs).shape == (3, 6)
    save_encoder(encoder, tmp_path, "card")
    with pytest.raises(ValueError, match=rf"network is .*:{kind.__name__}; make one and give it: load_encoder\(folder"):
        ssl_ecg.load_encoder(tmp_path)
    assert torch.equal(ssl_ecg.load_encoder(tmp_path, backbone=kind())(ecgs), encoder(ecgs))


def test_steps_beyond_what_was_recorded_do_not_count() -> None:
    encoder = Encoder(Stepwise(), {}, SignalSettings(duration=5, min_duration=5, normalise="none")).eval()
    signal = torch.randn(2, 12, 500)
    recorded = torch.tensor([500, 250])
    short = encoder(signal, recorded)
    torch.testing.assert_close(short[0], encoder(signal)[0])
    assert not torch.allclose(short[1], encoder(signal)[1])


@pytest.mark.worst_errors
def test_a_network_stands_wherever_a_name_does(archive: Archive, tmp_path: Path) -> None:
    labels = archive.folder / "labels" / "conditions.csv"
    how = {"classes": ("sinus_rhythm",), "split": SPLIT}
    encoder = ssl_ecg.pretrain(archive, tmp_path / "encoder", backbone=Plain(), holdout=labels, **SMALL, **how)
    described = encoder.origin["settings"]["backbone"]
    assert described["name"].endswith(":Plain")
    with pytest.raises(ValueError, match="make one and give it"):
        ssl_ecg.load_encoder(tmp_path / "encoder")
    again = ssl_ecg.pretrain(archive, tmp_path / "encoder", backbone=Plain(), holdout=labels, **SMALL, **how)
    signal = torch.from_numpy(archive.read([0, 1]).signal)
    assert torch.equal(again(signal), encoder(signal))  # finished: loaded, not trained again
    with pytest.raises(ValueError, match=r"settings\.backbone\.shapes: "):
        ssl_ecg.pretrain(archive, tmp_path / "encoder", backbone=Plain(7), holdout=labels, **SMALL, **how)

    probed = ssl_ecg.probe(encoder, archive, labels, **how)
    assert 0 <= probed.metrics["macro_auroc"] <= 1
    ssl_ecg.finetune(
        None, archive, labels, tmp_path / "model", backbone=Plain(), training=BUDGET, progress=False, **how
    )
    with pytest.raises(ValueError, match="make one and give it"):
        load_model(tmp_path / "model")
    assert load_model(tmp_path / "model", backbone=Plain()).predict(signal).shape == (2, 1)
    summary = ssl_ecg.compare(
        encoder, archive, labels, tmp_path / "comparison", fractions=(1.0,), seeds=(0,), replicates=20, progress=False,
        pretrained_finetune=BUDGET, scratch={"name": "scratch", **BUDGET},
        pretrained_candidates=({},), scratch_candidates=({},), **how,
    )  # fmt: skip
    assert {"scratch", "random_probe"} <= set(summary["arm"])


def test_what_nothing_resets_cannot_be_compared_with_random_weights(archive: Archive) -> None:
    from ssl_ecg.comparison.arms import random_encoder

    encoder = Encoder(Odd(), {}, archive.settings)
    with pytest.raises(ValueError, match=r"nothing resets network.scale; give Odd a method reset_parameters"):
        random_encoder(encoder, 0)


def test_what_is_no_network_for_signals_is_refused() -> None:
    with pytest.raises(ValueError, match="Linear"):
        Encoder(nn.Linear(3, 3), {}, SignalSettings())
