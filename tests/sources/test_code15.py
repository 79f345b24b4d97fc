from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.archive import ingest
from ssl_ecg.labels import read_labels
from ssl_ecg.records import LEADS
from ssl_ecg.sources import SourceError
from ssl_ecg.sources.code15 import labels as read_table

h5py = pytest.importorskip("h5py")

EXAMS = """exam_id,age,is_male,nn_predicted_age,1dAVb,RBBB,LBBB,SB,ST,AF,patient_id,death,timey,normal_ecg,trace_file
9003,40,True,45.1,False,False,False,False,False,False,100,False,2.5,True,exams_part0.hdf5
12,41,False,45.1,False,True,False,False,False,False,100,False,2.5,False,exams_part0.hdf5
501,42,True,45.1,False,False,False,False,False,True,101,False,2.5,False,exams_part0.hdf5
"""


@pytest.mark.parametrize(
    ("name", "array", "beginning"),
    [("exams_part0", "exams_part0.hdf5", "exams_part0#"), ("all", "*.hdf5", "all#exams_part0/")],
)
def test_labels_and_patients_find_their_exams_by_id(
    tmp_path: Path, heartbeat, name: str, array: str, beginning: str
) -> None:
    source = tmp_path / "code"
    source.mkdir()
    ids = [501, 9003, 12]  # not the order of the table
    signals = np.stack([heartbeat(400, 10.24, seed).T for seed in range(3)]).astype(np.float32)
    with h5py.File(source / "exams_part0.hdf5", "w") as file:
        file["tracings"], file["exam_id"] = signals, ids
    (source / "exams.csv").write_text(EXAMS)
    (source / f"{name}.yaml").write_text(f"array: {array!r}\nunit: mV\n")
    archive = ingest(tmp_path, tmp_path / "archive", workers=1, progress=False).archive
    manifest = archive.manifest.set_index("record_id")
    assert sorted(manifest.index) == [f"code/{beginning}{exam}" for exam in (12, 501, 9003)]
    assert manifest.loc[f"code/{beginning}501", ["age", "sex"]].tolist() == [42, "male"]
    assert manifest["patient_id"].nunique() == 2
    labels = read_labels(archive.folder / "labels" / "code15.csv", archive)
    found = pd.DataFrame(labels.targets, columns=labels.classes, index=manifest.index[labels.rows])
    assert found.loc[f"code/{beginning}501", "AF"] == 1
    assert found.loc[f"code/{beginning}12", "RBBB"] == 1
    assert found.to_numpy().sum() == 2
    assert archive.leads == LEADS


def test_what_is_neither_true_nor_false_is_told_by_line(tmp_path: Path) -> None:
    (tmp_path / "exams.csv").write_text(EXAMS.replace("12,41,False,45.1,False,True", "12,41,False,45.1,False,maybe"))
    with pytest.raises(SourceError, match=r"exams\.csv: line 3: RBBB is neither true nor false"):
        read_table(tmp_path)
