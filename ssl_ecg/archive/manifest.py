"""The manifest on disk: a Parquet file, and one more for every ingest that added to the archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssl_ecg.archive.head import ArchiveError
from ssl_ecg.runs import sha256


def manifest_name(number: int) -> str:
    """Return the name inside an archive of the rows that its first ingest wrote (0), or the ``number``-th after it."""
    return f"manifest.{number:05d}.parquet" if number else "manifest.parquet"


def manifest_sums(info: Mapping[str, Any]) -> list[str]:
    """Return the SHA-256 of each file of the manifest, from ``archive.json``."""
    return [info["manifest_sha256"], *info.get("appended", [])]


def read_manifest(folder: Path, info: Mapping[str, Any]) -> pd.DataFrame:
    """Read all files of a manifest that ``archive.json`` names; what an append that was killed wrote is not among them.

    Raises:
        ArchiveError: one is missing, changed or damaged; the message names it.
    """
    tables = []
    for number, expected in enumerate(manifest_sums(info)):
        path = folder / manifest_name(number)
        check_sum(path, expected)
        try:
            tables.append(pd.read_parquet(path))
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise ArchiveError(f"{path} is damaged: {error}") from error
    return tables[0] if len(tables) == 1 else joined(tables)


def check_sum(path: Path, expected: str) -> None:
    """Compare a file with its SHA-256.

    Raises:
        ArchiveError: it differs, or cannot be read; the message names it.
    """
    try:
        got = sha256(path)
    except OSError as error:
        raise ArchiveError(f"{path} cannot be read: {error.strerror}") from error
    if got != expected:
        raise ArchiveError(f"{path} is damaged: SHA-256 {got}, expected {expected}; take it from a copy")


def joined(tables: Sequence[pd.DataFrame]) -> pd.DataFrame:
    """Put tables below each other; numbers come out in plain types, as most code takes them, blanks as NaN."""
    blanks = [t.astype({name: "boolean" for name, dtype in t.dtypes.items() if dtype.kind == "b"}) for t in tables]
    table = pd.concat(blanks, ignore_index=True)
    plain = {}
    for name, dtype in table.dtypes.items():
        if pd.api.types.is_extension_array_dtype(dtype) and kind_of(dtype) in ("number", "bool"):
            blank = table[name].isna().any()
            if not (blank and dtype.kind == "b"):
                plain[name] = np.dtype("float64") if blank else dtype.numpy_dtype
    return table.astype(plain)


def kind_of(dtype: Any) -> str:
    """Return what a type holds: numbers, bools, dates, or else text."""
    return {"i": "number", "u": "number", "f": "number", "b": "bool", "M": "date"}.get(dtype.kind, "text")
