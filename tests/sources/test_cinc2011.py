from __future__ import annotations

import os
from pathlib import Path

from ssl_ecg.archive import ingest
from ssl_ecg.labels import read_labels
from ssl_ecg.sources import SOURCES


def test_lists_and_table_say_what_is_acceptable(tmp_path: Path, heartbeat, write_wfdb) -> None:
    for folder in ("lists", "table"):
        for seed in range(3):
            write_wfdb(tmp_path / "in" / folder, f"{seed}", heartbeat(seed=seed + 10 * (folder == "table")))
    (tmp_path / "in" / "lists" / "RECORDS-acceptable").write_text("0\n2\n")
    (tmp_path / "in" / "lists" / "RECORDS-unacceptable").write_text("1\n")
    (tmp_path / "in" / "table" / "quality.csv").write_text("record,quality\n0,unacceptable\n1,acceptable\n2,?\n")
    archive = ingest(tmp_path / "in", tmp_path / "archive", workers=1, progress=False).archive
    assert len(archive.rejected) == 0
    labels = read_labels(archive.folder / "labels" / "cinc2011.csv", archive)
    named = zip(archive.manifest["record_id"].iloc[labels.rows], labels.targets[:, 0])
    assert dict(named) == {"lists/0": 1, "lists/1": 0, "lists/2": 1, "table/0": 0, "table/1": 1}


def test_another_table_of_that_name_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "quality.csv").write_text("device,score\n1,2\n")
    assert not SOURCES["cinc2011"].detect(tmp_path, frozenset(os.listdir(tmp_path)))


def test_real_table(ecg_data: Path) -> None:
    folder = ecg_data / "cinc2011"
    assert SOURCES["cinc2011"].detect(folder, frozenset(os.listdir(folder)))
    table = SOURCES["cinc2011"].labels(folder)["cinc2011"]
    assert 600 < table["acceptable"].sum() < len(table)
