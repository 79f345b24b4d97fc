"""From an encoder, an archive and labels to the table of few shots."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

import ssl_ecg
from ssl_ecg.archive import open_archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.synthetic import synthesize
from ssl_ecg.training import patient_hash

pytestmark = pytest.mark.slow
CLASSES = ("sinus_rhythm", "sinus_bradycardia", "atrial_fibrillation")


def test_episodes_on_an_archive(tmp_path: Path) -> None:
    folder = synthesize(tmp_path / "archive", records=240, seed=5, duration=5, workers=1)
    archive, labels = open_archive(folder), folder / "labels" / "conditions.csv"
    given = {"classes": CLASSES, "shots": (1, 3), "episodes": 20, "split": {"test": 0.4, "validation": 0.1}}
    network = {"name": "xresnet1d10", "width": 4}
    found = ssl_ecg.few_shots(None, archive, labels, tmp_path / "out", backbone=network, **given)
    assert found["shots"].tolist() == [1] * 3 + [3] * 3
    assert found["method"].tolist() == ["nearest_prototype", "nearest_neighbours", "siamese"] * 2
    assert ((found["low"] <= found["accuracy"]) & (found["accuracy"] <= found["high"])).all()
    assert found["chance"].to_list() == pytest.approx([1 / found["ways"][0]] * 6)
    written = pd.read_csv(tmp_path / "out" / "few_shots.csv")
    pd.testing.assert_frame_equal(written, found, rtol=1e-4)
    assert (found["ways"] == 2).all()  # atrial fibrillation has too few test patients
    again = ssl_ecg.few_shots("none", folder, labels, backbone=network, **given)
    pd.testing.assert_frame_equal(again, found)

    known = frozenset(map(patient_hash, archive.manifest["patient_id"]))
    encoder = Encoder("xresnet1d10", {"width": 4}, archive.settings, patients=known)
    with pytest.raises(ValueError, match="test patients are among those the encoder learned from"):
        ssl_ecg.few_shots(encoder, archive, labels, **given)
    with pytest.raises(ValueError, match=r"ways=5: choose between 2 and the"):
        ssl_ecg.few_shots(None, archive, labels, backbone=network, **{**given, "ways": 5})
    with pytest.raises(ValueError, match=r"holds archive\.json of another command"):
        ssl_ecg.few_shots(None, archive, labels, folder, backbone=network, **given)
