"""The manifest on disk: a Parquet file, and one more for every ingest that added to the archive."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import parquet

from ssl_ecg.archive.head import ArchiveError
from ssl_ecg.runs import sha256

REPEATED = ("source", "sex", "leads", "findings")
"""columns of text in which few values stand in many rows: they are read as categories, a byte or four a row"""


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
            tables.append(_read(path))
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise ArchiveError(f"{path} is damaged: {error}") from error
    if len(tables) == 1:
        return tables[0]
    for name in REPEATED:
        if all(name in table and table[name].dtype == "category" for table in tables):
            values = pd.concat([table[name].cat.categories.to_series() for table in tables]).unique()
            for table in tables:
                table[name] = table[name].cat.set_categories(values)
    return joined(tables)


def _read(path: Path) -> pd.DataFrame:
    # A column at a time: what decoding needs beside a whole table would be the peak of all that opening takes.
    columns = {}
    text = [each.name for each in parquet.read_schema(path) if str(each.type).endswith("string")]
    with parquet.ParquetFile(path, read_dictionary=[name for name in REPEATED if name in text]) as file:
        for name in file.schema_arrow.names:
            if name in columns:
                raise ArchiveError(f"{path} is damaged: a column stands there twice")
            # Of a name with a dot Arrow also reads what it takes for its parent.
            column = file.read(columns=[name], use_threads=False).select([name])
            columns[name] = column.to_pandas(self_destruct=True, split_blocks=True)[name]
            del column
            pyarrow.default_memory_pool().release_unused()
    return pd.DataFrame(columns, copy=False)


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
