"""A bundle says all that is needed to run it, and the script in it gives what predict gives."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import ssl_ecg
from ssl_ecg.backbones import Encoder
from ssl_ecg.cli import main
from ssl_ecg.deploy import Bundle
from ssl_ecg.deploy.bundle import read_bundle
from ssl_ecg.records import LEADS
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import Classifier, create_task, save_classifier

pytestmark = [pytest.mark.slow, pytest.mark.process]

SIGNAL = SignalSettings(duration=5, min_duration=4, mains=50)


def saved(folder: Path, signal: SignalSettings, task: str, classes: Any, **options: object) -> Path:
    torch.manual_seed(0)
    encoder = Encoder("clocs", {"width": 16}, signal, {"settings": {"holdout": str(folder)}}, frozenset({"0a1b2c3d"}))
    model = Classifier(encoder, create_task(task, classes, **options))
    nn.init.normal_(model.head.weight)
    return save_classifier(model.eval(), folder, "card")


def scored(bundle: Path, *arguments: object) -> dict[str, float]:
    """Run the script by itself."""
    command = [sys.executable, "-I", str(bundle / "score_ecg.py"), *map(str, arguments)]
    found = subprocess.run(command, capture_output=True, text=True, cwd=bundle, check=False)
    assert found.returncode == 0, found.stderr
    return json.loads(found.stdout)


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("labels")
    model = saved(folder / "model", SIGNAL, "arrhythmia", ["AF", "LBBB"], thresholds=[0.5, 0.4])
    assert main(["export", str(model), str(folder / "bundle")]) == 0
    return model, folder / "bundle"


@pytest.mark.parametrize(("rate", "seconds"), [(500, 10), (250, 5), (100, 5), (360, 4.3), (97.5, 6)])
def test_the_script_scores_as_predict_does(
    rate: float, seconds: float, labels: tuple[Path, Path], heartbeat: Callable, tmp_path: Path
) -> None:
    model, bundle = labels
    signal = heartbeat(rate, seconds, seed=3) + 0.1 * np.sin(2 * np.pi * 50 * np.arange(round(rate * seconds)) / rate)
    signal = signal.astype(np.float32)
    wanted = ssl_ecg.load_model(model).predict(signal, sampling_rate=rate, leads=LEADS)[0]
    with (tmp_path / "ecg.csv").open("w", newline="") as file:
        csv.writer(file).writerows([LEADS, *signal.T])
    np.save(tmp_path / "ecg.npy", signal[::-1])
    tables = scored(bundle, tmp_path / "ecg.csv", "--rate", rate)
    arrays = scored(bundle, tmp_path / "ecg.npy", "--rate", rate, "--leads", ",".join(LEADS[::-1]))
    for found in (tables, arrays):
        assert list(found) == ["AF_score", "AF_decision", "LBBB_score", "LBBB_decision"]
        np.testing.assert_allclose([found["AF_score"], found["LBBB_score"]], wanted, atol=1e-4)
        assert (found["AF_decision"], found["LBBB_decision"]) == (wanted[0] >= 0.5, wanted[1] >= 0.4)


def test_the_script_scores_files_as_the_verb_does(
    heartbeat: Callable, write_wfdb: Callable[..., Path], tmp_path: Path
) -> None:
    six = SIGNAL.replace(leads=("I", "II", "V1"), band=(0.5, 20), mains=None, sampling_rate=50)
    model = saved(tmp_path / "model", six, "af_survival", None, bins=4, encoding="ecg_ai")
    ssl_ecg.export(model, tmp_path / "bundle")
    path = write_wfdb(tmp_path / "ward", "ecg", heartbeat(500, 10, 5)).with_suffix(".hea")
    (record,) = ssl_ecg.read_records(path)
    np.save(tmp_path / "ecg.npy", record.signal)
    wanted = ssl_ecg.predict(model, path).iloc[0]
    found = scored(tmp_path / "bundle", tmp_path / "ecg.npy", "--rate", 500, "--leads", ",".join(record.leads))
    assert [name for name in found if name.startswith("survival")] == [
        name for name in wanted.index if str(name).startswith("survival")
    ]
    for name, value in found.items():
        expected = 1 - wanted["prevalent_score"] if name == "no_prevalent_score" else wanted[name]
        assert value == pytest.approx(expected, abs=1e-4)
    outputs = read_bundle(tmp_path / "bundle").outputs
    assert [output.horizon_days for output in outputs] == [None, 456.25, 912.5, 1368.75, 1825.0]


def test_what_the_script_cannot_score_is_said(labels: tuple[Path, Path], heartbeat: Callable, tmp_path: Path) -> None:
    np.save(tmp_path / "ecg.npy", heartbeat(500, 2)[:6])
    for options, message in ((",".join(LEADS[:6]), "V1, V2, V3, V4, V5, V6 are missing"), ("", "")):
        command = [
            sys.executable,
            labels[1] / "score_ecg.py",
            tmp_path / "ecg.npy",
            "--rate",
            "500",
            "--leads",
            options,
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        assert result.returncode != 0
        assert message in result.stderr


def test_a_bundle_tells_all_and_nothing_of_patients_or_machines(labels: tuple[Path, Path]) -> None:
    model, bundle = labels
    assert sorted(path.name for path in bundle.iterdir()) == [
        "README.md", "model.json", "model.onnx", "model.schema.json", "score_ecg.py",
    ]  # fmt: skip
    described = read_bundle(bundle)
    assert (described.task, described.backbone, described.signal) == ("arrhythmia", "clocs", SIGNAL)
    assert [(output.name, output.threshold) for output in described.outputs] == [("AF_score", 0.5), ("LBBB_score", 0.4)]
    assert described.largest_difference is not None
    assert described.largest_difference < 1e-5
    assert set(described.latency_ms) == {"PyTorch", "ONNX Runtime"}
    content = {path.name: path.read_bytes() for path in bundle.iterdir()}
    schema = json.loads(content["model.schema.json"])
    held = json.loads(content["model.json"])
    assert set(held) - {"$schema"} == set(schema["properties"]) == set(Bundle.model_fields)
    for trace in (
        str(model),
        str(bundle),
        str(Path.home()),
        "0a1b2c3d",
        "site-packages",
    ):
        assert not [name for name, held in content.items() if trace.encode() in held]
    assert b"LBBB_score" in content["README.md"]
    assert b"ssl_ecg" not in content["score_ecg.py"]
    (bundle.parent / "torn").mkdir(exist_ok=True)
    (bundle.parent / "torn" / "model.json").write_text('{"format": 3}')
    with pytest.raises(ValueError, match="damaged"):
        read_bundle(bundle.parent / "torn")
    with pytest.raises(FileNotFoundError, match=r"no model\.json"):
        read_bundle(bundle.parent)


def test_other_formats(labels: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model, _ = labels
    made = ssl_ecg.export(model, tmp_path / "torch", format="torch", verify=False)
    assert made.largest_difference is None
    assert not (tmp_path / "torch" / "score_ecg.py").exists()
    program = torch.export.load(tmp_path / "torch" / "model.pt2").module()
    given = torch.randn(5, 12, 500), torch.full((5,), 500), torch.ones(5, 12, dtype=torch.bool)
    torch.testing.assert_close(program(*given), ssl_ecg.load_model(model).scores(*given), atol=1e-5, rtol=0)
    made = ssl_ecg.export(model, tmp_path / "torch", quantize="dynamic")
    assert sorted(made.latency_ms) == ["ONNX Runtime", "ONNX Runtime, 8 bits", "PyTorch"]
    assert made.largest_difference is not None
    assert 0 < made.largest_difference < 0.3
    assert not (tmp_path / "torch" / "model.pt2").exists()
    for out, words, message in (
        (model, (), "holds config.json"),
        (tmp_path / "new", ("format=torch", "quantize=dynamic"), "is for format=onnx"),
        (tmp_path / "new", ("format=onx",), "format='onx'"),
    ):
        assert main(["export", str(model), str(out), *words]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "new").exists()


def test_a_program_that_disagrees_is_not_written(
    labels: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "ssl_ecg.deploy.program.run_program", lambda program: lambda signals: np.full((len(signals[0]), 2), 0.5)
    )
    with pytest.raises(ValueError, match="differ from the model's by up to"):
        ssl_ecg.export(labels[0], tmp_path / "out", format="torch")
    assert list(tmp_path.iterdir()) == []
