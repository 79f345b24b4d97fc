"""The page of an archive: every count by hand, and nothing that names anybody."""

from __future__ import annotations

import re
from html import unescape
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.archive import Archive, ArchiveWriter
from ssl_ecg.report.ingest_page import write_ingest_page
from ssl_ecg.signals import SignalSettings


@pytest.fixture
def archive(tmp_path: Path, heartbeat) -> Archive:
    """Five records of two known patients and one unknown, six files that gave none."""
    manifest = pd.DataFrame(
        {
            "record_id": [f"Jane Doe/{i}" for i in range(5)],
            "patient_id": ["Jane", "Jane", "Jane", "John", "Jane Doe/4"],
            "patient_known": [True, True, True, True, False],
            "source": "Ward of Doe",
            "age": [39.9, 40, 40, np.nan, 95],
            "sex": ["female", "female", "female", "male", None],
            "recorded_at": pd.NaT,
            "original_rate": [500.0, 500, 500, 257, 500],
            "original_duration": [10.0, 10, 30, 10, 6],
            "calibrated": [True, True, True, True, False],
            "recorded": [1000, 1000, 1000, 1000, 600],
            "leads": ["I II V1", "I II V1", "I II V1", "I II", "I II V1"],
            "findings": ["", "einthoven: I; gap filled: II 3 samples", "einthoven: II", None, ""],
        }
    )
    rejected = [
        ("Doe.xml", "missing library: install it"), ("Doe/a.hea", "missing lead: V6 wanted"),
        ("b.h5#7", "missing lead: V6"),
        ("c.PDF", "unknown format: '.pdf'"), ("d.pdf", "unknown format: '.pdf'"), ("Jane.Miriam", "unknown format: x"),
    ]  # fmt: skip
    signals = np.stack([heartbeat(100, 10, seed=i)[[0, 1, 6]] for i in range(5)])
    writer = ArchiveWriter(tmp_path / "archive", SignalSettings(leads=("I", "II", "V1")))
    writer.write_part(signals, manifest, rejected)
    return writer.finish()


def tables(page: str) -> dict[str, dict[str, int]]:
    found = {}
    for name, rows in re.findall(r"<h3>(.*?)</h3><table>(.*?)</table>", page, re.S):
        cells = re.findall(r"<td style[^>]*>(.*?)</td><td>(.*?)</td>", rows)
        found[name] = {unescape(label): int(count.replace(",", "")) for label, count in cells}
    return found


def test_the_page_counts_what_is_there_and_what_is_not(archive: Archive) -> None:
    page = write_ingest_page(archive).read_text("utf-8")
    assert "Patients unknown: records are counted.</strong> 1 of\n5 records" in page
    numbers = [int(count) for count in re.findall(r"<b>(\d+)</b>", page)]
    assert numbers == [11, 5, 3, 3]
    assert tables(page) == {
        "Rejected": {"missing lead": 2, "missing library": 1},
        "No recording": {".pdf": 2, "none": 1},
        "Findings": {"einthoven": 2, "gap filled": 1, "none": 3},
        "Sampling rate": {"500 Hz": 4, "257 Hz": 1},
        "Length": {"5 to 10 s": 1, "10 to 11 s": 3, "30 to 60 s": 1},
        "Leads recorded": {"I II V1": 4, "I II": 1},
        "Age": {"30 to 40 years": 1, "40 to 50 years": 2, "90 years and more": 1, "unknown": 1},
        "Sex": {"female": 3, "male": 1, "unknown": 1},
        "Records of a patient": {"1": 1, "3 to 5": 1},
    }
    steps = re.findall(r"<li>(.*?)</li>", page, re.S)
    told = [
        "Say whose 1 records",
        "1 recordings are at least twice",
        "2 records do not obey",
        "2 recordings lack",
        "1 files need",
    ]
    assert [step[: len(start)] for step, start in zip(steps, told)] == told


def test_the_page_names_nobody_and_loads_nothing(archive: Archive) -> None:
    page = write_ingest_page(archive).read_text("utf-8")
    assert len(re.findall(r'src="data:image/png;base64,[A-Za-z0-9+/=]{5000,}"', page)) == 5
    plain = re.sub(r'src="data:[^"]*"', "", page)
    for name in ("Jane", "Doe", "John", "Ward", "Miriam", str(archive.folder)):
        assert name not in plain
    assert not re.search(r"https?://|<script|url\(|@import|<link", plain)
    assert len(page) < 3_000_000


def test_an_archive_of_which_little_is_known(tmp_path: Path, heartbeat) -> None:
    """Nothing was rejected, and nobody knows age or sex."""
    manifest = pd.DataFrame(
        {
            **{
                "record_id": ["a"],
                "patient_id": ["a"],
                "patient_known": False,
                "source": "s",
                "age": np.nan,
                "sex": None,
            },
            **{"recorded_at": pd.NaT, "original_rate": 100.0, "original_duration": 10.0, "calibrated": True},
        }
    )
    writer = ArchiveWriter(tmp_path / "archive", SignalSettings(leads=("I",)))
    writer.write_part(heartbeat(100, 10)[:1][None], manifest, [])
    page = write_ingest_page(writer.finish()).read_text("utf-8")
    assert [int(count) for count in re.findall(r"<b>(\d+)</b>", page)] == [1, 1, 0, 0]
    found = tables(page)
    assert (found["Age"], found["Sex"], found["Findings"]) == ({"unknown": 1}, {"unknown": 1}, {"none": 1})
    assert not {"Rejected", "No recording", "Records of a patient"} & {*found}
