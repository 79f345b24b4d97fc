"""docs/my_archive.md is followed, word for word, with files as hospitals have them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import vendor_files

import ssl_ecg
from ssl_ecg.cli import main
from ssl_ecg.records import LEADS

pytestmark = pytest.mark.slow

PAGE = (Path(__file__).resolve().parents[1] / "docs" / "my_archive.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))


def blocks(section: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[section], re.MULTILINE | re.DOTALL)


def ingested(section: str) -> list[ssl_ecg.archive.Archive]:
    """Write the YAML of a section where it says, and run its commands."""
    for text in blocks(section, "yaml"):
        Path(text.partition("\n")[0].removeprefix("# ")).write_text(text)
    archives = []
    for line in "".join(blocks(section, "sh")).splitlines():
        program, *arguments = shlex.split(line)
        if program != "pip":
            assert main([*arguments, "workers=1"]) == 0, line
            archives.append(ssl_ecg.open_archive(arguments[2]))
    return archives


@pytest.fixture(autouse=True)
def _desk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def signals(heartbeat) -> list[np.ndarray]:
    return [heartbeat(seed=seed) for seed in range(3)]


def steps(signal: np.ndarray, microvolts: float) -> dict[str, np.ndarray]:
    return {lead: np.rint(values * 1000 / microvolts) for lead, values in zip(LEADS, signal, strict=True)}


def test_the_page_has_these_sections() -> None:
    assert list(SECTIONS) == ["WFDB", "A folder of GE MUSE XML", "DICOM", "One huge array", "CSV", "What then"]


def test_wfdb(signals, write_wfdb) -> None:
    for number, signal in zip((17, 18), signals, strict=False):
        write_wfdb(Path("wfdb/2021"), f"{number:06}", signal)
    Path("patients.csv").write_text(*blocks("WFDB", "csv"))
    (archive,) = ingested("WFDB")
    assert archive.manifest["record_id"].tolist() == ["2021/000017", "2021/000018"]
    assert archive.manifest["patient_id"].nunique() == 1


def test_muse(signals) -> None:
    Path("muse").mkdir()
    Path("salt.txt").write_text("correct horse battery\n")
    for number, signal in enumerate(signals):
        stored = {lead: steps(signal, 4.88)[lead] for lead in vendor_files.STORED}
        Path(f"muse/{number}.xml").write_bytes(vendor_files.muse(stored))
    open_, keyed = ingested("A folder of GE MUSE XML")
    assert len(open_) == len(keyed) == 3
    assert "P-1" in open_.manifest["patient_id"][0]
    assert not keyed.manifest["patient_id"].str.contains("P-1").any()


def test_dicom(signals) -> None:
    Path("dicom").mkdir()
    for number, signal in enumerate(signals):
        vendor_files.dicom([{"signals": steps(signal, 2.5)}], Path(f"dicom/IM{number}"))
    (archive,) = ingested("DICOM")
    assert len(archive) == 3


def test_one_huge_array(signals) -> None:
    h5py = pytest.importorskip("h5py")
    Path("array").mkdir()
    with h5py.File("array/all.h5", "w") as file:
        file["tracings"] = np.stack(signals) * 1000
    pd.DataFrame({"row": range(3), "patient_id": ["a", "b", "b"]}).to_csv("array/exams.csv", index=False)
    (archive,) = ingested("One huge array")
    assert archive.manifest["record_id"].tolist() == ["all#0", "all#1", "all#2"]
    assert archive.manifest["patient_id"].nunique() == 2
    assert np.allclose(np.abs(archive[0]["signal"]).max(), np.abs(signals[0]).max(), rtol=0.3)  # millivolts


def test_csv(signals) -> None:
    Path("csv").mkdir()
    for number, signal in enumerate(signals):
        table = pd.DataFrame(signal.T, columns=list(LEADS))
        table.insert(0, "time", np.arange(len(table)) / 500)
        table.to_csv(f"csv/{number:04}.csv", index=False)
    records = [f"all#{number:04}" for number in range(3)]
    pd.DataFrame({"record_id": records, "patient_id": records}).to_csv("csv_patients.csv", index=False)
    (archive,) = ingested("CSV")
    assert archive.manifest["record_id"].tolist() == records
    assert archive.manifest["patient_known"].all()
