"""What is taken out of a folder before it is given away."""

from __future__ import annotations

import json
from pathlib import Path

import torch

from ssl_ecg.backbones import Encoder, load_encoder, save_encoder, strip_patients
from ssl_ecg.signals import SignalSettings


def test_hashes_of_patients_go_and_all_else_stays(tmp_path: Path) -> None:
    origin = {"settings": {"epochs": 3}, "patients_digest": "ab", "sites": ["cd"]}
    encoder = Encoder("xresnet1d10", {"width": 4}, SignalSettings(), origin, frozenset({"01", "02"}))
    save_encoder(encoder, tmp_path, "# card")
    weights = (tmp_path / "model.safetensors").read_bytes()
    assert strip_patients(tmp_path) == 2
    assert strip_patients(tmp_path) == 0
    loaded = load_encoder(tmp_path)
    assert (loaded.patients, loaded.origin) == (frozenset(), {"settings": {"epochs": 3}})
    assert (tmp_path / "model.safetensors").read_bytes() == weights
    assert json.loads((tmp_path / "config.json").read_text())["patients"] == []
    assert all(torch.equal(value, loaded.state_dict()[name]) for name, value in encoder.state_dict().items())
