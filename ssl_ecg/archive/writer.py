"""Writing an archive part by part, so that a kill at any moment costs at most the part in work."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.archive.archive import Archive, open_archive, read_rejected
from ssl_ecg.archive.head import FORMAT, SAMPLE, VERSION, ArchiveError, Part, check_size, part_of, read_info, read_json
from ssl_ecg.archive.known import Known
from ssl_ecg.archive.manifest import kind_of, manifest_name, manifest_sums, write_manifest
from ssl_ecg.runs import differences, write_atomically, write_csv, write_json
from ssl_ecg.signals.settings import SignalSettings

MICROVOLTS_PER_BIT = 1.0
MAX_MILLIVOLTS = np.iinfo(SAMPLE).max * MICROVOLTS_PER_BIT / 1000

# Columns of the manifest that a caller gives, with their types; ``part`` and ``row`` are added here.
COLUMNS = {
    "record_id": "string",
    "patient_id": "string",
    "source": "string",
    "age": "float64",
    "sex": "string",
    "recorded_at": "datetime64[us]",
    "start": "float64",
    "original_rate": "float64",
    "original_duration": "float64",
    "calibrated": "bool",
    "recorded": "int64",
    "leads": "string",
    "patient_known": "bool",
    "content": "string",
    "einthoven": "float64",
    "findings": "string",
}

log = logging.getLogger(__name__)


class Written(NamedTuple):
    """Signals that another process wrote, int16 [n, L, T], little-endian.

    Attributes:
        file: in the folder of the archive, which it becomes a part of by another name.
        sha256: of its content.
    """

    file: Path
    sha256: str


def quantise(signal: NDArray[np.floating]) -> NDArray[np.int16]:
    """Round millivolts to the integers that an archive stores, one microvolt a step.

    Raises:
        ValueError: If a value is not finite or beyond what 16 bits hold (32.767 mV). No heart makes such a voltage, so
            clipping it would hide a recording that is broken or in another unit.
    """
    peak = np.abs(signal).max(initial=0)
    if not peak <= MAX_MILLIVOLTS:
        raise ValueError(f"signal reaches {peak:g} mV, an archive holds up to {MAX_MILLIVOLTS:g} mV")
    return np.rint(signal * (1000 / MICROVOLTS_PER_BIT)).astype(SAMPLE)


def content_of(signal: NDArray[np.int16]) -> str:
    """Return a hash of a stored signal, by which a copy under another name is known."""
    return hashlib.blake2b(np.ascontiguousarray(signal).data, digest_size=8).hexdigest()


class ArchiveWriter:
    """Writes parts into a new, an unfinished or a finished archive.

    A part is written under a temporary name, synced and renamed; the entry in ``journal/`` that is renamed last commits
    it. ``archive.json``, which makes the folder an archive, is replaced by :meth:`finish`, so that readers see either
    the old archive or the new one. One writer at a time.

    Args:
        folder: Folder of the archive; made if need be.
        settings: What was done to the signals.
        resume: Continue what lies in ``folder`` (unfinished or finished); if False, anything there is an error.
        run: What this run reads. A run that was interrupted must be finished before another one begins, since the paths
            of its rejected files mean nothing elsewhere.
        origin: Further facts that must not change while an archive grows, such as quality limits; kept in its JSON.

    Attributes:
        journal: Folder of what is not finished.
        committed: Committed parts, those of earlier ingests first.
        known: The records in them, until the archive is finished.
        finished: How many of these, the first ones, are in the finished archive.
        rejected: (path, reason) of every file rejected since the archive was last finished.

    Raises:
        FileExistsError: If ``resume`` is False and the folder holds an archive.
        ArchiveError: If the settings differ from those of the archive that is there, or another run is unfinished.
    """

    def __init__(
        self,
        folder: str | Path,
        settings: SignalSettings,
        resume: bool = True,
        run: str = "",
        origin: dict[str, Any] | None = None,
    ) -> None:
        self.folder = Path(folder)
        self.settings = settings
        self._head: dict[str, Any] = {
            "format": FORMAT,
            "version": VERSION,
            "settings": settings.to_dict(),
            "microvolts_per_bit": MICROVOLTS_PER_BIT,
            **(origin or {}),
        }
        self.journal = self.folder / "journal"
        self._run = run
        if not resume and ((self.folder / "archive.json").exists() or self.journal.exists()):
            raise FileExistsError(f"{self.folder} already holds an archive: choose another folder or remove it")
        self.committed: list[Part] = []
        self.known = Known()
        self.finished = 0
        self.rejected: list[tuple[str, str]] = []
        self._types: dict[str, Any] = {}
        self._parts_before = 0
        self._sums: list[str] = []
        self._known = True
        self._guard_disk(self._open)

    def _open(self) -> None:
        if (self.folder / "archive.json").exists():
            self._require_same(read_info(self.folder))
            archive = open_archive(self.folder)
            if "content" not in archive.manifest:
                raise ArchiveError(f"{self.folder} is of an earlier release: ingest the source files into a new folder")
            self.committed = list(archive.parts)
            self._parts_before = len(self.committed)
            self._sums, self._known = manifest_sums(archive.info), bool(archive.patient_known.all())
            self._take_types(archive.manifest)
            manifest = archive.manifest[["record_id", "source", "content"]]
            del archive  # the other columns take more memory than these
            self.known.add(manifest)
            self.finished = len(self.known)
        (self.folder / "signals").mkdir(parents=True, exist_ok=True)
        if self.journal.exists() and (self.journal / "head.json").exists():
            head = read_json(self.journal / "head.json")
            self._require_same(head)
            if head.get("run") != self._run and self._entry(len(self.committed)).exists():
                raise ArchiveError(
                    f"{self.folder} holds an unfinished ingest of {head.get('run')}: finish that before {self._run}"
                )
        self.journal.mkdir(exist_ok=True)
        write_json(self.journal / "head.json", {**self._head, "run": self._run})
        self._replay()

    def _require_same(self, there: dict[str, Any]) -> None:
        # What is there has been through JSON; ours must be, for tuples and integers to compare.
        if found := differences({name: there.get(name) for name in self._head}, json.loads(json.dumps(self._head))):
            raise ArchiveError(
                f"archive={str(self.folder)!r}: was made with other settings: {found}; use the same or choose another "
                "folder"
            )

    def _replay(self) -> None:
        """Take over the parts that an interrupted run committed."""
        while (entry := self._entry(len(self.committed))).exists():
            try:
                value = read_json(entry)
                part = part_of(value["part"], len(self.committed))
                check_size(self.folder / part.name, part, self.settings)
                manifest = pd.read_parquet(entry.with_suffix(".parquet"))
                self.rejected += [(path, reason) for path, reason in value["rejected"]]
            except (KeyError, TypeError, ValueError) as error:
                raise ArchiveError(f"{error}: remove {self.folder} and ingest again") from error
            self.committed.append(part)
            self._remember(manifest)
        if len(self.committed) > self._parts_before:
            log.info("continuing after %d committed parts", len(self.committed))

    def _remember(self, manifest: pd.DataFrame) -> None:
        self.known.add(manifest)
        self._take_types(manifest)

    def _take_types(self, manifest: pd.DataFrame) -> None:
        self._types.update({str(name): dtype for name, dtype in manifest.dtypes.items()})

    def require_types(self, table: pd.DataFrame) -> None:
        """Compare the types of a table's columns with those of the records that are there.

        Raises:
            ArchiveError: a column holds text here and numbers there, or the like.
        """
        for name, wanted in table.dtypes.items():
            if kind_of(found := self._types.get(str(name), wanted)) != kind_of(wanted):
                raise ArchiveError(
                    f"{self.folder} holds {found} in column {name!r}, now given {wanted}: give the same or rename it"
                )

    def _entry(self, number: int) -> Path:
        return self.journal / f"{number:05d}.json"

    def write_part(
        self,
        signals: NDArray[np.floating | np.int16] | Written,
        manifest: pd.DataFrame,
        rejected: Iterable[tuple[str, str]] = (),
    ) -> None:
        """Commit a number of records, or none and only rejections, as one part.

        Args:
            signals: float32 [n, L, T], millivolts, conditioned as the settings say; or int16 from :func:`quantise`; or
                a file of such integers.
            manifest: One row per record with the columns ``COLUMNS`` (further ones are kept). Without ``recorded``,
                ``start``, ``leads`` and ``patient_known`` every record is whole, and every patient known; without
                ``einthoven`` and ``findings`` nothing is said of them; without ``content`` it is made here.
            rejected: (path, reason) of files that were looked at for this part and did not become records.

        Raises:
            ValueError: If shapes, columns or record ids do not fit, or a value is beyond 32.767 mV.
            OSError: If the disk is full; parts committed before stay as they are.
        """
        number, expected = len(self.committed), (len(manifest), len(self.settings.leads), self.settings.samples)
        if not isinstance(signals, Written) and signals.shape != expected:
            raise ValueError(f"signals must have shape {expected} (manifest rows, leads, samples), got {signals.shape}")
        manifest = manifest.copy()
        leads = " ".join(self.settings.leads)
        usual: dict[str, Any] = {"recorded": self.settings.samples, "leads": leads, "patient_known": True}
        usual |= {"start": 0.0, "einthoven": np.nan, "findings": ""}
        manifest = manifest.assign(**{name: value for name, value in usual.items() if name not in manifest})
        if missing := sorted(set(COLUMNS) - {"content", *manifest.columns}):
            raise ValueError(f"manifest lacks the columns {', '.join(missing)}")
        ids = manifest["record_id"]
        if twice := [*ids[ids.duplicated()], *(name for name in ids if name in self.known)]:
            raise ValueError(f"{len(twice)} record ids are there already: {', '.join(twice[:5])}")
        stored: NDArray[np.int16] | Written
        if isinstance(signals, Written):
            stored = signals
        else:
            integers = signals if signals.dtype == SAMPLE else quantise(signals.astype(np.float32, copy=False))
            stored = np.ascontiguousarray(integers)
            if "content" not in manifest:
                manifest["content"] = [content_of(signal) for signal in stored]
        manifest = manifest.astype(COLUMNS).reset_index(drop=True).assign(part=number, row=np.arange(len(manifest)))
        self._guard_disk(lambda: self._commit(number, stored, manifest, list(rejected)))

    def _commit(
        self, number: int, signals: NDArray[np.int16] | Written, manifest: pd.DataFrame, rejected: list[tuple[str, str]]
    ) -> None:
        digest = signals.sha256 if isinstance(signals, Written) else hashlib.sha256(signals.data).hexdigest()
        part = Part(number, len(manifest), digest)
        if isinstance(signals, Written):
            check_size(signals.file, part, self.settings)
            signals.file.replace(self.folder / part.name)
        elif len(manifest):
            write_atomically(self.folder / part.name, signals.data)
        entry = self._entry(number)
        write_atomically(entry.with_suffix(".parquet"), manifest.to_parquet(index=False))
        write_json(entry, {"part": vars(part), "rejected": rejected})
        self.committed.append(part)
        self.rejected += rejected
        self._remember(manifest)

    def finish(self, looked_at: Collection[str] = ()) -> Archive:
        """Make the folder a finished archive of all committed parts and open it.

        Args:
            looked_at: files whose earlier rejections are history, whether they were rejected again or not.

        Raises:
            ArchiveError: If no part holds a record.
            OSError: If the disk is full; calling again after making room finishes the archive.
        """
        if not any(part.records for part in self.committed):
            self._guard_disk(lambda: self._write_rejected(looked_at))
            shutil.rmtree(self.journal)
            raise ArchiveError(f"{self.folder} would hold no record, see rejected.csv there for the reasons")
        self._guard_disk(lambda: self._finish(looked_at))
        self.known = Known()  # room for the manifest that is opened now
        return open_archive(self.folder)

    def _finish(self, looked_at: Collection[str]) -> None:
        new = [part.number for part in self.committed[self._parts_before :] if part.records]
        self._write_rejected(looked_at)
        sums, known = list(self._sums), self._known
        if new:
            entries = [self._entry(number).with_suffix(".parquet") for number in new]
            # Not part of the archive before archive.json names it; what is there is not written again.
            path = self.folder / manifest_name(len(sums))
            sums.append(write_manifest(path, lambda: map(pd.read_parquet, entries)))
            known = known and all(pd.read_parquet(entry, columns=["patient_known"]).all(axis=None) for entry in entries)
        while not self.committed[-1].records:  # held rejections only, which are in rejected.csv now
            self.committed.pop()
        parts = [vars(part) for part in self.committed]
        facts = {"patients_known": known, "parts": parts, "manifest_sha256": sums[0], "appended": sums[1:]}
        write_json(self.folder / "archive.json", {**self._head, **facts})
        shutil.rmtree(self.journal)

    def _write_rejected(self, looked_at: Collection[str]) -> None:
        """Write ``rejected.csv``: earlier rows whose file was not looked at again, and those of this run."""
        path = self.folder / "rejected.csv"
        table = pd.DataFrame(self.rejected, columns=["path", "reason"], dtype=str)
        if self._parts_before and path.exists():
            before = read_rejected(path)
            again = {*looked_at, *table["path"]}
            table = pd.concat([before[[again.isdisjoint(files_of(path)) for path in before["path"]]], table])
        write_csv(path, table.sort_values("path", kind="stable"))

    def _guard_disk(self, write: Callable[[], None]) -> None:
        try:
            write()
        except OSError as error:
            raise OSError(
                error.errno,
                f"{error.strerror or error}: writing the archive stopped, the {len(self.committed)} parts committed so "
                "far are safe; mend this and run the same command again",
                str(self.folder),
            ) from error


def files_of(rejected: str) -> list[str]:
    """Return what the file of a rejected path can be: ``a/b.h5#7`` or ``a/b.h5`` for ``a/b.h5#7``."""
    return [rejected, *(rejected[:i] for i, letter in enumerate(rejected) if letter in "#@")]


def ids_of(rejected: str) -> set[str]:
    """Return what the record id of a rejected path can be: ``a/b`` or ``a/b#7`` for ``a/b.h5#7``."""
    return {os.path.splitext(file)[0] + rejected[len(file) :] for file in files_of(rejected)}
