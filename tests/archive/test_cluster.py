"""Ingest by the workers of a Dask cluster: the same archive as without, whoever is killed meanwhile."""

from __future__ import annotations

import os
import shutil
import signal as signals
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.archive import Archive, cluster, ingest
from ssl_ecg.archive.cluster import ClusterError, Slices, convert_slice
from ssl_ecg.archive.finding import Job
from ssl_ecg.archive.reading import Reading
from ssl_ecg.cli import main
from ssl_ecg.records import LEADS, READERS, QualityLimits, Reader, Record
from ssl_ecg.signals import SignalSettings

distributed = pytest.importorskip("distributed", reason="needs the extra cluster")
pytestmark = [pytest.mark.process, pytest.mark.slow]

room = sys.modules["ssl_ecg.archive.ingest"]
DIFFERS = ["part", "row"]  # where a signal lies in the archive


@pytest.fixture(scope="module")
def workers() -> Iterator[distributed.LocalCluster]:
    """Two workers, each a process."""
    with distributed.LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address="127.0.0.1:0") as here:
        yield here


@pytest.fixture(scope="module")
def source(tmp_path_factory, heartbeat, write_wfdb) -> Path:
    """Twenty-four files: good ones, flat ones, a copy of a file far away, something else, a long recording."""
    folder = tmp_path_factory.mktemp("hospital") / "clinic"
    for i in range(20):
        write_wfdb(folder, f"r{i:02d}", np.zeros((12, 1000)) if i % 7 == 2 else heartbeat(100, seed=i), 100)
    write_wfdb(folder / "ward", "long", heartbeat(100, 35, seed=50), 100)
    for suffix in (".hea", ".dat"):
        shutil.copy(folder / f"r01{suffix}", folder / "ward" / f"copy{suffix}")
    header = folder / "ward" / "copy.hea"
    header.write_text(header.read_text().replace("r01", "copy"))
    (folder / "notes.txt").write_text("nothing")
    return folder


def run(source: Path, archive: Path, **options) -> Archive:
    report = ingest(source, archive, progress=False, windows="all", **options)
    report.archive.verify()
    return report.archive


def assert_same(ours: Archive, local: Archive) -> None:
    pd.testing.assert_frame_equal(ours.manifest.drop(columns=DIFFERS), local.manifest.drop(columns=DIFFERS))
    assert (ours.folder / "rejected.csv").read_bytes() == (local.folder / "rejected.csv").read_bytes()
    assert stored(ours) == stored(local)  # every sample, in the same order
    assert {path.name for path in ours.folder.iterdir()} == {path.name for path in local.folder.iterdir()}


def stored(archive: Archive) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((archive.folder / "signals").iterdir()))


@pytest.fixture(scope="module")
def local(source: Path, tmp_path_factory) -> Archive:
    return run(source, tmp_path_factory.mktemp("local") / "archive", workers=1)


def test_killed_worker_costs_nothing(workers, source: Path, tmp_path: Path, local: Archive, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "MAX_FILES", 3)
    killed = []

    def kill() -> None:
        """Kill a worker that is at work, as soon as something is committed."""
        with distributed.Client(workers.scheduler_address, set_as_default=False) as client:
            pids = client.run(os.getpid)
            while not (tmp_path / "archive" / "journal" / "00000.json").exists():
                time.sleep(0.005)
            busy = next(name for name, tasks in client.processing().items() if tasks)
            os.kill(pids[busy], signals.SIGKILL)
            killed.append(pids[busy])

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    archive = run(source, tmp_path / "archive", cluster=workers.scheduler_address)
    killer.join(10)
    assert len(killed) == 1
    assert_same(archive, local)
    assert len(archive.parts) > 3
    reasons = archive.rejected["reason"]
    assert sum("copy: the same signal as r01" in reason for reason in reasons) == 1


