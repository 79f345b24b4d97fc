"""Long recordings cut into windows: where each begins, whose it is, and what a kill costs."""

from __future__ import annotations

import math
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.archive import ingest
from ssl_ecg.archive.windows import windows_of
from ssl_ecg.records import READERS, Record, Rejected, read_wfdb
from ssl_ecg.signals import SignalSettings, condition

pytestmark = pytest.mark.process

room = sys.modules["ssl_ecg.archive.ingest"]
pieces = sys.modules["ssl_ecg.archive.windows"]


def run(source: Path, archive: Path, **options):
    return ingest(source, archive, **{"workers": 2, "progress": False, **options})


def dated(path: Path) -> None:
    """Give a header a date: 9 June 2021, noon."""
    header = path.with_suffix(".hea")
    first, rest = header.read_text().split("\n", 1)
    header.write_text(f"{first} 12:00:00 09/06/2021\n{rest}")


@pytest.fixture
def source(tmp_path: Path, heartbeat, write_wfdb) -> Path:
    """A recording of 66 s that lacks V2 from 20 to 30 s, one of 34 s with 3.2 s of zeros before it, one of 10 s."""
    folder = tmp_path / "clinic"
    long, padded = heartbeat(500, 66, seed=1), heartbeat(500, 34, seed=2)
    long[7, 10_000:15_000] = -32.768  # WFDB's mark of a missing sample
    padded[:, :1600] = 0
    dated(write_wfdb(folder, "r1", long))
    dated(write_wfdb(folder, "r2", padded))
    write_wfdb(folder, "r3", heartbeat(500, 10, seed=3))
    return folder


def test_windows_are_records_with_their_begin(source: Path, tmp_path: Path) -> None:
    report = run(source, tmp_path / "a", windows="all")
    table = report.archive.manifest.set_index("record_id")
    # 66 s: six windows, one of them without V2, and 6 s; 30.8 s behind the zeros: three, and .8 s that are too short.
    assert list(table.index) == [
        "r1",
        "r1@10s",
        "r1@30s",
        "r1@40s",
        "r1@50s",
        "r1@60s",
        "r2",
        "r2@13.2s",
        "r2@23.2s",
        "r3",
    ]
    assert list(report.archive.rejected["path"]) == ["r1.hea@20s"]
    assert report.reasons == Counter({"missing lead": 1})
    np.testing.assert_allclose(table["start"], [0, 10, 30, 40, 50, 60, 3.2, 13.2, 23.2, 0])
    assert list(table["recorded"]) == [1000] * 5 + [600] + [1000] * 4
    noon = datetime(2021, 6, 9, 12)
    for name in ("r1", "r1@60s", "r2", "r2@23.2s"):
        assert table.loc[name, "recorded_at"] == noon + timedelta(seconds=table.loc[name, "start"])
    assert set(table["original_duration"][:9]) == {66, 34}
    assert table["patient_id"].to_list() == ["clinic/r1"] * 6 + ["clinic/r2"] * 3 + ["clinic/r3"]
    signal = read_wfdb(source / "r2").signal[:, 6600:11600]
    np.testing.assert_allclose(
        report.archive[int(report.archive.rows(["r2@13.2s"])[0])]["signal"],
        condition(signal, 500, SignalSettings()),
        atol=6e-4,
    )
    assert "padding" in table.loc["r2", "findings"]
    assert not table.loc["r2@13.2s", "findings"]
    assert run(source, tmp_path / "a", windows="all").skipped == 10


def test_the_number_of_windows(source: Path, tmp_path: Path) -> None:
    """As many as are asked for; the first alone is what one gets by default."""
    two = run(source, tmp_path / "two", windows=2).archive
    assert list(two.manifest["record_id"]) == ["r1", "r1@10s", "r2", "r2@13.2s", "r3"]
    one, usual = run(source, tmp_path / "one", windows=1).archive, run(source, tmp_path / "usual").archive
    assert list(usual.manifest["record_id"]) == ["r1", "r2", "r3"]
    pd.testing.assert_frame_equal(one.manifest, usual.manifest)
    for windows in (0, -1, 1.5, "some"):
        with pytest.raises(ValueError, match="is no number of windows; give first, all, or 1 or more"):
            run(source, tmp_path / "none", windows=windows)


