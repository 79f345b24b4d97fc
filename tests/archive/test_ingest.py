"""Folders of recordings into archives: what is accepted, what is counted, and what a kill costs."""

from __future__ import annotations

import errno
import hashlib
import multiprocessing
import os
import re
import resource
import shutil
import signal as signals
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.archive import ArchiveError, ingest, open_archive
from ssl_ecg.archive.processes import in_order
from ssl_ecg.records import LEADS, READERS, QualityLimits, read_wfdb
from ssl_ecg.runs import FolderInUseError, lock
from ssl_ecg.signals import SignalSettings, condition

pytestmark = pytest.mark.process

room = sys.modules["ssl_ecg.archive.ingest"]


SALT = "a salt of more than 16"


def run(source: Path, archive: Path, **options):
    return ingest(source, archive, **{"workers": 2, "progress": False, **options})


def contents(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


@pytest.fixture
def source(tmp_path: Path, heartbeat, write_wfdb) -> Path:
    """Six good recordings, in a folder and a folder below, of several rates and lengths."""
    folder = tmp_path / "clinic"
    for i, (rate, seconds) in enumerate([(500, 10), (500, 30), (250, 10), (1000, 6), (100, 10), (257, 10)]):
        signal = heartbeat(rate, seconds, seed=i)
        write_wfdb(folder / ("ward" if i % 2 else ""), f"r{i}", signal, rate, comments=f"#Age: {40 + i}\n#Sex: F\n")
    return folder


@pytest.mark.parametrize("rate", [100, 500])
def test_signals_are_conditioned_and_kept(source: Path, tmp_path: Path, rate: int) -> None:
    settings = SignalSettings(sampling_rate=rate, normalise="none")
    report = run(source, tmp_path / "a", settings=settings)
    assert (report.accepted, report.rejected, report.skipped) == (6, 0, 0)
    archive = report.archive
    assert archive.read(range(6)).signal.shape == (6, 12, 10 * rate)
    assert list(archive.manifest["record_id"]) == ["r0", "r2", "r4", "ward/r1", "ward/r3", "ward/r5"]
    for row, record_id in enumerate(archive.manifest["record_id"]):
        record = read_wfdb(source / record_id)
        wanted = condition(record.signal[:, : int(10 * record.sampling_rate)], record.sampling_rate, settings)
        np.testing.assert_allclose(archive[row]["signal"], wanted, atol=6e-4)
    table = archive.manifest.set_index("record_id")
    assert table.loc["ward/r3", "original_rate"] == 1000
    assert table.loc["ward/r1", "original_duration"] == 30
    assert table.loc["ward/r3", "age"] == 43
    assert set(table["sex"]) == {"female"}
    assert table.loc["ward/r3", "patient_id"] == "clinic/ward/r3"
    assert table.loc["r0", "source"] == "clinic"
    assert table.loc["ward/r1", "source"] == "clinic/ward"


def test_every_kind_of_bad_file_is_counted_with_its_reason(source: Path, tmp_path: Path, heartbeat, write_wfdb) -> None:
    good = heartbeat()
    bad = {"flat": good.copy(), "eleven": good[:11], "short": good[:, :2000], "huge": good * 20}
    bad["flat"][7] = 0
    for name, signal in bad.items():
        write_wfdb(source, f"bad_{name}", signal)
    write_wfdb(source, "bad_unit", good, unit="furlong")
    write_wfdb(source, "bad_rate", heartbeat(50), 50)
    truncated = write_wfdb(source, "bad_truncated", good).with_suffix(".dat")
    truncated.write_bytes(truncated.read_bytes()[:-1000])
    nan = write_wfdb(source, "bad_nan", good).with_suffix(".dat")
    samples = np.fromfile(nan, "<i2").reshape(-1, 12)
    samples[100:160, 7] = -32768  # WFDB's mark of a missing sample, for more than 100 ms
    samples.tofile(nan)
    (source / "bad_text.hea").write_bytes(b"\x00\x01")
    report = run(source, tmp_path / "a")
    assert report.accepted == 6
    reasons = report.archive.rejected.set_index("path")["reason"]
    expected = {
        "bad_eleven.hea": "missing lead: V6 wanted",
        "bad_flat.hea": "flat lead: V2",
        "bad_huge.hea": "amplitude: ",
        "bad_nan.hea": "missing lead: V2 wanted",
        "bad_rate.hea": "sampling rate: 50 Hz is too low for the band up to 40 Hz",
        "bad_short.hea": "too short: 4.00 s",
        "bad_text.hea": f"unknown format: '.hea' is none of {', '.join(READERS.names())}",
        "bad_truncated.hea": "truncated signal: a file of 119000 bytes holds 4958 frames, the header says 5000",
        "bad_unit.hea": "unknown unit: of a lead",
    }
    assert set(reasons.index) == set(expected)
    for path, reason in expected.items():
        assert reasons[path].startswith(reason), path
    assert report.rejected == len(expected) - 1 == report.reasons.total()
    assert report.unknown == 1
    assert report.reasons["flat lead"] == 1
    assert not any(str(tmp_path) in reason for reason in reasons)


def test_findings_are_told_in_the_manifest(tmp_path: Path, heartbeat, write_wfdb) -> None:
    signals = {"good": heartbeat(seed=1), "padded": heartbeat(seed=2), "swapped": heartbeat(seed=3)}
    signals["padded"][:, :1000] = 0
    signals["swapped"][0] *= -1
    for name, signal in {**signals, "small": heartbeat(seed=4) / 4.88}.items():
        write_wfdb(tmp_path / "in", name, signal)
    table = run(tmp_path / "in", tmp_path / "a").archive.manifest.set_index("record_id")
    assert table["findings"].str.split(":").str[0].to_dict() == {
        "good": "", "padded": "padding trimmed", "small": "unusual amplitude", "swapped": "einthoven",
    }  # fmt: skip
    assert table["recorded"].to_dict() == {"good": 1000, "padded": 800, "small": 1000, "swapped": 1000}
    assert set(table["original_duration"]) == {10}
    assert table["einthoven"]["good"] < 0.1 < 0.2 < table["einthoven"]["swapped"]
    right = run(tmp_path / "in", tmp_path / "b", gain=4.88).archive
    assert right.manifest.set_index("record_id")["findings"]["small"] == ""
    refused = run(tmp_path / "in", tmp_path / "c", limits=QualityLimits(refuse=("einthoven",))).archive.rejected
    assert [reason.split(":")[0] for reason in refused["reason"]] == ["einthoven"]


def test_of_a_sparse_day_ten_seconds_are_read(tmp_path: Path, heartbeat, write_wfdb) -> None:
    path = write_wfdb(tmp_path / "in", "day", heartbeat(seconds=12))
    frames = 24 * 3600 * 500
    header = path.with_suffix(".hea")
    header.write_text(header.read_text().replace("500 6000", f"500 {frames}"))
    with path.with_suffix(".dat").open("r+b") as file:
        file.truncate(frames * 24)
    begin = time.monotonic()
    before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    archive = run(tmp_path / "in", tmp_path / "a", workers=1).archive
    assert archive.manifest["original_duration"].tolist() == [24 * 3600]
    assert resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss <= max(before, 700_000)  # kB
    assert time.monotonic() - begin < 20


def test_empty_and_missing_folders(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no recording, 0 files are of no format that is read \(.*wfdb"):
        run(tmp_path / "empty", tmp_path / "a")
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        run(tmp_path / "nowhere", tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_nothing_usable_is_an_error(tmp_path: Path, write_wfdb) -> None:
    write_wfdb(tmp_path / "s", "a", np.zeros((12, 5000)))
    with pytest.raises(ArchiveError, match=r"no record, see rejected\.csv"):
        run(tmp_path / "s", tmp_path / "a")
    assert "flat lead" in (tmp_path / "a" / "rejected.csv").read_text()


def test_second_source_adds_and_nothing_is_read_twice(source: Path, tmp_path: Path, heartbeat, write_wfdb) -> None:
    first = run(source, tmp_path / "a")
    before = contents(tmp_path / "a")
    again = run(source, tmp_path / "a")
    assert (again.accepted, again.rejected, again.skipped) == (0, 0, 6)
    assert contents(tmp_path / "a") == before
    other = tmp_path / "other"
    write_wfdb(other, "r0", heartbeat(seed=9))
    write_wfdb(other, "new", heartbeat(seed=10))
    report = run(other, tmp_path / "a")
    assert (report.accepted, report.rejected, report.skipped) == (1, 1, 0)
    assert report.archive.rejected.values.tolist() == [
        ["r0.hea", "duplicate record id: r0 is in the archive from clinic"]
    ]
    np.testing.assert_array_equal(report.archive.read(range(6)).signal, first.archive.read(range(6)).signal)
    assert report.archive.manifest["record_id"].iloc[-1] == "new"
    report.archive.verify()


def test_mended_file_is_taken_the_next_time(source: Path, tmp_path: Path, heartbeat, write_wfdb) -> None:
    write_wfdb(source, "late", np.zeros((12, 5000)))
    assert run(source, tmp_path / "a").rejected == 1
    write_wfdb(source, "late", heartbeat(seed=9))
    report = run(source, tmp_path / "a")
    assert (report.accepted, report.rejected, report.skipped) == (1, 0, 6)
    assert not len(report.archive.rejected)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"settings": SignalSettings(sampling_rate=500)}, r"settings\.sampling_rate: 100\.0 there, 500\.0 now"),
        ({"limits": QualityLimits(pop=9)}, r"quality\.pop: 30\.0 there, 9\.0 now"),
        ({"salt": SALT}, r"patient_ids: 'plain' there, 'hmac-sha256"),
    ],
)
def test_other_settings_are_refused_naming_both(source: Path, tmp_path: Path, options, message: str) -> None:
    run(source, tmp_path / "a")
    with pytest.raises(ArchiveError, match=message):
        run(source, tmp_path / "a", **options)


