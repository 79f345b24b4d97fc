"""Many ECGs in one folder, read without parsing: memory-mapped int16 parts, a manifest, and their settings."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray

from ssl_ecg.runs import sha256
from ssl_ecg.signals.filters import normalise
from ssl_ecg.signals.settings import SignalSettings

FORMAT = "ssl_ecg archive"
VERSION = 1
SAMPLE = np.dtype("<i2")


class ArchiveError(ValueError):
    """An archive that is missing, unfinished, damaged, or not what was asked for."""


@dataclass(frozen=True)
class Part:
    """One file of signals: its number, how many records it holds and the SHA-256 of its bytes."""

    number: int
    records: int
    sha256: str

    @property
    def name(self) -> str:
        """Path of the file inside the archive."""
        return part_name(self.number)


def part_name(number: int) -> str:
    """Return the path inside an archive of the signals of part ``number``."""
    return f"signals/{number:05d}.i16"


@dataclass
class Archive:
    """A finished archive, opened read-only; made by :func:`open_archive`.

    Indexing gives one record, :meth:`read` many at once. Signals are normalised as ``settings.normalise`` says.
    Files are mapped when they are first read, in each process by itself, so that an archive can be sent to workers.

    Attributes:
        folder: Where it lies.
        settings: What was done to the signals.
        microvolts_per_bit: Physical value of one step of the stored integers, in microvolts.
        parts: The signal files.
        manifest: A row a record, in the order of the archive.
        info: ``archive.json`` as it was read.
    """

    folder: Path
    settings: SignalSettings
    microvolts_per_bit: float
    parts: tuple[Part, ...]
    manifest: pd.DataFrame
    info: dict[str, Any] = field(repr=False)

    def __post_init__(self) -> None:
        self._maps: dict[int, NDArray[np.int16]] = {}
        self._part = self.manifest["part"].to_numpy(np.int64)
        self._row = self.manifest["row"].to_numpy(np.int64)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_maps": {}}

    def __len__(self) -> int:
        return len(self.manifest)

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Return one record: its manifest row as a dict, and ``signal`` float32 [L, T].

        Raises:
            IndexError: If ``index`` is out of range.
        """
        if not -len(self) <= index < len(self):
            raise IndexError(f"record {index} of an archive of {len(self)}")
        index %= len(self)
        row: dict[str, Any] = self.manifest.iloc[index].to_dict()  # type: ignore[assignment]
        return {**row, "signal": self.read([index])[0]}

    def read(self, rows: ArrayLike) -> NDArray[np.float32]:
        """Read records by their row numbers.

        Args:
            rows: int [B], any order, repetitions allowed.

        Returns:
            float32 [B, L, T], normalised as ``settings.normalise`` says; millivolts where that is ``"none"``.

        Raises:
            IndexError: If a row is out of range.
        """
        rows = np.atleast_1d(np.asarray(rows, dtype=np.int64))
        if rows.size and not (rows.min() >= 0 and rows.max() < len(self)):
            raise IndexError(f"rows must lie in 0..{len(self) - 1}, got {rows.min()}..{rows.max()}")
        integers = np.empty((len(rows), len(self.leads), self.samples), dtype=SAMPLE)
        part = self._part[rows]
        for number in np.unique(part):
            here = part == number
            integers[here] = self._map(int(number))[self._row[rows[here]]]
        millivolts = integers.astype(np.float32) * np.float32(self.microvolts_per_bit / 1000)
        return normalise(millivolts, self.settings.normalise)

    def _map(self, number: int) -> NDArray[np.int16]:
        if number not in self._maps:
            shape = (-1, len(self.leads), self.samples)
            self._maps[number] = np.memmap(self.folder / part_name(number), dtype=SAMPLE, mode="r").reshape(shape)
        return self._maps[number]

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

    def find(self, record_ids: Iterable[str]) -> NDArray[np.int64]:
        """Return the row of each record id, int64 [n], with -1 where the archive does not hold it."""
        return self._row_of.get_indexer(pd.Index(list(record_ids), dtype=self._row_of.dtype)).astype(np.int64)

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
        """``path`` and ``reason`` of every file that did not become a record."""
        return pd.read_csv(self.folder / "rejected.csv", dtype=str, keep_default_na=False)

    def verify(self) -> None:
        """Compare every file with its checksum.

        Raises:
            ArchiveError: If one differs; the message names it.
        """
        for part in self.parts:
            if part.records and (got := sha256(self.folder / part.name)) != part.sha256:
                raise ArchiveError(f"{self.folder / part.name} is damaged: SHA-256 {got}, expected {part.sha256}")
        if (got := sha256(self.folder / "manifest.parquet")) != self.info["manifest_sha256"]:
            raise ArchiveError(f"{self.folder / 'manifest.parquet'} is damaged or an ingest into it was interrupted")


def open_archive(folder: str | Path) -> Archive:
    """Open a finished archive.

    Sizes are checked here, contents by :meth:`Archive.verify`.

    Args:
        folder: Folder that an ingest wrote.

    Raises:
        FileNotFoundError: If there is no archive.
        ArchiveError: If it is unfinished, of another format version, or a file in it is missing or cut off.
    """
    folder = Path(folder)
    info = read_info(folder)
    try:
        settings = SignalSettings(**info["settings"])
        parts = tuple(Part(**part) for part in info["parts"])
        microvolts_per_bit = float(info["microvolts_per_bit"])
        manifest = pd.read_parquet(folder / "manifest.parquet")
        # An interrupted append can leave rows of parts that are not committed yet.
        manifest = manifest[manifest["part"] < len(parts)].reset_index(drop=True)
    except (KeyError, TypeError, ValueError, OSError) as error:
        raise ArchiveError(f"{folder} is damaged: {error}") from error
    counts = np.bincount(manifest["part"], minlength=len(parts))
    for part, count in zip(parts, counts, strict=True):
        if part.records != count:
            raise ArchiveError(f"{folder / 'manifest.parquet'} has {count} rows for {part.name}, not {part.records}")
        path, wanted = folder / part.name, part.records * len(settings.leads) * settings.samples * SAMPLE.itemsize
        size = path.stat().st_size if path.is_file() else 0
        if size != wanted:
            raise ArchiveError(f"{path} is damaged: {size} bytes, expected {wanted}")
    return Archive(folder, settings, microvolts_per_bit, parts, manifest, info)


def read_info(folder: Path) -> dict[str, Any]:
    """Read ``archive.json`` and check that this code understands it.

    Raises:
        FileNotFoundError: If there is no archive.
        ArchiveError: If it is unfinished, not readable, or of another format version.
    """
    path = folder / "archive.json"
    if not path.is_file():
        if (folder / "journal").is_dir():
            raise ArchiveError(f"{folder} is unfinished: run the same ingest again, it continues where it stopped")
        raise FileNotFoundError(f"no archive in {folder}: there is no archive.json")
    try:
        info = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ArchiveError(f"{path} is damaged: {error}") from error
    if not isinstance(info, dict) or info.get("format") != FORMAT:
        raise ArchiveError(f"{path} is not an archive of this package")
    if info.get("version") != VERSION:
        raise ArchiveError(
            f"{folder} has format version {info.get('version')!r}, this release reads version {VERSION}: "
            "ingest the source files again, or use the release that wrote it"
        )
    return info
