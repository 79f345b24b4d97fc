"""New ECGs are scored as ingest and evaluate would score them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import ssl_ecg
from ssl_ecg.backbones import Encoder
from ssl_ecg.cli import main
from ssl_ecg.records import LEADS, RecordError
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import Classifier, WindowSettings, create_task, load_model, save_classifier
from ssl_ecg.training import predict_scores

SIGNAL = SignalSettings(duration=5, min_duration=4)


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory, write_wfdb: Callable[..., Path], heartbeat: Callable) -> Path:
    """Nine recordings of several rates and lengths, one of which is flat, and what is none."""
    folder = tmp_path_factory.mktemp("ward")
    for number in range(8):
        rate, seconds = (250.0, 5.0) if number % 2 else (500.0, 10.0)
        seconds = 4.5 if number == 3 else seconds
        write_wfdb(folder / f"bed{number % 2}", f"ecg{number}", heartbeat(rate, seconds, number), rate)
    write_wfdb(folder, "flat", np.zeros((12, 5000)))
    (folder / "notes.txt").write_text("no ECG")
    return folder


def saved(folder: Path, task: str, classes: list[str], windows: WindowSettings, **options: object) -> Path:
    torch.manual_seed(0)
    model = Classifier(
        Encoder("xresnet1d10", {"width": 8}, SIGNAL), create_task(task, classes or None, **options), windows
    )
    model.eval()
    nn.init.normal_(model.head.weight)
    return save_classifier(model, folder, "card")


MODELS = {
    "labels": ("arrhythmia", ["AF", "LBBB"], WindowSettings(), {"thresholds": [0.5, 0.4]}),
    "windows": ("arrhythmia", ["AF"], WindowSettings(seconds=2.5), {}),
    "survival": ("af_survival", [], WindowSettings(), {"bins": 4}),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", MODELS)
def test_files_are_scored_as_their_archive_is(kind: str, ward: Path, tmp_path: Path) -> None:
    task, classes, windows, options = MODELS[kind]
    model = saved(tmp_path / "model", task, classes, windows, **options)
    report = ssl_ecg.ingest(
        ward, tmp_path / "archive", duration=5, min_duration=4, workers=1, progress=False, patients=None
    )
    assert report.accepted == 8
    expected = predict_scores(load_model(model), report.archive, np.arange(8))
    found = ssl_ecg.predict(model, ward, tmp_path / "out", workers=2).set_index("record_id")
    assert set(found.index) == {*report.archive.manifest["record_id"], "flat"}
    assert found.loc["flat", "abstained"].startswith("flat lead")
    assert found.loc["flat"].iloc[1:].isna().all()
    scored = found.loc[report.archive.manifest["record_id"]]
    assert (scored["abstained"] == "").all()
    wanted = load_model(model).task.predictions(expected)
    pd.testing.assert_frame_equal(
        scored.iloc[:, 1:].reset_index(drop=True), wanted, check_dtype=False, atol=1e-5, rtol=0
    )
    of_archive = ssl_ecg.predict(model, tmp_path / "archive")
    pd.testing.assert_frame_equal(of_archive.iloc[:, 2:], wanted, atol=1e-5, rtol=0)

    written = pd.read_csv(tmp_path / "out" / "predictions.csv", dtype={"record_id": str}).set_index("record_id")
    assert list(written) == list(found)
    np.testing.assert_allclose(
        written.iloc[:, 1:].astype(float), found.iloc[:, 1:].astype(float), rtol=1e-4, equal_nan=True
    )
    rows = json.loads((tmp_path / "out" / "predictions.json").read_text())
    assert [row["record_id"] for row in rows] == list(found.index)
    assert rows[list(found.index).index("flat")][scored.columns[1]] is None

    one = ward / "bed1" / "ecg1.hea"
    alone = ssl_ecg.predict(model, one)
    pd.testing.assert_frame_equal(
        alone.iloc[:, 2:], scored.loc[["bed1/ecg1"]].iloc[:, 1:].reset_index(drop=True), check_dtype=False, atol=1e-5
    )
    loaded, record = load_model(model), next(ssl_ecg.read_records(one))
    row = list(report.archive.manifest["record_id"]).index("bed1/ecg1")
    np.testing.assert_allclose(loaded.predict(one), expected[[row]], atol=1e-5)
    given = loaded.predict(record.signal, sampling_rate=record.sampling_rate, leads=record.leads)
    np.testing.assert_allclose(given, expected[[row]], atol=1e-5)
    order = np.random.default_rng(0).permutation(12)
    given = loaded.predict(record.signal[order], sampling_rate=250, leads=[LEADS[i] for i in order])
    np.testing.assert_allclose(given, expected[[row]], atol=1e-5)


def test_decisions_follow_the_thresholds(ward: Path, tmp_path: Path) -> None:
    model = saved(tmp_path / "model", "arrhythmia", ["AF", "LBBB"], WindowSettings(), thresholds=[0.5, 0.4])
    found = ssl_ecg.predict(model, ward)
    scored = found[found["abstained"] == ""]
    assert list(found) == ["record_id", "abstained", "AF_score", "AF_decision", "LBBB_score", "LBBB_decision"]
    for name, threshold in (("AF", 0.5), ("LBBB", 0.4)):
        assert (scored[f"{name}_decision"] == (scored[f"{name}_score"] >= threshold)).all()
        assert scored[f"{name}_decision"].sum() > 0 or (scored[f"{name}_score"] < threshold).all()
    assert found["AF_decision"].isna().sum() == 1


def test_what_cannot_be_scored_says_why(
    ward: Path, tmp_path: Path, write_wfdb: Callable[..., Path], heartbeat: Callable
) -> None:
    model = saved(tmp_path / "model", "arrhythmia", ["AF"], WindowSettings())
    loaded = load_model(model)
    six = write_wfdb(tmp_path / "six", "six", heartbeat()[:6]).with_suffix(".hea")
    assert ssl_ecg.predict(model, six)["abstained"].iloc[0].startswith("missing lead: V1")
    assert ssl_ecg.predict(model, six, partial_leads=True)["abstained"].iloc[0] == ""
    with pytest.raises(RecordError, match="missing lead: V1"):
        loaded.predict(six)
    with pytest.raises(RecordError, match="too short"):
        loaded.predict(heartbeat(500, 2), sampling_rate=500)
    assert ssl_ecg.predict(model, ward / "notes.txt")["abstained"].iloc[0].startswith("unknown format")
    with pytest.raises(FileNotFoundError, match="neither a file nor a folder"):
        ssl_ecg.predict(model, ward / "nowhere")
    for folder in (model, ward):
        (ward / "archive.json").unlink(missing_ok=True)
        with pytest.raises((ValueError, FileNotFoundError), match=r"holds config\.json|no task\.json"):
            ssl_ecg.predict(model if folder == model else ward, ward, model)


def test_the_command_line(ward: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    model = saved(tmp_path / "model", "arrhythmia", ["AF"], WindowSettings())
    out = tmp_path / "out"
    assert main(["predict", str(model), str(ward), str(out), "workers=1"]) == 0
    assert main(["predict", str(model), str(ward / "bed1" / "ecg1.hea")]) == 0
    printed = capsys.readouterr().out
    assert "8 records scored, 1 not" in printed
    assert "1 flat lead" in printed
    assert "AF_score" in printed
    assert len(pd.read_csv(out / "predictions.csv")) == 9