def test_duplicate_record_id_within_a_source(source: Path, tmp_path: Path) -> None:
    shutil.copy(source / "r0.hea", source / "r0.HEA")
    report = run(source, tmp_path / "a")
    assert report.accepted == 6
    assert report.archive.rejected.values.tolist() == [["r0.hea", "duplicate record id: r0"]]
    assert run(source, tmp_path / "a").archive.rejected.values.tolist() == report.archive.rejected.values.tolist()


@pytest.mark.skipif(not hasattr(signals, "setitimer"), reason="there is no such clock")
@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="needs workers that inherit a replaced reader")
@pytest.mark.parametrize("workers", [1, 2])
def test_file_that_takes_too_long_costs_only_itself(source: Path, tmp_path: Path, monkeypatch, workers: int) -> None:
    def hang(path: Path):
        if path.name in ("r2.hea", "r5.hea"):
            re.match(r"(a+)+$", "a" * 40 + "b")  # in C, where no exception reaches it
        yield read_wfdb(path)

    monkeypatch.setitem(READERS._things, "wfdb", replace(READERS["wfdb"], read=hang, read_part=None))
    start = time.monotonic()
    report = run(source, tmp_path / "a", seconds_per_file=2.0, workers=workers)
    assert report.accepted == 4
    assert report.archive.rejected.values.tolist() == [
        ["r2.hea", "time: reading did not end"],
        ["ward/r5.hea", "time: reading did not end"],
    ]
    assert time.monotonic() - start < 60


