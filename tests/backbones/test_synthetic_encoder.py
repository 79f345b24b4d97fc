"""The encoder that ships."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors import safe_open

import ssl_ecg
from ssl_ecg.runs import SHIPPED, sha256
from ssl_ecg.signals import SignalSettings
from ssl_ecg.synthetic.simulator import simulate

FOLDER = Path(ssl_ecg.__file__).parent / "encoders"


@pytest.mark.parametrize("name", SHIPPED)
def test_ships_small_and_without_patients(name: str) -> None:
    folder = FOLDER / name
    assert sum(path.stat().st_size for path in folder.iterdir()) < 4_000_000
    encoder, model = {"config.json", "model.safetensors", "README.md"}, {"head.safetensors", "task.json"}
    assert {path.name for path in folder.iterdir()} == encoder | model
    with safe_open(folder / "model.safetensors", "pt") as weights:
        kinds = {weights.get_slice(key).get_dtype() for key in weights.keys()}  # noqa: SIM118
    assert kinds == {"F16", "I64"}
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    assert config["patients"] == []
    assert config["origin"]["settings"]["objective"]["name"] == "simulation"
    assert "/" not in json.dumps(config["origin"])  # no path of the machine that made it


def test_the_encoder_is_the_one_that_was_measured() -> None:
    """What docs say of it, and runs that began from it, is of these files."""
    assert sha256(FOLDER / "synthetic" / "model.safetensors").startswith("73f41b840064f338")
    assert sha256(FOLDER / "synthetic" / "config.json").startswith("95cc04467cdbc6c7")


def test_is_loaded_by_name_for_the_archive_by_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    encoder = ssl_ecg.load_encoder("synthetic")
    encoder.check(SignalSettings())
    assert not encoder.training
    assert {parameter.dtype for parameter in encoder.parameters()} == {torch.float32}
    assert encoder(torch.zeros(2, 12, 1000)).shape == (2, encoder.width)
    with pytest.raises(FileNotFoundError):
        ssl_ecg.load_encoder("./synthetic")


def test_knows_simulated_hearts_that_it_has_not_seen() -> None:
    """The nearest class mean of its features, of ECGs of seeds that training did not use."""
    encoder = ssl_ecg.load_encoder("synthetic")
    findings = ["left_bundle_branch_block"], ["atrial_fibrillation"], ["inferior_infarction"], []
    torch.manual_seed(123456)
    with torch.inference_mode():
        features = torch.stack([encoder(simulate(48, conditions=shown).signal) for shown in findings])  # [4, 48, D]
    features = (features - features.mean((0, 1))) / features.std((0, 1)).clamp(min=1e-6)
    means = features[:, :24].mean(1)
    nearest = torch.cdist(features[:, 24:], means).argmin(2)
    assert float((nearest == torch.arange(4)[:, None]).float().mean()) > 0.7
