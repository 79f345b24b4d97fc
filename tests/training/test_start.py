from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder, load_encoder, save_encoder
from ssl_ecg.training import PretrainSettings, pretrain
from ssl_ecg.training.pretraining import PretrainModule

pytestmark = pytest.mark.slow


def still(settings: PretrainSettings, **changes: Any) -> PretrainSettings:
    """The settings of a pretraining that hardly moves: its weights show what it started from."""
    return settings.replace(epochs=1, learning_rate=1e-9, weight_decay=0.0, **changes)


@pytest.fixture
def earlier(tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path) -> Path:
    torch.manual_seed(77)
    options = tiny_pretraining.backbone.options
    encoder = Encoder("xresnet1d10", options, tiny_archive.settings, patients=frozenset({"somebody"}))
    encoder.origin = {"settings": {"objective": {"name": "vicreg"}}, "start": {"objective": "simulation"}}
    return save_encoder(encoder, tmp_path / "earlier", "card")


@pytest.mark.parametrize("objective", ["cmsc", "byol", "simulation"])
def test_starts_from_an_encoder(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path, earlier: Path, objective: str
) -> None:
    settings = still(tiny_pretraining, objective=objective, start=str(earlier))
    made = pretrain(tiny_archive, tmp_path / "out", settings, progress=False)
    for one, other in zip(made.backbone.parameters(), load_encoder(earlier).backbone.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=1e-6)
    assert made.origin["start"]["objective"] == "vicreg"
    assert made.origin["objectives"] == [objective, "vicreg", "simulation"]
    assert "somebody" in made.patients
    assert made.origin["patients"] == len(made.patients) - 1
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"vicreg (weights {made.origin['start']['weights']})" in card


def test_a_run_goes_on_only_from_the_same_start(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path, earlier: Path
) -> None:
    settings = still(tiny_pretraining, start=str(earlier))
    pretrain(tiny_archive, tmp_path / "out", settings, progress=False)
    moved = earlier.rename(tmp_path / "moved")
    again = pretrain(tiny_archive, tmp_path / "out", settings.replace(start=str(moved)), progress=False)
    assert again.origin["start"]["objective"] == "vicreg"
    with pytest.raises(ValueError, match="start"):
        pretrain(tiny_archive, tmp_path / "out", settings.replace(start=None), progress=False)


def test_another_network_or_signal_is_refused(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path, earlier: Path
) -> None:
    settings = still(tiny_pretraining, start=str(earlier))
    wider = settings.replace(backbone={"name": "xresnet1d10", "width": 4})
    with pytest.raises(ValueError, match=r"start=.*backbone: .*'width': 8.* against .*'width': 4"):
        pretrain(tiny_archive, tmp_path / "wider", wider, progress=False)
    config = json.loads((earlier / "config.json").read_text(encoding="utf-8"))
    config["signal"]["sampling_rate"] = 200.0
    (earlier / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=r"start=.*sampling_rate: 200.0 against 100.0"):
        pretrain(tiny_archive, tmp_path / "faster", settings, progress=False)
    assert not (tmp_path / "faster" / "config.json").exists()
    with pytest.raises(FileNotFoundError, match=r"no config\.json"):
        pretrain(tiny_archive, tmp_path / "none", settings.replace(start=str(tmp_path / "nowhere")), progress=False)


def test_simulation_goes_on_after_a_kill_as_if_it_had_not_stopped(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny_pretraining.replace(objective="simulation", epochs=2)
    whole = pretrain(tiny_archive, tmp_path / "whole", settings, progress=False)
    step = PretrainModule.training_step

    def stop(self: PretrainModule, batch: dict[str, torch.Tensor], index: int) -> torch.Tensor:
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        return step(self, batch, index)

    with monkeypatch.context() as patched:
        patched.setattr(PretrainModule, "training_step", stop)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            pretrain(tiny_archive, tmp_path / "killed", settings, progress=False)
    assert not (tmp_path / "killed" / "config.json").exists()
    resumed = pretrain(tiny_archive, tmp_path / "killed", settings, progress=False)
    states = whole.backbone.state_dict(), resumed.backbone.state_dict()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