def test_time_to_take_results_is_not_that_of_a_file(tmp_path: Path) -> None:
    made = []
    for item, result in in_order(range_of, [40] * 20, 2, lambda item, late: -1, 0.2):
        if item == 40 and result == 39:
            time.sleep(0.1)
        made.append(result)
    assert made == [*range(40), None] * 20


def range_of(count: int) -> range:
    return range(count)


@pytest.mark.skipif(multiprocessing.get_start_method() != "fork", reason="needs workers that inherit a replaced reader")
def test_bad_reader_costs_only_its_file(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def crash(path: Path):
        if path.name == "r2.hea":
            os._exit(1)
        if path.name == "r4.hea":
            raise RuntimeError("of somebody's library")
        yield read_wfdb(path)

    monkeypatch.setitem(READERS._things, "wfdb", replace(READERS["wfdb"], read=crash, read_part=None))
    report = run(source, tmp_path / "a")
    assert report.accepted == 4
    assert report.archive.rejected.values.tolist() == [
        ["r2.hea", "unreadable: the reading process died"],
        ["r4.hea", "unreadable: RuntimeError"],
    ]


def test_full_disk_then_the_same_call(source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "RECORDS_PER_PART", 2)
    run(source, tmp_path / "whole")
    fsync = os.fsync

    def full_after_two_parts(file: int) -> None:
        if (tmp_path / "a" / "journal" / "00001.json").exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        fsync(file)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full_after_two_parts)
        with pytest.raises(OSError, match="No space left on device") as caught:
            run(source, tmp_path / "a")
    assert caught.value.errno == errno.ENOSPC
    assert len(list((tmp_path / "a" / "signals").iterdir())) == 2
    with pytest.raises(ArchiveError, match="unfinished"):
        open_archive(tmp_path / "a")
    with pytest.raises(ArchiveError, match=r"holds an unfinished ingest of .*clinic: finish that before .*ward"):
        run(source / "ward", tmp_path / "a")
    assert run(source, tmp_path / "a").accepted == 6
    assert contents(tmp_path / "a") == contents(tmp_path / "whole")


