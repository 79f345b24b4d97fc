"""``archive.json``, and what is checked of an archive that somebody sent before anything is taken from it."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssl_ecg.signals.settings import SignalSettings

FORMAT = "ssl_ecg archive"
VERSION = 2
SAMPLE = np.dtype("<i2")
MAX_JSON_BYTES = 100_000_000  # a billion records are half a million parts

# What reading relies on: is text, a whole number, a number, true or false, a time. Of the last ones blanks are allowed.
_COLUMNS = {
    "record_id": "string",
    "patient_id": "string",
    "source": "string",
    "part": "integer",
    "row": "integer",
    "recorded": "integer",
    "leads": "string",
    "patient_known": "boolean",
    "calibrated": "boolean",
}
_BLANKS = {"age": "number", "sex": "string", "recorded_at": "time"}


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


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object of an archive.

    Raises:
        ArchiveError: it is too large, no JSON, nested without end, or no object.
    """
    try:
        if path.stat().st_size > MAX_JSON_BYTES:
            raise ValueError(f"more than {MAX_JSON_BYTES:,} bytes")
        content = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError, OSError) as error:
        raise ArchiveError(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise ArchiveError(f"{path} is damaged: it holds no JSON object")
    return content


def read_info(folder: Path) -> dict[str, Any]:
    """Read ``archive.json`` and check that this code understands it.

    Raises:
        FileNotFoundError: there is no archive.
        ArchiveError: it is unfinished, not readable, or of another format version.
    """
    path = folder / "archive.json"
    if not path.is_file():
        if (folder / "journal").is_dir():
            raise ArchiveError(f"{folder} is unfinished: run the same ingest again, it continues where it stopped")
        raise FileNotFoundError(f"no archive in {folder}: there is no archive.json")
    info = read_json(path)
    if info.get("format") != FORMAT:
        raise ArchiveError(f"{path} is not an archive of this package")
    if info.get("version") != VERSION:
        raise ArchiveError(
            f"{folder} has format version {info.get('version')!r}, this release reads version {VERSION}: "
            "ingest the source files again, or use the release that wrote it"
        )
    return info


def settings_of(path: Path, info: Mapping[str, Any]) -> tuple[SignalSettings, float, tuple[Part, ...]]:
    """Return settings, microvolts of one step and parts that ``archive.json`` names.

    Args:
        path: of the file, for messages.
        info: what it holds.

    Raises:
        ArchiveError: one of them cannot be.
    """
    try:
        settings = SignalSettings(**info["settings"])
        parts = tuple(part_of(part, number) for number, part in enumerate(info["parts"]))
        if not isinstance(info["manifest_sha256"], str):
            raise ValueError("manifest_sha256 is no text")
        appended = info.get("appended", [])
        if not (isinstance(appended, list) and all(isinstance(each, str) for each in appended)):
            raise ValueError("appended is no list of texts")
        step = info["microvolts_per_bit"]
    except KeyError as error:
        raise ArchiveError(f"{path} is damaged: it lacks {error.args[0]}") from error
    except (TypeError, ValueError, ArithmeticError) as error:
        raise ArchiveError(f"{path} is damaged: {error}") from error
    if isinstance(step, bool) or not isinstance(step, int | float) or not 0 < step <= 1e6:
        raise ArchiveError(f"{path} is damaged: microvolts_per_bit={step!r} is no voltage")
    return settings, float(step), parts


def part_of(value: Any, number: int) -> Part:
    """Return a part from JSON, the ``number``-th of its archive.

    Raises:
        ValueError: it is none.
    """
    part = Part(**value)
    if isinstance(part.number, bool) or part.number != number or not isinstance(part.number, int):
        raise ValueError(f"part {number} is called {part.number!r}")
    if isinstance(part.records, bool) or not isinstance(part.records, int) or part.records < 0:
        raise ValueError(f"part {number} has records={part.records!r}")
    if not (isinstance(part.sha256, str) and re.fullmatch("[0-9a-f]{64}", part.sha256)):
        raise ValueError(f"part {number} has no SHA-256")
    return part


def check_manifest(
    path: Path, manifest: pd.DataFrame, settings: SignalSettings, parts: tuple[Part, ...]
) -> pd.DataFrame:
    """Return a manifest, or refuse one that cannot be true of the parts.

    Every record of every part has exactly one row, an id of its own, and says what of it was recorded.

    Args:
        path: of the file, for messages.
        manifest: what it holds.
        settings: of the archive.
        parts: the committed parts.

    Raises:
        ArchiveError: naming the column, or the record.
    """
    if missing := [name for name in {**_COLUMNS, **_BLANKS} if name not in manifest and name != "patient_known"]:
        raise ArchiveError(f"{path} lacks {', '.join(missing)}: ingest the source files again")
    for name, kind in {**_COLUMNS, **_BLANKS}.items():
        if name in manifest and (wrong := _wrong(manifest[name], kind, name in _BLANKS)):
            raise ArchiveError(f"{path} is damaged: column {name} {wrong}")
    _check_rows(path, manifest, parts)
    if _may_repeat(manifest["record_id"]) and (twice := manifest["record_id"].duplicated()).any():
        raise ArchiveError(f"{path} is damaged: record {manifest['record_id'][twice].iloc[0]!r} stands there twice")
    impossible = [names for names in manifest["leads"].unique() if not set() < {*names.split()} <= {*settings.leads}]
    wrong_rows = ~manifest["recorded"].between(1, settings.samples) | manifest["leads"].isin(impossible)
    if wrong_rows.any():
        row = manifest[wrong_rows].iloc[0]
        raise ArchiveError(
            f"{path} is damaged: record {row['record_id']} has recorded={row['recorded']} of {settings.samples} "
            f"samples and leads={row['leads']!r} of {' '.join(settings.leads)}"
        )
    return manifest


def _wrong(column: pd.Series, kind: str, blanks: bool) -> str:
    """Say what is wrong with the values of a column; "" where nothing is."""
    if not blanks and column.isna().any():
        return "has blanks"
    if column.isna().all():
        return ""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.cat.categories.to_series()
    if isinstance(column.dtype, pd.StringDtype):
        return "" if kind == "string" else f"holds no {kind} but {column.dtype}"
    found = {"f": "number", "i": "integer", "u": "integer", "M": "time", "b": "boolean"}.get(column.dtype.kind)
    found = found or pd.api.types.infer_dtype(column, skipna=True)
    if found == kind or (kind == "number" and found == "integer"):
        return ""
    return f"holds no {kind} but {column.dtype}"


def _may_repeat(ids: pd.Series, some: int = 2**16) -> bool:
    """Whether two hashes are equal: eight bytes an id, where a table of all ids would be the peak of opening."""
    parts = (ids.iloc[first : first + some].to_numpy(object) for first in range(0, len(ids), some))
    hashes = np.concatenate([pd.util.hash_array(part, categorize=False) for part in parts])
    hashes.sort()
    return bool((hashes[1:] == hashes[:-1]).any())


def _check_rows(path: Path, manifest: pd.DataFrame, parts: tuple[Part, ...]) -> None:
    part, row = manifest["part"].to_numpy(np.int64), manifest["row"].to_numpy(np.int64)
    if not len(manifest):
        raise ArchiveError(f"{path} is damaged: it holds no record")
    if part.min() < 0 or part.max() >= len(parts):
        raise ArchiveError(f"{path} is damaged: it names part {part.min() if part.min() < 0 else part.max()}")
    for each, count in zip(parts, np.bincount(part, minlength=len(parts)), strict=True):
        if each.records != count:
            raise ArchiveError(f"{path} has {count} rows for {each.name}, not {each.records}")
    records = np.array([each.records for each in parts])
    if ((row < 0) | (row >= records[part])).any():
        raise ArchiveError(f"{path} is damaged: row {row[(row < 0) | (row >= records[part])][0]} is beyond its part")
    first = np.cumsum(records) - records
    if (np.bincount(first[part] + row) != 1).any():
        raise ArchiveError(f"{path} is damaged: two records share a row")


def check_size(path: Path, part: Part, settings: SignalSettings) -> None:
    """Refuse a file of signals that is missing, cut off or too long.

    Raises:
        ArchiveError: naming it, with both sizes.
    """
    wanted = part.records * len(settings.leads) * settings.samples * SAMPLE.itemsize
    size = path.stat().st_size if path.is_file() else 0
    if size != wanted:
        raise ArchiveError(f"{path} is damaged: {size} bytes, expected {wanted}")
