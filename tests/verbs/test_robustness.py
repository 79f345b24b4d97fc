"""From a model and labelled records to how its score falls with distortion."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import ssl_ecg
from ssl_ecg.evaluation import macro_metrics
from ssl_ecg.labels import read_labels
from ssl_ecg.training import predict_scores

pytestmark = pytest.mark.slow
CLASSES = ("sinus_rhythm", "sinus_bradycardia")


def test_a_model_is_scored_at_every_level(tmp_path: Path) -> None:
    archive = ssl_ecg.synthesize(tmp_path / "archive", records=120, seed=1, duration=5, workers=1)
    labels = archive.folder / "labels" / "conditions.csv"
    network = {"name": "xresnet1d10", "width": 4}
    fitted = ssl_ecg.probe(None, archive, labels, tmp_path / "model", classes=CLASSES, backbone=network)
    given = {"seen_patients": "test", "distortions": ["gaussian_noise", "missing_leads"], "replicates": 50}
    found = ssl_ecg.robustness(tmp_path / "model", archive, labels, tmp_path / "out", **given)
    auroc = found[found["metric"] == "macro_auroc"].set_index(["distortion", "level"])
    table = read_labels(labels, archive, CLASSES)
    scores = predict_scores(fitted.model, archive, table.rows)
    clean = macro_metrics(table.targets, scores, np.ones((len(scores), 1)))["macro_auroc"][0]
    assert auroc.loc[("none", ""), "mean"] == pytest.approx(clean, abs=1e-6)
    assert auroc.loc[("none", ""), "lost"] == 0
    np.testing.assert_allclose(auroc["mean"] + auroc["lost"], clean, atol=1e-6)
    assert (auroc["lost_low"] <= auroc["lost"]).all()
    assert len(auroc) == 1 + 5 + 5
    written = pd.read_csv(tmp_path / "out" / "robustness.csv")
    np.testing.assert_allclose(written["mean"], found["mean"], rtol=1e-4)
    page = (tmp_path / "out" / "report.html").read_text()
    assert "What distortions cost" in page
    assert "dB signal to noise" in page
    state = torch.get_rng_state()
    again = ssl_ecg.robustness(fitted.model, archive, labels, tmp_path / "again", **given)
    pd.testing.assert_frame_equal(again, found)
    assert torch.equal(torch.get_rng_state(), state)
    for wrong, message in ((["mains"], "100 Hz"), (["rain"], "unknown; choose from")):
        with pytest.raises(ValueError, match=message):
            ssl_ecg.robustness(fitted.model, archive, labels, tmp_path / "x", distortions=wrong, seen_patients="test")
    with pytest.raises(ValueError, match="seen_patients=leave_out"):
        ssl_ecg.robustness(fitted.model, archive, labels, tmp_path / "x")
    assert not (tmp_path / "x").exists()