def test_pieces_make_no_difference(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = run(source, tmp_path / "whole", windows="all").archive
    monkeypatch.setattr(pieces, "PIECE", 20.0)
    monkeypatch.setattr(pieces, "MAX_PADDING", 0.0)
    cut = run(source, tmp_path / "cut", windows="all").archive
    pd.testing.assert_frame_equal(cut.manifest, whole.manifest)
    assert cut.rejected.equals(whole.rejected)


def test_a_table_is_about_recordings(source: Path, tmp_path: Path) -> None:
    people = pd.DataFrame({"record_id": ["r1", "r2"], "patient_id": ["p", "p"], "ward": ["a", "b"]})
    people["recorded_at"] = "2020-01-01 08:00"
    table = run(source, tmp_path / "a", windows="all", patients=people).archive.manifest.set_index("record_id")
    assert set(table["patient_id"][:9]) == {"clinic/p"}
    assert (table.loc["r1@60s", "ward"], table.loc["r2@13.2s", "ward"]) == ("a", "b")
    assert table.loc["r1@60s", "recorded_at"] == datetime(2020, 1, 1, 8, 1)
    assert list(table["patient_known"]) == [True] * 9 + [False]


def test_under_a_salt_windows_keep_their_begin(source: Path, tmp_path: Path) -> None:
    archive = run(source, tmp_path / "a", windows="all", salt="a salt of more than 16").archive
    ids = archive.manifest["record_id"]
    assert not ids.str.contains("r1").any()
    assert list(ids.str.partition("@")[2]).count("10s") == 1
    assert list(archive.find(["r1", "r1@60s"])) == [list(ids).index(name) for name in _keyed(archive, "r1", "r1@60s")]
    assert archive.rejected["path"].str.fullmatch("[0-9a-f]{32}[.]hea@20s").all()
    assert archive.manifest.groupby("patient_id").size().sort_values().to_list() == [1, 3, 6]


def _keyed(archive, *names: str) -> list[str]:
    table = pd.read_csv(archive.folder.with_name(f"{archive.folder.name}.ids.csv"), dtype=str).set_index("original")
    return list(table.loc[list(names), "record_id"])


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_a_kill_between_windows_loses_none(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, parts: int
) -> None:
    whole = run(source, tmp_path / "whole", windows="all").archive
    monkeypatch.setattr(room, "RECORDS_PER_PART", 1)
    commit, left = room._commit, [parts]

    def killed(*given) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        commit(*given)

    with monkeypatch.context() as patch:
        patch.setattr(room, "_commit", killed)
        with pytest.raises(KeyboardInterrupt):
            run(source, tmp_path / "a", windows="all")
    archive = run(source, tmp_path / "a", windows="all").archive
    plain = ["part", "row"]
    pd.testing.assert_frame_equal(archive.manifest.drop(columns=plain), whole.manifest.drop(columns=plain))
    assert archive.rejected.equals(whole.rejected)


@pytest.mark.slow
def test_hours_stream(tmp_path: Path, heartbeat, write_wfdb, monkeypatch: pytest.MonkeyPatch) -> None:
    """Two leads at 500 Hz for an hour: no more than ten minutes are in memory at once."""
    rng = np.random.default_rng(0)
    hours = np.tile(heartbeat(500, 60)[:2], 60)
    hours += 0.05 * rng.standard_normal(hours.shape, np.float32)
    write_wfdb(tmp_path / "holter", "night", hours, 500)
    reader = READERS["wfdb"]
    assert reader.read_part is not None
    read: list[int] = []

    def part(path: Path, begin: float, seconds: float) -> Iterator[Record | Rejected]:
        for record in reader.read_part(path, begin, seconds):
            read.append(record.signal.shape[1])
            yield record

    watched = replace(reader, read_part=part)
    windows = windows_of(watched, tmp_path / "holter" / "night.hea", 10.0, 5.0, math.inf)
    begins = [window.record.start for window in windows]
    assert begins == [10.0 * k for k in range(360)]
    assert read == [300_000] * 6
    monkeypatch.setattr(room, "RECORDS_PER_PART", 100)
    report = run(tmp_path / "holter", tmp_path / "a", windows="all", settings=SignalSettings(leads=("I", "II")))
    assert (report.accepted, len(report.archive.parts)) == (360, 4)
    assert report.archive.manifest["record_id"].iloc[-1] == "night@3590s"