def test_killed_ingest_goes_on_without_the_cluster(
    workers, source: Path, tmp_path: Path, local: Archive, monkeypatch
) -> None:
    monkeypatch.setattr(cluster, "MAX_FILES", 3)
    commit, commits = room._commit, []

    def stop(*part) -> None:
        if len(commits) == 3:
            raise KeyboardInterrupt
        commits.append(commit(*part))

    monkeypatch.setattr(room, "_commit", stop)
    with pytest.raises(KeyboardInterrupt):
        run(source, tmp_path / "archive", cluster=workers.scheduler_address)
    monkeypatch.setattr(room, "_commit", commit)
    (tmp_path / "archive" / "journal" / "left.i16").write_bytes(b"of a worker that was cut off")
    assert_same(run(source, tmp_path / "archive", workers=1), local)


def one_or_abort(path: Path) -> Iterator[Record]:
    if path.name.startswith("bad"):
        os.abort()
    yield Record(np.tile(np.sin(np.arange(1000) / 7) + np.arange(1000) % 97 / 300, (12, 1)), 100, LEADS)


def test_file_that_kills_its_reader_costs_only_itself(tmp_path: Path) -> None:
    jobs = [Job(name, Reader(READERS["wfdb"].sniff, one_or_abort)) for name in ("a", "bad", "c")]
    for job in jobs:
        (tmp_path / job.path).touch()
    how = Reading(SignalSettings(), QualityLimits(refuse=()))
    pieces = convert_slice(Slices(tmp_path, tmp_path, how, 60, 2), jobs)
    outcomes = [outcome for piece in pieces for _, outcome in piece.outcomes]
    assert [(outcome.path, outcome.reason) for outcome in outcomes] == [
        ("a", None),
        ("bad", "unreadable: the reading process died"),
        ("c", None),
    ]
    assert [piece.written is not None and piece.written.file.stat().st_size for piece in pieces] == [24000, 24000]


def told(capfd, source: Path, archive: Path, *settings: str) -> str:
    assert main(["ingest", str(source), str(archive), *settings]) == 2
    return capfd.readouterr().err.strip().splitlines()[-1]


def test_what_cannot_be_used_is_told_in_a_line(source: Path, tmp_path: Path, capfd, monkeypatch) -> None:
    monkeypatch.setattr(cluster, "CONNECT", 0.5)
    monkeypatch.setattr(cluster, "SECONDS", 0.5)
    at = tmp_path / "archive"
    assert "cluster='nowhere': is no address; give one such as tcp://host" in told(capfd, source, at, "cluster=nowhere")
    line = told(capfd, source, at, "cluster=tcp://127.0.0.1:9")
    assert "no Dask scheduler answers there; start one by dask scheduler --port 9, or mend the address" in line
    line = told(capfd, source, at, "cluster=tcp://127.0.0.1:9", "workers=2")
    assert "workers=2: cluster='tcp://127.0.0.1:9' has workers of its own; leave one of both out" in line
    with distributed.LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as empty:
        line = told(capfd, source, at, f"cluster={empty.scheduler_address}")
    assert "has no worker; start some by dask worker tcp://" in line
    monkeypatch.setitem(sys.modules, "distributed", None)
    assert "is not installed; run pip install 'ssl_ecg[cluster]'" in told(capfd, source, at, "cluster=local")
    assert not at.exists()


def test_worker_that_does_not_see_a_folder_says_so(
    workers, source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    monkeypatch.setattr(cluster, "Slices", lambda source, *others, made=Slices: made(elsewhere, *others))
    with pytest.raises(ClusterError, match=r"source: .*elsewhere is not seen by the worker on .*; every worker needs"):
        run(source, tmp_path / "archive", cluster=workers.scheduler_address)
    how = Reading(SignalSettings(), QualityLimits())
    with pytest.raises(ClusterError, match=r"archive: .*elsewhere is not seen"):
        convert_slice(Slices(source, elsewhere, how, 60, 2), [])