def test_one_process_at_a_time_writes_an_archive(source: Path, tmp_path: Path) -> None:
    with lock(tmp_path / "a"), pytest.raises(FolderInUseError, match=r"archive='.*a': another process"):
        run(source, tmp_path / "a")
    assert run(source, tmp_path / "a").accepted == 6


SCRIPT = """
import sys, time
import ssl_ecg.archive
room = sys.modules["ssl_ecg.archive.ingest"]
room.RECORDS_PER_PART = 4
commit = room._commit
def slowly(*part):
    commit(*part)
    time.sleep(0.5)
room._commit = slowly
if __name__ == "__main__":
    room.ingest(sys.argv[1], sys.argv[2], workers=2, progress=False)
"""


@pytest.mark.skipif(os.name != "posix", reason="kills a process group")
def test_killed_ingest_continues_to_the_same_bytes(tmp_path: Path, heartbeat, write_wfdb, monkeypatch) -> None:
    source = tmp_path / "clinic"
    for i in range(16):
        write_wfdb(source, f"r{i:02d}", np.zeros((12, 1000)) if i % 5 == 2 else heartbeat(100, seed=i), 100)
    monkeypatch.setattr(room, "RECORDS_PER_PART", 4)
    run(source, tmp_path / "whole")

    archive = tmp_path / "killed"
    command = [sys.executable, "-c", SCRIPT, str(source), str(archive)]
    process = subprocess.Popen(command, start_new_session=True)
    wait_until(lambda: (archive / "journal" / "00001.json").exists())
    process.send_signal(signals.SIGKILL)
    assert process.wait() == -signals.SIGKILL
    wait_until(lambda: not group_lives(process.pid))  # the workers follow their parent
    assert not (archive / "archive.json").exists()
    (archive / "signals" / "00002.i16").write_bytes(b"half a part")

    report = run(source, archive)
    assert (report.accepted, report.rejected) == (13, 3)
    assert contents(archive) == contents(tmp_path / "whole")
    report.archive.verify()


def group_lives(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until(condition, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def test_real_sources_in_one_call(ecg_data: Path, tmp_path: Path) -> None:
    """A few records of each data set, linked into one source."""
    source = tmp_path / "ecg"
    for name in ("cpsc2018", "cinc2011"):
        (source / name).mkdir(parents=True)
        for file in sorted((ecg_data / name).iterdir())[:20]:
            (source / name / file.name).symlink_to(file)
    database = pd.read_csv(ecg_data / "ptbxl" / "ptbxl_database.csv").head(12)
    for name in database["filename_lr"]:
        (source / "ptbxl" / name).parent.mkdir(parents=True, exist_ok=True)
        for suffix in (".hea", ".dat"):
            (source / "ptbxl" / (name + suffix)).symlink_to(ecg_data / "ptbxl" / (name + suffix))
    database.to_csv(source / "ptbxl" / "ptbxl_database.csv", index=False)
    (source / "ptbxl" / "scp_statements.csv").symlink_to(ecg_data / "ptbxl" / "scp_statements.csv")
    report = run(source, tmp_path / "a")
    table = report.archive.manifest
    assert report.accepted + report.rejected == 32
    assert (table["source"] == "ecg/ptbxl").sum() == 12
    assert set(table.loc[table["source"] == "ecg/ptbxl", "calibrated"]) == {False}
    assert table.loc[table["source"] == "ecg/cpsc2018", "age"].notna().all()
    assert report.archive.leads == LEADS
    assert len(pd.read_csv(tmp_path / "a" / "labels" / "ptbxl_superdiagnostic.csv")) == 12


def test_copies_under_other_names_are_listed_and_kept_once(
    tmp_path: Path, write_wfdb: Callable[..., Path], heartbeat: Callable[..., np.ndarray]
) -> None:
    source = tmp_path / "source"
    for number in range(3):
        write_wfdb(source / "a", f"r{number}", heartbeat(seed=number))
        write_wfdb(source / "b", f"other{number}", heartbeat(seed=number))
    report = ingest(source, tmp_path / "archive", workers=1, progress=False)
    assert report.archive.manifest["record_id"].tolist() == ["a/r0", "a/r1", "a/r2"]
    assert report.archive.manifest["content"].nunique() == 3
    assert report.archive.rejected["reason"].tolist() == [f"copy: the same signal as a/r{n}" for n in range(3)]
    # Also where the copies come later.
    shutil.rmtree(source / "a")
    more = tmp_path / "more"
    shutil.copytree(source / "b", more / "c")
    write_wfdb(more, "new", heartbeat(seed=9))
    added = ingest(more, tmp_path / "archive", workers=1, progress=False)
    assert (added.accepted, added.rejected) == (1, 3)
