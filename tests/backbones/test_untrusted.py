"""Encoder folders that somebody forged or damaged cost nothing and run nothing."""

from __future__ import annotations

import json
import resource
import socket
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from ssl_ecg.backbones import Encoder, list_backbones, load_encoder, save_encoder
from ssl_ecg.signals import SignalSettings

SIGNAL = SignalSettings(sampling_rate=100, duration=5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    return save_encoder(Encoder("xresnet1d10", {"width": 8}, SIGNAL), tmp_path / "encoder", "card")


def forge(folder: Path, **changes: Any) -> None:
    config = json.loads((folder / "config.json").read_text())
    for name, value in changes.items():
        part = config
        *path, last = name.split("__")
        for inner in path:
            part = part[inner]
        part[last] = value
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone__options": {"width": 20_000}}, "more than the .* values that the weights have"),
        ({"backbone__options": {"width": 10**12}}, "width: larger than 1,000,000"),
        ({"backbone": {"name": "vit1d", "options": {"depth": 900_000}}}, "more than the .* that the weights have"),
        ({"backbone": {"name": "s4d", "options": {"depth": 500_000}}}, "more than the|no encoder can be built"),
        ({"backbone": {"name": "bimodal_vit", "options": {"samples": 999_999}}}, "more than the .* values"),
        ({"backbone__options": {"kernel": "5"}}, "no encoder can be built"),
        ({"backbone__options": [1]}, "is no object"),
        ({"backbone__options": {"width": 16}}, "the weights do not fit the config|more than the"),
        ({"backbone": {"name": "xresnet1d18", "options": {"width": 4}}}, "do not fit the config|more than the"),
        ({"backbone": {"name": "ecg_image", "options": {"weights": "hub"}}}, "is for new networks alone"),
        (
            {"backbone": {"name": "lead_wise", "options": {"single": "ecg_image", "weights": "hub"}}},
            "is for new networks alone",
        ),
        (
            {"backbone": {"name": "attention_pooled", "options": {"steps_of": "spectral_image", "weights": "hub"}}},
            "is for new networks alone",
        ),
        ({"backbone": {"name": "ecg_image", "options": {"weights": "/etc/passwd"}}}, "outside the folder"),
        ({"backbone": {"name": "ecg_image", "options": {"network": "hf-hub:a/b"}}}, "outside the folder"),
        ({"backbone": "xresnet1d10"}, "backbone is no object"),
        ({"backbone": {"name": ["a"], "options": {}}}, "no encoder can be built"),
        ({"patients": "abc"}, "patients is no list"),
        ({"patients": [1, 2]}, "patients holds what is no text"),
        ({"origin": None}, "origin is no object"),
        ({"signal": []}, "signal is no object"),
        ({"signal__duration": 1e9}, "no encoder can be built"),
        ({"signal__leads": ["I", "I"]}, "no encoder can be built"),
        ({"version": 7}, "version 7"),
    ],
)
def test_a_forged_config_is_refused_before_anything_is_built(
    folder: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any], message: str
) -> None:
    def connect(*_: Any) -> None:
        raise AssertionError("a loaded folder asked for the network")

    monkeypatch.setattr(socket.socket, "connect", connect)
    forge(folder, **changes)
    before, started = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    with pytest.raises(ValueError, match=message) as error:
        load_encoder(folder)
    assert str(folder) in str(error.value)
    assert "\n" not in str(error.value)
    assert time.monotonic() - started < 20
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 500_000  # kB


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("config.json", b"[" * 100_000, "damaged encoder config .RecursionError"),
        ("config.json", b"\xff\xfe", "damaged encoder config"),
        ("config.json", b"[]", "damaged encoder config"),
        ("model.safetensors", b"", "damaged weights"),
        ("model.safetensors", b"\xff" * 7 + b"\x7f" + b"{}", "damaged weights"),
        ("model.safetensors", b"\x00" * 100, "damaged weights"),
    ],
)
def test_a_damaged_file_is_named(folder: Path, file: str, content: bytes, message: str) -> None:
    (folder / file).write_bytes(content)
    with pytest.raises(ValueError, match=message):
        load_encoder(folder)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(folder: Path, value: float) -> None:
    weights = load_file(folder / "model.safetensors")
    name = max(weights)
    weights[name].flatten()[0] = value
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match="holds values that are not finite"):
        load_encoder(folder)


@pytest.mark.slow
@pytest.mark.parametrize("name", list_backbones())
def test_every_network_is_checked_without_memory_and_loaded(name: str, tmp_path: Path) -> None:
    if name.startswith("own_"):
        pytest.skip("of somebody else")
    options = {"single": "xresnet1d10"} if name == "lead_wise" else {}
    torch.manual_seed(0)
    encoder = Encoder(name, options, SIGNAL)
    loaded = load_encoder(save_encoder(encoder, tmp_path, "card"))
    for key, value in encoder.backbone.state_dict().items():
        assert torch.equal(loaded.backbone.state_dict()[key], value), key
