from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.archive import ingest
from ssl_ecg.sources import SOURCES, SourceError

DESCRIBED = """array: "ECGDataDenoised/*.csv"
leads: [I, II, III, aVR, aVL, aVF, V1, V2, V3, V4, V5, V6]
sampling_rate: 500
unit: uV
"""
ROWS = [
    ("MUSE_1_a", "AFIB", "RBBB TWC", 85, "MALE"),
    ("MUSE_2_b", "SB", "TWC", 59, "FEMALE"),
    ("MUSE_3_c", "SA", "NONE", 20, "FEMALE"),
]


@pytest.fixture
def folder(tmp_path: Path, heartbeat) -> Path:
    folder = tmp_path / "chapman"
    (folder / "ECGDataDenoised").mkdir(parents=True)
    for seed, (name, *_) in enumerate(ROWS):
        signal = np.rint(heartbeat(seed=seed).T * 1000)
        np.savetxt(folder / "ECGDataDenoised" / f"{name}.csv", signal, fmt="%d", delimiter=",")
    (folder / "chapman.yaml").write_text(DESCRIBED)
    return folder


def write(folder: Path, name: str) -> None:
    table = pd.DataFrame(ROWS, columns=["FileName", "Rhythm", "Beat", "PatientAge", "Gender"]).assign(QRSCount=3)
    if name.endswith(".csv"):
        table.to_csv(folder / name, index=False)
    else:
        pytest.importorskip("openpyxl")
        table.to_excel(folder / name, index=False)


@pytest.mark.process
@pytest.mark.parametrize("name", ["Diagnostics.csv", "Diagnostics.xlsx"])
def test_people_and_codes_find_their_records(folder: Path, tmp_path: Path, heartbeat, name: str) -> None:
    write(folder, name)
    np.savetxt(
        folder / "ECGDataDenoised" / "stranger.csv", np.rint(heartbeat(seed=9).T * 1000), fmt="%d", delimiter=","
    )
    archive = ingest(folder, tmp_path / "archive", workers=1, progress=False).archive
    table = archive.manifest.set_index("record_id")
    names = [f"chapman#ECGDataDenoised/{name}" for name, *_ in ROWS]
    assert sorted(table.index) == names
    assert table.loc[names[0], ["age", "sex", "patient_id"]].tolist() == [85, "male", "chapman/MUSE_1_a"]
    assert archive.patient_known.all()
    assert np.abs(archive[0]["signal"]).max() < 3
    rhythm = pd.read_csv(archive.folder / "labels" / "chapman_rhythm.csv").set_index("record_id")
    assert (list(rhythm), rhythm.loc[names].to_numpy().tolist()) == (
        ["AFIB", "SA", "SB"],
        [[1, 0, 0], [0, 0, 1], [0, 1, 0]],
    )
    beat = pd.read_csv(archive.folder / "labels" / "chapman_beat.csv").set_index("record_id")
    assert (list(beat), beat.loc[names].to_numpy().tolist()) == (["RBBB", "TWC"], [[1, 1], [0, 1], [0, 0]])
    assert list(archive.rejected["path"]) == ["chapman.yaml#ECGDataDenoised/stranger"]
    assert archive.rejected["reason"][0].startswith("not listed")


def test_without_a_unit_one_is_told_what_to_write(folder: Path) -> None:
    write(folder, "Diagnostics.csv")
    (folder / "chapman.yaml").unlink()
    source = SOURCES["chapman"]
    assert source.detect(folder, frozenset({"Diagnostics.csv"}))
    with pytest.raises(SourceError, match=r"write chapman\.yaml with array: .* unit: uV"):
        source.labels(folder)
    (folder / "Diagnostics.csv").rename(folder / "Diagnostics.xlsx")
    with pytest.raises(SourceError, match=r"Diagnostics\.xlsx: is no Excel file"):
        source.labels(folder)
