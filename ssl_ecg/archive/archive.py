"""Many ECGs in one folder, read without parsing: memory-mapped int16 parts, a manifest, and their settings."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ssl_ecg.archive.head import (
    SAMPLE,
    ArchiveError,
    Part,
    check_manifest,
    check_size,
    part_name,
    read_info,
    settings_of,
)
from ssl_ecg.archive.manifest import check_sum, manifest_name, manifest_sums, read_manifest
from ssl_ecg.archive.record_ids import SCHEME, renamed
from ssl_ecg.runs import unescaped
from ssl_ecg.signals.settings import SignalSettings
from ssl_ecg.signals.signals import Signals


@dataclass
class Archive:
    """A finished archive, opened read-only; made by :func:`open_archive`.

    Indexing gives one record, :meth:`read` many at once, in millivolts: ``settings.normalise`` says what networks make
    of them. Files are mapped when they are first read, in each process by itself, so that an archive can be sent to
    workers.

    Attributes:
        folder: Where it lies.
        settings: What was done to the signals.
        microvolts_per_bit: Physical value of one step of the stored integers, in microvolts.
        parts: The signal files.
        manifest: One row per record, in the order of the archive.
        info: ``archive.json`` as it was read.
        places: Where the leads stand among those stored.
        recorded: int64 [records], samples of each record that were recorded, from the first on.
        recorded_leads: bool [records, L], leads of each record that were recorded.
    """

    folder: Path
    settings: SignalSettings
    microvolts_per_bit: float
    parts: tuple[Part, ...]
    manifest: pd.DataFrame
    info: dict[str, Any] = field(repr=False)
    places: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        self._maps: dict[int, NDArray[np.int16]] = {}
        self.places = self.places or tuple(range(len(self.leads)))
        self._part = self.manifest["part"].to_numpy(np.int64)
        self._row = self.manifest["row"].to_numpy(np.int64)
        self.recorded = self.manifest["recorded"].to_numpy(np.int64)
        code, sets = pd.factorize(self.manifest["leads"])
        self.recorded_leads = np.array([[lead in names.split() for lead in self.leads] for names in sets])[code]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one record: its manifest row as a dict, and ``signal`` float32 [L, T], millivolts.

        Raises:
            IndexError: If ``index`` is out of range.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"record {index} of an archive of {len(self)}")
        index %= len(self)
        row: dict[str, Any] = self.manifest.iloc[index].to_dict()  # type: ignore[assignment]
        return {**row, "signal": self.read([index]).signal[0]}

    def read(self, rows: ArrayLike) -> Signals:
        """Read records by their row numbers.

        Args:
            rows: int [B], any order, repetitions allowed.

        Returns:
            ``signal`` float32 [B, L, T] in millivolts, ``recorded`` int64 [B] and ``leads`` bool [B, L].

        Raises:
            IndexError: If a row is out of range.
        """
        stored = self.stored(rows)
        return stored._replace(signal=stored.signal.astype(np.float32) * np.float32(self.microvolts_per_bit / 1000))

    def stored(self, rows: ArrayLike) -> Signals:
        """Read records as :meth:`read` does, their signal int16 [B, L, T] in steps of ``microvolts_per_bit``.

        Half the bytes of millivolts, for what is converted on the device.
        """
        rows = np.atleast_1d(np.asarray(rows, dtype=np.int64))
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"rows must lie in 0..{len(self) - 1}, got {rows.min()}..{rows.max()}")
        integers = np.empty((len(rows), len(self.leads), self.samples), dtype=SAMPLE)
        part = self._part[rows]
        for number in np.unique(part):
            here = part == number
            integers[here] = self._map(int(number))[self._row[rows[here]]][:, self.places]
        return Signals(integers, self.recorded[rows], self.recorded_leads[rows])

    def _map(self, number: int) -> NDArray[np.int16]:
        if number not in self._maps:
            shape = (self.parts[number].records, -1, self.samples)
            self._maps[number] = np.memmap(self.folder / part_name(number), dtype=SAMPLE, mode="r").reshape(shape)
        return self._maps[number]

    def of_leads(self, leads: Iterable[str]) -> Archive:
        """Return the same archive with some of its leads alone, in the order given; itself where it lacks one."""
        leads = tuple(leads)
        if leads == self.leads or not set(leads) <= set(self.leads):
            return self
        places = tuple(self.places[self.leads.index(lead)] for lead in leads)
        return replace(self, settings=self.settings.replace(leads=leads), places=places)

    @property
    def leads(self) -> tuple[str, ...]:
        """Canonical names of the L leads."""
        return self.settings.leads

    @property
    def sampling_rate(self) -> float:
        """Samples a second, in Hz."""
        return self.settings.sampling_rate

    @property
    def samples(self) -> int:
        """Number of samples T of every signal."""
        return self.settings.samples

    @cached_property
    def patient(self) -> NDArray[np.int64]:
        """int64 [records]: a number for each patient, counted in order of appearance."""
        return pd.factorize(self.manifest["patient_id"])[0].astype(np.int64)

    @cached_property
    def patient_known(self) -> NDArray[np.bool_]:
        """Bool [records]: whether the patient was named; a record of an unknown patient counts as somebody else."""
        known = self.manifest.get("patient_known")
        return np.ones(len(self), dtype=bool) if known is None else known.to_numpy(bool)

    @cached_property
    def _row_of(self) -> pd.Index:
        return pd.Index(self.manifest["record_id"])

    def known_as(self, record_ids: pd.Series) -> pd.Series:
        """Return record ids as this archive has them.

        Under a salt they are keyed. At home, where the table beside the archive says what they were in the source,
        these ids are taken too.
        """
        keyed = self.info.get("record_ids") == SCHEME and not record_ids.isin(self._row_of).all()
        return renamed(self.folder, record_ids) if keyed else record_ids

    def find(self, record_ids: Iterable[str]) -> NDArray[np.int64]:
        """Return the row of each record id, int64 [n], with -1 where the archive does not hold it."""
        names = self.known_as(pd.Series(list(record_ids), dtype=object))
        return self._row_of.get_indexer(pd.Index(names, dtype=self._row_of.dtype)).astype(np.int64)

    def rows(self, record_ids: Iterable[str]) -> NDArray[np.int64]:
        """Return the row of each record id, int64 [n].

        Raises:
            ArchiveError: If the archive does not hold one of them; the message names some and says how many.
        """
        record_ids = list(record_ids)
        rows = self.find(record_ids)
        if unknown := [name for name, row in zip(record_ids, rows, strict=True) if row < 0]:
            raise ArchiveError(f"{len(unknown)} record ids are not in {self.folder}: {', '.join(unknown[:5])}")
        return rows

    @property
    def rejected(self) -> pd.DataFrame:
        """``path`` and ``reason`` of every file that did not become a record.

        Raises:
            ArchiveError: If the table is missing or damaged.
        """
        return read_rejected(self.folder / "rejected.csv")

    def verify(self) -> None:
        """Compare every file with its checksum.

        Raises:
            ArchiveError: If one differs; the message names it.
        """
        for part in self.parts:
            if part.records:
                check_sum(self.folder / part.name, part.sha256)
        if (self.folder / "journal").is_dir():
            raise ArchiveError(f"{self.folder}: an ingest into it was interrupted; run it again, then verify")
        for number, expected in enumerate(manifest_sums(self.info)):
            check_sum(self.folder / manifest_name(number), expected)


def read_rejected(path: Path) -> pd.DataFrame:
    """Read a table of what did not become a record.

    Raises:
        ArchiveError: If it is missing or damaged.
    """
    try:
        return unescaped(pd.read_csv(path, dtype=str, keep_default_na=False))[["path", "reason"]]
    except (KeyError, ValueError, OSError) as error:
        raise ArchiveError(f"{path} is damaged: {error}; take it from a copy") from error


def open_archive(folder: str | Path) -> Archive:
    """Open a finished archive.

    It may come from anywhere: nothing is taken from it before it is known to fit. The contents of the signals are
    compared with their checksums by :meth:`Archive.verify` alone.

    Args:
        folder: Folder that an ingest wrote.

    Raises:
        FileNotFoundError: If there is no archive.
        ArchiveError: If it is unfinished, of another format version, or a file in it is missing, cut off, changed or
            says what cannot be.
    """
    folder = Path(folder)
    info = read_info(folder)
    settings, microvolts_per_bit, parts = settings_of(folder / "archive.json", info)
    manifest = check_manifest(folder / "manifest.parquet", read_manifest(folder, info), settings, parts)
    for part in parts:
        check_size(folder / part.name, part, settings)
    return Archive(folder, settings, microvolts_per_bit, parts, manifest, info)
