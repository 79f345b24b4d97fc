from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from ssl_ecg.archive import ingest
from ssl_ecg.sources import SourceError
from ssl_ecg.sources.sph import labels as read_labels

h5py = pytest.importorskip("h5py")

METADATA = """ECG_ID,AHA_Code,Patient_ID,Age,Sex,N,Date
A00001,22;23,S00001,55,M,5000,2020-03-04
A00002,1,S00002,32,F,6000,2019-09-03
A00003,50+346;22,S00001,56,M,5000,2020-08-05
A00004,,S00003,40,F,5000,2020-08-05
"""


@pytest.mark.process
@pytest.mark.parametrize("folder", ["", "records"])
def test_statements_and_patients_find_their_records(tmp_path: Path, heartbeat, folder: str) -> None:
    source = tmp_path / "SPH"
    (source / folder).mkdir(parents=True)
    for n in range(1, 5):
        with h5py.File(source / folder / f"A0000{n}.h5", "w") as file:
            file["ecg"] = heartbeat(500, 10 + 2 * (n == 2), seed=n).astype("float16")
    (source / "metadata.csv").write_text(METADATA)
    (source / "code.csv").write_text("Code,Description\n22,Sinus bradycardia\n")
    (source / "sph.yaml").write_text(f"array: {Path(folder, '*.h5').as_posix()!r}\nunit: mV\n")
    archive = ingest(tmp_path, tmp_path / "archive", workers=1, progress=False).archive
    table = archive.manifest.set_index("record_id")
    names = [f"SPH/sph#{Path(folder, f'A0000{n}').as_posix()}" for n in range(1, 5)]
    assert sorted(table.index) == names
    assert table.loc[names[0], ["age", "sex"]].tolist() == [55, "male"]
    assert str(table.loc[names[2], "recorded_at"]) == "2020-08-05 00:00:00"
    assert table["patient_id"].nunique() == 3
    found = pd.read_csv(archive.folder / "labels" / "sph.csv").set_index("record_id")
    assert list(found) == ["aha_1", "aha_22", "aha_23", "aha_50"]
    assert found.loc[names[:3]].to_numpy().tolist() == [[0, 1, 1, 0], [1, 0, 0, 0], [0, 1, 0, 1]]
    assert len(found) == 3
    assert not len(archive.rejected)


def test_what_is_no_code_is_told_by_line(tmp_path: Path) -> None:
    (tmp_path / "metadata.csv").write_text(METADATA.replace("A00002,1,", "A00002,1;x,"))
    with pytest.raises(SourceError, match=r"metadata\.csv: line 3: AHA_Code must be codes such as") as caught:
        read_labels(tmp_path)
    assert list(caught.value.made["sph"]["record_id"]) == ["A00001", "A00003"]
