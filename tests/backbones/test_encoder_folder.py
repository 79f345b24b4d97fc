from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

import ssl_ecg
from ssl_ecg.backbones import Encoder, load_encoder, save_encoder
from ssl_ecg.signals import SignalSettings

SIGNAL = SignalSettings(sampling_rate=100, duration=5)
PATIENTS = frozenset({"0f3a", "77b1"})


@pytest.fixture
def encoder() -> Encoder:
    torch.manual_seed(0)
    encoder = Encoder("xresnet1d10", {"width": 8}, SIGNAL, {"objective": "cmsc"}, PATIENTS)
    for _ in range(2):
        encoder(torch.randn(8, 12, 500))  # batch norms with statistics of their own
    return encoder.eval()


@pytest.fixture
def folder(encoder: Encoder, tmp_path: Path) -> Path:
    return save_encoder(encoder, tmp_path / "deep" / "encoder", "# A card\n")


def test_saved_and_loaded_features_are_identical_bit_for_bit(encoder: Encoder, folder: Path) -> None:
    signal = torch.randn(3, 12, 500)
    loaded = ssl_ecg.load_encoder(folder)
    with torch.inference_mode():
        assert torch.equal(loaded(signal), encoder(signal))
        assert torch.equal(loaded.forward_steps(signal)[0], encoder.forward_steps(signal)[0])
    assert not any(module.training for module in loaded.modules())
    assert loaded.leads == ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")
    assert (loaded.width, loaded.sampling_rate, loaded.samples) == (64, 100.0, 500)
    assert loaded(signal).shape == (3, 64)
    assert (loaded.signal, loaded.origin, loaded.patients) == (SIGNAL, {"objective": "cmsc"}, PATIENTS)
    assert (folder / "README.md").read_text() == "# A card\n"
    # Safetensors and JSON only: nothing that could run code when it is loaded.
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "config.json", "README.md"}


def test_saving_again_replaces(encoder: Encoder, folder: Path) -> None:
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 1
    save_encoder(encoder, folder, "# Another card\n")
    loaded = load_encoder(folder)
    assert all(torch.equal(a, b) for a, b in zip(loaded.parameters(), encoder.parameters(), strict=True))


