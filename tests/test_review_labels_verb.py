"""Flipped labels of an archive are found, even by random features, and put before a person."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ssl_ecg
from ssl_ecg.synthetic import synthesize

pytestmark = pytest.mark.slow


def test_flipped_labels_come_first_with_their_ecgs(tmp_path: Path) -> None:
    folder = synthesize(tmp_path / "archive", records=400, seed=5, duration=5, workers=1)
    truth = pd.read_csv(folder / "labels" / "conditions.csv", dtype={"record_id": str})[
        ["record_id", "sinus_bradycardia"]
    ]
    flip = np.random.default_rng(1).random(len(truth)) < 0.2
    given = truth.assign(sinus_bradycardia=np.where(flip, 1 - truth["sinus_bradycardia"], truth["sinus_bradycardia"]))
    network = {"name": "xresnet1d18", "width": 16, "pooling": "mean_max_std"}
    found = ssl_ecg.review_labels(None, folder, given, tmp_path / "out", backbone=network, pictures=3)
    flipped = set(truth["record_id"][flip])
    hit = found["record_id"].isin(flipped)
    assert list(found) == ["record_id", "class", "label", "probability", "doubt", "confident", "picture"]
    assert found["doubt"].is_monotonic_decreasing
    assert hit.sum() / len(flipped) > 0.6  # share that is found; one in five is flipped
    assert hit.mean() > 0.3
    assert hit[: len(flipped)].mean() > 0.35
    written = pd.read_csv(tmp_path / "out" / "label_review.csv", dtype={"record_id": str})
    assert written["record_id"].tolist() == found["record_id"].tolist()
    assert written["picture"].dropna().unique().tolist() == ["doubt_001.svg", "doubt_002.svg", "doubt_003.svg"]
    assert {path.name for path in (tmp_path / "out").iterdir()} == {"label_review.csv", *written["picture"].dropna()}
    again = ssl_ecg.review_labels(None, folder, given, tmp_path / "out", backbone=network, pictures=1)
    assert {path.name for path in (tmp_path / "out").glob("*.svg")} == {"doubt_001.svg"}
    pd.testing.assert_frame_equal(again.drop(columns="picture"), found.drop(columns="picture"))
