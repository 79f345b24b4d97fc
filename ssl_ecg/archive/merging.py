"""Two archives become one, without their sources."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from ssl_ecg.archive.archive import Archive, open_archive
from ssl_ecg.archive.head import SAMPLE, ArchiveError, part_name
from ssl_ecg.archive.manifest import REPEATED, manifest_sums
from ssl_ecg.archive.record_ids import table_at_home
from ssl_ecg.archive.writer import ArchiveWriter
from ssl_ecg.runs import differences, locked, unescaped, write_atomically, write_csv

_OF_PARTS = (
    "settings",
    "parts",
    "manifest_sha256",
    "appended",
    "patients_known",
    "format",
    "version",
    "microvolts_per_bit",
)


@locked("out")
def merge(first: Archive | str | Path, second: Archive | str | Path, out: str | Path) -> Archive:
    """Write the records of two archives into a new one, part by part.

    Of the second archive, records are left out whose id is in the first, or whose signal is; they stand in
    ``rejected.csv`` of the new one, after what stands there of both. Label tables of one name are joined, and so are
    the tables beside the archives that explain keyed ids.

    Args:
        first: an archive.
        second: one of the same settings, limits and salt.
        out: folder of the new archive. The same call continues after a kill.

    Returns:
        The new archive.

    Raises:
        FileNotFoundError: there is no archive.
        ArchiveError: they were made otherwise, are damaged, or another archive lies in ``out``.
    """
    both = [archive if isinstance(archive, Archive) else open_archive(archive) for archive in (first, second)]
    out = Path(out)
    if (out / "archive.json").exists():
        raise ArchiveError(f"out={str(out)!r}: holds an archive; choose another folder")
    origins = [{name: value for name, value in archive.info.items() if name not in _OF_PARTS} for archive in both]
    plain = [{**archive.settings.to_dict(), **origin} for archive, origin in zip(both, origins, strict=True)]
    if found := differences(plain[0], plain[1]):
        raise ArchiveError(f"{both[0].folder} and {both[1].folder} were made with other settings: {found}")
    run = "merge of " + " and ".join("+".join(each[:12] for each in manifest_sums(archive.info)) for archive in both)
    writer = ArchiveWriter(out, both[0].settings, run=run, origin=origins[0])
    for archive in both:
        writer.require_types(archive.manifest)
    done = len(writer.committed)
    parts = [(archive, part.number) for archive in both for part in archive.parts]
    for archive, number in parts[done:]:
        _take(writer, archive, number, with_rejected=number == 0)
    for name in dict.fromkeys(
        file.name for archive in both for file in sorted((archive.folder / "labels").glob("*.csv"))
    ):
        _join_labels(out / "labels" / name, [archive.folder / "labels" / name for archive in both])
    _join_ids(out, both)
    return writer.finish()


def _take(writer: ArchiveWriter, archive: Archive, number: int, with_rejected: bool) -> None:
    """Commit the records of one part that are not there yet."""
    rows = archive.manifest[archive.manifest["part"] == number].sort_values("row")
    signals = np.zeros((0, len(archive.leads), archive.samples), SAMPLE)
    if len(rows):
        signals = np.memmap(archive.folder / part_name(number), SAMPLE, "r").reshape(-1, *signals.shape[1:])
    rejected = list(archive.rejected.itertuples(index=False, name=None)) if with_rejected else []
    kept = []
    for row, (name, content) in enumerate(zip(rows["record_id"], rows["content"], strict=True)):
        if name in writer.known:
            rejected.append((name, "duplicate record id: it is in the other archive too"))
        elif original := writer.known.of_signal(content):
            rejected.append((name, f"copy: the same signal as {original}"))
        else:
            kept.append(row)
    table = rows.iloc[kept].drop(columns=["part", "row", "content"]).reset_index(drop=True)
    # The categories of two archives differ.
    table = table.astype({name: table[name].cat.categories.dtype for name in REPEATED})
    writer.write_part(np.ascontiguousarray(signals[kept]), table, rejected)


def _join_labels(path: Path, tables: list[Path]) -> None:
    read = [
        unescaped(pd.read_csv(table, dtype={"record_id": str}, keep_default_na=False))
        for table in tables
        if table.exists()
    ]
    path.parent.mkdir(parents=True, exist_ok=True)
    write_csv(path, pd.concat(read).drop_duplicates("record_id"))


def _join_ids(out: Path, both: list[Archive]) -> None:
    """Join the tables at home, which only their owner can read."""
    there = [table for archive in both if (table := table_at_home(archive.folder)).is_file()]
    if there:
        head, *rest = (table.read_bytes() for table in there)
        rows = b"".join(text.partition(b"\n")[2] for text in rest)
        write_atomically(table_at_home(out), head + rows, mode=0o600)
