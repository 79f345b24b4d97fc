from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import wfdb

from ssl_ecg.archive import ingest
from ssl_ecg.signals import SignalSettings
from ssl_ecg.sources import SOURCES, SourceError
from ssl_ecg.sources.mitbih import _rhythms


def write(folder: Path, name: str, heartbeat, rhythms: list[tuple[float, str]], seconds: float = 60) -> None:
    """A record of two leads at 360 Hz, with beats and rhythms as the database annotates them."""
    folder.mkdir(exist_ok=True)
    signal = np.rint(heartbeat(360, seconds, seed=len(name))[[1, 6]] * 200).astype(int)
    wfdb.wrsamp(
        name, 360, ["mV"] * 2, ["MLII", "V1"], d_signal=signal.T, fmt=["212"] * 2, adc_gain=[200.0] * 2,
        baseline=[0] * 2, write_dir=str(folder),
    )  # fmt: skip
    marks = [(at * 360 + 5, "+", f"({rhythm}\0") for at, rhythm in rhythms]
    marks += [(beat * 300 + 77, "N", "") for beat in range(int(seconds))]
    samples, symbols, texts = zip(*sorted(marks))
    wfdb.wrann(name, "atr", np.array(samples, int), list(symbols), aux_note=list(texts), write_dir=str(folder))


@pytest.mark.process
def test_rhythms_become_labels_of_windows(tmp_path: Path, heartbeat) -> None:
    folder = tmp_path / "mitdb"
    write(folder, "100", heartbeat, [(0, "N"), (25, "AFIB"), (42, "N")])
    write(folder, "2010", heartbeat, [(12, "AFL")])
    source = SOURCES["mitbih"]
    assert source.detect(folder, frozenset(os.listdir(folder)))
    found = source.labels(folder)["mitbih_rhythm"]
    np.testing.assert_allclose(found["begin"], np.array([5, 9005, 15125, 4325]) / 360)
    np.testing.assert_allclose(found["end"], np.array([9005, 15125, np.inf, np.inf]) / 360)
    archive = ingest(
        folder, tmp_path / "archive", SignalSettings(leads=("II", "V1")), workers=1, progress=False, windows="all",
        lead_names={"MLII": "II"},
    ).archive  # fmt: skip
    assert len(archive) == 12
    labels = pd.read_csv(archive.folder / "labels" / "mitbih_rhythm.csv").set_index("record_id")
    assert list(labels) == ["AFIB", "AFL", "N"]
    assert {name: "".join(map(str, row)) for name, *row in labels.itertuples()} == {
        "100": "001", "100@10s": "001", "100@20s": "101", "100@30s": "100", "100@40s": "101", "100@50s": "001",
        "2010@10s": "010", "2010@20s": "010", "2010@30s": "010", "2010@40s": "010", "2010@50s": "010",
    }  # fmt: skip


def test_annotations_are_those_of_the_wfdb_package(tmp_path: Path, heartbeat) -> None:
    """Distances of more than 1023 samples, too."""
    write(tmp_path, "a", heartbeat, [(0, "N"), (3, "B"), (50, "VFL")], seconds=20)
    there = wfdb.rdann(str(tmp_path / "a"), "atr")
    wanted = [(at, text[1:].rstrip("\0")) for at, text in zip(there.sample, there.aux_note) if text.startswith("(")]
    assert list(_rhythms(tmp_path / "a.atr")) == wanted == [(5, "N"), (1085, "B"), (18005, "VFL")]


def test_damaged_annotations_cost_themselves(tmp_path: Path, heartbeat) -> None:
    write(tmp_path, "a", heartbeat, [(0, "N")], seconds=10)
    (tmp_path / "b.hea").write_text("b 1 360 100\n")
    (tmp_path / "b.atr").write_bytes(b"\x05\xfc(N")  # a text that ends too early
    with pytest.raises(SourceError, match=r"b\.atr: its annotations cannot be read \(1 such files\)") as caught:
        SOURCES["mitbih"].labels(tmp_path)
    assert len(caught.value.made["mitbih_rhythm"]) == 1
    rng = np.random.default_rng(0)
    for _ in range(200):
        (tmp_path / "b.atr").write_bytes(rng.bytes(200))
        SOURCES["mitbih"].detect(tmp_path, frozenset({"b.atr", "b.hea"}))
        with suppress(ValueError):
            assert len(list(_rhythms(tmp_path / "b.atr"))) <= 100