def test_a_disk_that_fills_up_while_saving_leaves_the_old_encoder(
    encoder: Encoder, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with torch.no_grad():
        for parameter in encoder.parameters():
            parameter += 1
    monkeypatch.setattr("ssl_ecg.backbones.encoder.write_json", full)  # the last file
    with pytest.raises(OSError, match="No space left"):
        save_encoder(encoder, folder, "# Another card\n")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


@pytest.mark.parametrize(
    ("change", "sides"),
    [
        ({"leads": ("I", "II")}, r"leads: \('I', 'II', 'III'.* against \('I', 'II'\)"),
        ({"leads": ("II", "I", *SIGNAL.leads[2:])}, r"leads: \('I', 'II'.* against \('II', 'I'"),
        ({"sampling_rate": 500.0}, r"sampling_rate: 100\.0 against 500\.0"),
        ({"duration": 10.0}, r"duration: 5\.0 against 10\.0"),
        ({"band": None}, r"band: \(0\.5, 40\.0\) against None"),
        ({"mains": 50}, r"mains: None against 50"),
        ({"normalise": "none"}, r"normalise: lead against none"),
    ],
)
def test_data_prepared_otherwise_is_refused_with_both_sides(
    encoder: Encoder, change: dict[str, object], sides: str
) -> None:
    with pytest.raises(ValueError, match=sides):
        encoder.check(SIGNAL.replace(**change))


def test_all_differences_are_named_at_once_and_equal_settings_pass(encoder: Encoder) -> None:
    encoder.check(SIGNAL.replace(min_duration=1.0))  # which records were accepted is no matter
    with pytest.raises(ValueError, match=r"sampling_rate: .*; normalise: ") as error:
        encoder.check(SIGNAL.replace(sampling_rate=250.0, normalise="record"))
    assert "leads" not in str(error.value)


@pytest.mark.parametrize("shape", [(12, 500), (2, 1, 500), (2, 12, 499), (2, 12, 1000), (2, 500, 12)])
def test_signals_of_another_shape_are_refused(encoder: Encoder, shape: tuple[int, ...]) -> None:
    for call in (encoder, encoder.forward_steps):
        with pytest.raises(ValueError, match=r"12 leads \(I, II, .*500 samples at 100 Hz") as error:
            call(torch.zeros(shape))
        assert str(shape) in str(error.value)


def edit(change: Callable[[dict], object]) -> Callable[[Path], None]:
    def apply(folder: Path) -> None:
        config = json.loads((folder / "config.json").read_text())
        change(config)
        (folder / "config.json").write_text(json.dumps(config))

    return apply


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "config.json").write_text('{"format": '), r"config\.json: damaged encoder config"),
        (lambda folder: (folder / "config.json").write_text("[1, 2]"), r"config\.json: damaged encoder config"),
        (lambda folder: (folder / "config.json").write_bytes(b"\xff\xfe\x00"), r"config\.json: damaged encoder config"),
        (edit(lambda config: config.pop("signal")), r"config\.json: damaged encoder config: signal"),
        (edit(lambda config: config.update(signal=[1])), r"config\.json: damaged encoder config: signal"),
        (edit(lambda config: config["signal"].update(sampling_rat=1)), r"config\.json: .*sampling_rat"),
        (edit(lambda config: config["signal"].update(duration=-1)), r"config\.json: .*duration.*-1"),
        (edit(lambda config: config["backbone"].update(name="resnet5")), r"config\.json: .*resnet5.*xresnet1d10"),
        (edit(lambda config: config["backbone"]["options"].update(widht=1)), r"config\.json: .*widht"),
        (edit(lambda config: config.update(version=99)), r"version 99, this release reads .* version 1"),
        (edit(lambda config: config.update(format="other")), r"other version 1, this release reads ssl_ecg-encoder"),
        (
            edit(lambda config: config["backbone"]["options"].update(width=16)),
            r"more than the .* the weights have",
        ),
        (lambda folder: (folder / "model.safetensors").write_bytes(b"12"), r"model\.safetensors: damaged"),
        (lambda folder: os.truncate(folder / "model.safetensors", 5000), r"model\.safetensors: damaged"),
    ],
)
def test_a_damaged_folder_is_refused_by_file(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(ValueError, match=message):
        load_encoder(folder)


def test_missing_or_extra_weights_are_refused(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    removed = weights.pop("stem.0.0.weight")
    save_file(weights, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"(?s)do not fit.*stem\.0\.0\.weight"):
        load_encoder(folder)
    save_file({**weights, "stem.0.0.weight": removed, "stem.9.weight": torch.ones(1)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"(?s)do not fit.*stem\.9\.weight"):
        load_encoder(folder)


def test_missing_folder_and_missing_weights_are_named(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.*no config\.json"):
        load_encoder(tmp_path / "nowhere")
    (folder / "model.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"model\.safetensors"):
        load_encoder(folder)


@pytest.mark.slow
def test_loading_and_predicting_need_no_training_library(folder: Path) -> None:
    code = f"""
import sys
import torch
import ssl_ecg
features = ssl_ecg.load_encoder({str(folder)!r})(torch.zeros(2, 12, 500))
assert features.shape == (2, 64)
heavy = ("pytorch_lightning", "lightly", "timm", "torchvision", "torchmetrics", "wandb", "tensorboard", "hydra",
         "matplotlib", "sklearn", "torch._dynamo")
print(*[name for name in heavy if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""


@pytest.mark.slow
def test_encoder_can_be_exported(encoder: Encoder) -> None:
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(encoder, (torch.randn(2, 12, 500),), dynamic_shapes=({0: batch},))
    signal = torch.randn(5, 12, 500)
    with torch.inference_mode():
        torch.testing.assert_close(exported.module()(signal), encoder(signal), rtol=1e-5, atol=1e-5)
