"""The model that ships: findings for whoever has no label."""

from __future__ import annotations

import runpy
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import ssl_ecg
from ssl_ecg.cli import main
from ssl_ecg.evaluation import auroc_per_class
from ssl_ecg.synthetic import draw_ecgs
from ssl_ecg.synthetic.simulator import CONDITIONS, simulate

pytestmark = pytest.mark.slow

SCRIPT = Path(__file__).parents[2] / "pretrain" / "synthetic_findings.py"


def test_it_is_the_encoder_that_ships_and_decides_nothing() -> None:
    model, encoder = ssl_ecg.load_model("synthetic"), ssl_ecg.load_encoder("synthetic")
    assert model.task.classes == CONDITIONS
    assert len(CONDITIONS) == 50
    assert model.task.options == {"loss": "bce"}, "no label chose thresholds"
    assert model.typicality is None, "it would compare with simulated ECGs"
    assert not model.training
    for name, weights in encoder.backbone.state_dict().items():
        assert torch.equal(model.encoder.backbone.state_dict()[name], weights)


def test_a_folder_of_ones_own_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"folder='synthetic': no task.json"):
        ssl_ecg.load_model("./synthetic")


def test_it_tells_conditions_of_hearts_that_it_has_not_seen() -> None:
    model = ssl_ecg.load_model("synthetic")
    torch.manual_seed(77)
    ecgs = simulate(300, model.encoder.signal)
    asked = [CONDITIONS.index(name) for name in ("atrial_fibrillation", "left_bundle_branch_block")]
    scores = model.predict(ecgs.signal.numpy())
    assert scores.shape == (300, 50)
    assert auroc_per_class(ecgs.conditions.numpy()[:, asked], scores[:, asked]).min() > 0.9


def test_a_word_is_enough_on_the_command_line(
    tmp_path: Path, write_wfdb, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    for number, signal in enumerate(draw_ecgs(3, seed=4, sampling_rate=250).signal):
        write_wfdb(tmp_path / "ecgs", f"r{number}", signal, 250)
    assert main(["predict", "synthetic", "ecgs", "predictions", "workers=1"]) == 0
    table = pd.read_csv("predictions/predictions.csv")
    assert [*table] == ["record_id", "abstained", *(f"{name}_score" for name in CONDITIONS)]
    assert len(table) == 3
    given = ssl_ecg.load_model("synthetic").predict(tmp_path / "ecgs" / "r1.hea")
    np.testing.assert_allclose(table.iloc[1, 2:].astype(float), given[0], rtol=1e-4)
    assert "they rank records and name nothing" in Path("predictions/report.html").read_text(encoding="utf-8")
    assert main(["info", "synthetic"]) == 0
    assert "left_bundle_branch_block" in capsys.readouterr().out


def test_the_script_makes_what_ships(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of three conditions: each is fitted by itself."""
    asked = ("atrial_fibrillation", "left_bundle_branch_block", "low_voltage")
    findings = runpy.run_path(str(SCRIPT))["findings"]
    monkeypatch.setitem(findings.__globals__, "CONDITIONS", asked)
    made = findings(ssl_ecg.load_encoder("synthetic")).head.state_dict()
    ships = ssl_ecg.load_model("synthetic").head.state_dict()
    rows = [CONDITIONS.index(name) for name in asked]
    for name, weights in made.items():
        torch.testing.assert_close(weights, ships[name][rows], rtol=0.02, atol=0.01)
