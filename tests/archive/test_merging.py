"""Two archives as one."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.archive import ArchiveError, ingest, merge, open_archive
from ssl_ecg.cli import main
from ssl_ecg.signals import SignalSettings

pytestmark = pytest.mark.process

room = sys.modules["ssl_ecg.archive.merging"]
SALT = "a salt of more than 16"


def run(source: Path, archive: Path, **options):
    return ingest(source, archive, **{"workers": 1, "progress": False, **options}).archive


@pytest.fixture
def sources(tmp_path: Path, heartbeat, write_wfdb) -> tuple[Path, Path]:
    """Two wards: a record of one is a copy of the other's, and each has a file that is none."""
    for ward, seeds in (("north", (0, 1, 2)), ("south", (3, 4, 1))):
        for seed in seeds:
            write_wfdb(tmp_path / ward, f"{ward[0]}{seed}", heartbeat(seed=seed))
        (tmp_path / ward / "notes.txt").write_text("none")
    return tmp_path / "north", tmp_path / "south"


@pytest.mark.parametrize("salt", [None, SALT])
def test_records_labels_and_reasons_of_both(sources, tmp_path: Path, salt: str | None) -> None:
    both = [run(source, tmp_path / f"{source.name} archive", salt=salt) for source in sources]
    for archive in both:
        (archive.folder / "labels").mkdir()
        table = archive.manifest[["record_id"]].assign(AF=1)
        table.to_csv(archive.folder / "labels" / "af.csv", index=False)
    merged = merge(*both, tmp_path / "merged")
    assert len(merged) == 5
    merged.verify()
    kept = [name for archive in both for name in archive.manifest["record_id"]][:5]
    assert merged.manifest["record_id"].to_list() == [
        *both[0].manifest["record_id"],
        *both[1].manifest["record_id"][1:],
    ]
    for archive in both:
        rows = merged.find(archive.manifest["record_id"])
        there = rows >= 0
        np.testing.assert_array_equal(merged.read(rows[there]).signal, archive.read(np.flatnonzero(there)).signal)
    assert merged.manifest["patient_id"].nunique() == 5
    kinds = merged.rejected["reason"].str.partition(":")[0]
    assert sorted(kinds) == ["copy", "unknown format", "unknown format"]
    labels = pd.read_csv(merged.folder / "labels" / "af.csv")
    assert len(labels) == len(kept) + 1
    assert list(merged.find(["n0", "s4"]) >= 0) == [True, True]  # by the table at home, where there is a salt
    assert merged.info["patient_ids"] == both[0].info["patient_ids"]


def test_a_kill_costs_nothing(sources, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = [run(source, tmp_path / f"{source.name} archive") for source in sources]
    whole = merge(*both, tmp_path / "whole")
    take = room._take

    def killed(writer, archive, number, with_rejected) -> None:
        if archive is both[1]:
            raise KeyboardInterrupt
        take(writer, archive, number, with_rejected)

    with monkeypatch.context() as patch:
        patch.setattr(room, "_take", killed)
        with pytest.raises(KeyboardInterrupt):
            merge(*both, tmp_path / "merged")
    with pytest.raises(ArchiveError, match="unfinished"):
        open_archive(tmp_path / "merged")
    merged = merge(*both, tmp_path / "merged")
    pd.testing.assert_frame_equal(merged.manifest, whole.manifest)
    assert merged.rejected.equals(whole.rejected)


def test_archives_that_do_not_fit_are_refused(sources, tmp_path: Path) -> None:
    first = run(sources[0], tmp_path / "a")
    other = run(sources[1], tmp_path / "b", settings=SignalSettings(sampling_rate=50, band=(0.5, 20)))
    with pytest.raises(ArchiveError, match=r"made with other settings: .*sampling_rate: 100.0 there, 50.0 now"):
        merge(first, other, tmp_path / "c")
    with pytest.raises(ArchiveError, match="patient_ids: 'plain' there"):
        merge(first, run(sources[1], tmp_path / "d", salt=SALT), tmp_path / "c")
    assert not (tmp_path / "c" / "archive.json").exists()
    with pytest.raises(ArchiveError, match="holds an archive; choose another folder"):
        merge(first, first, tmp_path / "b")


def test_the_command(sources, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    for source in sources:
        run(source, tmp_path / f"{source.name}.archive")
    paths = [str(tmp_path / name) for name in ("north.archive", "south.archive", "out")]
    assert main(["archive", "merge", *paths]) == 0
    assert "5" in capsys.readouterr().out
    assert len(open_archive(paths[2])) == 5
    assert (tmp_path / "out" / "ingest.html").is_file()
    shutil.rmtree(paths[2])
    assert main(["archive", "merge", *paths[:2]]) == 2
    assert "merge takes two archives and the folder of a new one" in " ".join(capsys.readouterr().err.split())
    assert main(["archive", "verify", *paths]) == 2
