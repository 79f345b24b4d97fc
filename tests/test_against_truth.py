"""The script that holds a comparison's predicted risks against the true ones of synthetic archives."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg import SplitSettings
from ssl_ecg.archive import open_archive
from ssl_ecg.comparison.folder import data_identity
from ssl_ecg.report.figures import ARM_STYLES
from ssl_ecg.synthetic import synthesize
from ssl_ecg.tasks import read_task

pytestmark = [pytest.mark.slow, pytest.mark.process]

SCRIPT = Path(__file__).parents[1] / "finetune" / "against_truth.py"
TABLES = {"af_survival": ("af_survival", "risk_5y"), "cardiomyopathy": ("low_lvef", "low_lvef_probability")}


@pytest.mark.parametrize("task", TABLES)
def test_the_truth_is_right_and_its_opposite_wrong(task: str, tmp_path: Path) -> None:
    """Each arm predicts a known function of the truth, so that every number is known."""
    archive = open_archive(synthesize(tmp_path / "archive", records=300, seed=3, duration=5, workers=1))
    table, column = TABLES[task]
    path = tmp_path / "archive" / "labels" / f"{table}.csv"
    labels, _ = read_task(task, path, archive)
    splits = SplitSettings().split(labels)
    test = splits.test
    records = archive.manifest["record_id"].iloc[labels.rows[test]]
    risk = pd.read_csv(path).set_index("record_id").loc[records, column].to_numpy()
    said = {"random_probe": 1 - risk, "pretrained_probe": risk + 0.1, "scratch": risk / 2, "pretrained_finetune": risk}
    assert set(said) <= set(ARM_STYLES)
    out = tmp_path / "out"
    for arm, predicted in said.items():
        folder = out / "runs" / f"{arm}-1-0"
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps({"arm": arm, "fraction": 1.0}))
        curve = np.repeat(1 - predicted[:, None], 25, axis=1)
        np.save(folder / "test_scores.npy", curve if task == "af_survival" else predicted[:, None])
    digest = data_identity(archive, labels, splits)["labels"]
    (out / "comparison.json").write_text(json.dumps({"settings": {"task": {"name": task}}, "labels": digest}))
    command = [sys.executable, SCRIPT, out, tmp_path / "archive", path]
    subprocess.run(command, check=True, capture_output=True)

    found = pd.read_csv(out / "truth.csv").set_index("arm")
    if task == "af_survival":  # prevalent AF is not predicted
        risk = risk[labels.targets[test][:, 2] == 0]
    np.testing.assert_allclose(found["mean_true"], risk.mean(), atol=1e-4)
    np.testing.assert_allclose(found.loc[["truth", *said], "rank_correlation"], [1, -1, 1, 1, 1], atol=1e-4)
    wrong = np.sqrt(np.mean((1 - 2 * risk) ** 2)), 0.1, np.sqrt(np.mean(risk**2)) / 2, 0
    np.testing.assert_allclose(found.loc[list(said), "rmse"], wrong, atol=1e-4)
    metric = "c_index" if task == "af_survival" else "auroc"
    assert found.loc["scratch", metric] == found.loc["truth", metric] > 0.6
    assert found.loc["random_probe", metric] == pytest.approx(1 - found.loc["truth", metric], abs=1e-3)
    assert (out / "truth.png").stat().st_size > 10_000
    (out / "comparison.json").write_text(json.dumps({"settings": {"task": {"name": task}}, "labels": {}}))
    refused = subprocess.run(command, capture_output=True, text=True)
    assert refused.returncode == 2
    assert "not those of the comparison" in refused.stderr
