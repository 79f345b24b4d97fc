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
from torch import nn

from ssl_ecg.backbones import Encoder, load_encoder
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import Classifier, WindowSettings, create_task, load_model, save_classifier

CLASSES = ("sinus_rhythm", "atrial_fibrillation", "lvh")


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    encoder = Encoder("xresnet1d10", {"width": 8}, SignalSettings(duration=5), patients=frozenset({"0f"}))
    model = Classifier(encoder, create_task("arrhythmia", CLASSES))
    nn.init.normal_(model.head.weight)
    nn.init.normal_(model.head.bias)
    model(torch.randn(8, 12, 500))
    return model.eval()


@pytest.fixture
def folder(model: Classifier, tmp_path: Path) -> Path:
    return save_classifier(model, tmp_path / "model", "# A card\n")


def test_saved_and_loaded_logits_are_identical_bit_for_bit(model: Classifier, folder: Path) -> None:
    signal = torch.randn(3, 12, 500)
    loaded = load_model(folder)
    with torch.inference_mode():
        assert model(signal).shape == (3, 3)
        assert torch.equal(loaded(signal), model(signal))
        assert torch.equal(load_encoder(folder)(signal), model.encoder(signal))
    assert (loaded.task.name, loaded.task.classes) == ("arrhythmia", CLASSES)
    assert loaded.encoder.patients == {"0f"}
    assert not any(module.training for module in loaded.modules())


def test_options_of_the_task_are_kept(model: Classifier, tmp_path: Path) -> None:
    options = {"horizon_days": 730.0, "bins": 10, "encoding": "ecg_ai", "prevalent": "bin"}
    task = create_task("af_survival", ("time_days", "event", "prevalent"), **options)
    loaded = load_model(save_classifier(Classifier(model.encoder, task), tmp_path, "# A card\n"))
    assert loaded.task.options == task.options
    assert options.items() <= loaded.task.options.items()
    assert loaded(torch.randn(2, 12, 500)).shape == (2, 11)


@pytest.mark.parametrize("over", ["scores", "features"])
def test_windows_are_kept(model: Classifier, tmp_path: Path, over: str) -> None:
    windows = WindowSettings(seconds=2.0, stride=1.5, aggregate="mean", over=over)
    cut = Classifier(model.encoder, model.task, windows).eval()
    cut.head.load_state_dict(model.head.state_dict())
    loaded, signal = load_model(save_classifier(cut, tmp_path, "# A card\n")), torch.randn(3, 12, 500)
    assert loaded.windows == windows
    with torch.inference_mode():
        assert torch.equal(loaded.scores(signal), cut.scores(signal))
        assert not torch.allclose(loaded.scores(signal), model.scores(signal))


def test_the_highest_score_of_windows_is_for_classes_alone(folder: Path) -> None:
    encoder, windows = load_model(folder).encoder, WindowSettings(seconds=2.0, stride=1.0, aggregate="max")
    assert Classifier(encoder, create_task("cardiomyopathy", ["low_lvef"]), windows).windows == windows
    with pytest.raises(ValueError, match="aggregate='max': the scores of task 'af_survival' are not of classes"):
        Classifier(encoder, create_task("af_survival", ["time_days", "event", "prevalent"]), windows)


def test_a_folder_from_before_tasks_had_options_loads(folder: Path) -> None:
    created = json.loads((folder / "task.json").read_text())
    assert created.pop("options") == {"loss": "bce"}
    assert created.pop("windows")["seconds"] is None
    (folder / "task.json").write_text(json.dumps(created))
    assert load_model(folder).task.classes == CLASSES


def test_a_disk_that_fills_up_while_saving_leaves_the_old_model(
    model: Classifier, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, content: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 1
    monkeypatch.setattr("ssl_ecg.tasks.classifier.write_json", full)  # the last file, after those of the encoder
    with pytest.raises(OSError, match="No space left"):
        save_classifier(model, folder, "# Another card\n")
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_an_encoder_folder_is_not_a_classifier(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"nowhere.*no task\.json"):
        load_model(tmp_path / "nowhere")
    (folder / "task.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no task\.json, so this is not a finetuned model"):
        load_model(folder)


def write_task(text: str) -> Callable[[Path], None]:
    return lambda folder: (folder / "task.json").write_text(text) and None


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (write_task('{"task": '), r"task\.json: "),
        (write_task('["arrhythmia"]'), r"task\.json: "),
        (write_task('{"task": "arrhythmia"}'), r"task\.json: .*classes"),
        (write_task('{"task": "arrhythmia", "classes": ["a"], "options": {"bins": 3}}'), r"task\.json: .*bins"),
        (write_task(json.dumps({"task": "arrhythmia", "classes": CLASSES, "windows": {"over": "x"}})), r"over='x'"),
        (write_task(json.dumps({"task": "arrhythmia", "classes": CLASSES, "windows": {"seconds": 9}})), r"500 samples"),
        (write_task(json.dumps({"task": "stroke", "classes": CLASSES})), r"task\.json: .*task='stroke'.*arrhythmia"),
        (write_task(json.dumps({"task": "arrhythmia", "classes": CLASSES[:2]})), r"head\.safetensors: .*do not fit"),
        (lambda folder: os.truncate(folder / "head.safetensors", 20), r"head\.safetensors: damaged"),
        (lambda folder: (folder / "config.json").write_text("{"), r"config\.json: damaged"),
    ],
)
def test_a_damaged_folder_is_refused_by_file(folder: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(folder)
    with pytest.raises(ValueError, match=message):
        load_model(folder)


def test_missing_head_is_named(folder: Path) -> None:
    (folder / "head.safetensors").unlink()
    with pytest.raises(FileNotFoundError, match=r"head\.safetensors"):
        load_model(folder)


@pytest.mark.slow
def test_predicting_needs_no_training_library(folder: Path) -> None:
    code = f"""
import sys
import torch
from ssl_ecg.tasks import load_model
assert load_model({str(folder)!r})(torch.zeros(2, 12, 500)).shape == (2, 3)
print(*[name for name in ("pytorch_lightning", "lightly", "timm", "torchvision", "wandb") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == ""
