"""The manifest on disk: a Parquet file, and one more for every ingest that added to the archive."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow
from pyarrow import parquet

from ssl_ecg.archive.head import ArchiveError
from ssl_ecg.runs import sha256, written_atomically

REPEATED = ("source", "sex", "leads", "findings")
"""columns of text in which few values stand in many rows: they are read as categories, a byte or four a row"""
ROWS_PER_GROUP = 2**12
"""of a file that is written: so many are in memory at a time"""


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
    paths = [folder / manifest_name(number) for number in range(len(manifest_sums(info)))]
    for path, expected in zip(paths, manifest_sums(info), strict=True):
        check_sum(path, expected)
    with ExitStack() as stack:
        files = [stack.enter_context(_opened(path)) for path in paths]
        names = dict.fromkeys(name for file in files for name in file.schema_arrow.names)
        # A column at a time: what decoding needs beside a whole table would be the peak of all that opening takes.
        return pd.DataFrame({name: _column(name, files, paths) for name in names}, copy=False)


def _opened(path: Path) -> parquet.ParquetFile:
    try:
        schema = parquet.read_schema(path)
        text = {each.name for each in schema if str(each.type).endswith("string")}
        file = parquet.ParquetFile(path, read_dictionary=[name for name in REPEATED if name in text])
    except (TypeError, ValueError, OSError) as error:
        raise ArchiveError(f"{path} is damaged: {error}") from error
    if len(set(schema.names)) < len(schema.names):
        raise ArchiveError(f"{path} is damaged: a column stands there twice")
    return file


def _column(name: str, files: Sequence[parquet.ParquetFile], paths: Sequence[Path]) -> pd.Series:
    """Read a column of all files; it is blank in the rows of a file that lacks it."""
    parts = []
    for file, path in zip(files, paths, strict=True):
        if name not in file.schema_arrow.names:
            parts.append(pd.DataFrame(index=range(file.metadata.num_rows)))
            continue
        try:
            # Of a name with a dot Arrow also reads what it takes for its parent.
            column = file.read(columns=[name], use_threads=False).select([name])
            parts.append(column.to_pandas(self_destruct=True, split_blocks=True)[name].to_frame())
        except (KeyError, TypeError, ValueError, OSError) as error:
            raise ArchiveError(f"{path} is damaged: {error}") from error
        del column
        pyarrow.default_memory_pool().release_unused()
    if len(parts) == 1:
        return parts[0][name]
    if all(name in part and part[name].dtype == "category" for part in parts):
        values = pd.concat([part[name].cat.categories.to_series() for part in parts]).unique()
        parts = [part.assign(**{name: part[name].cat.set_categories(values)}) for part in parts]
    return joined(parts)[name]


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


def write_manifest(path: Path, tables: Callable[[], Iterable[pd.DataFrame]]) -> str:
    """Write tables below each other as one file of a manifest, of which a few are in memory at a time.

    Args:
        path: the file; it is written atomically.
        tables: gives them, twice.

    Returns:
        Its SHA-256.
    """
    samples = []
    for table in tables():  # two rows have the types of all: the first, and one that is blank where any is
        two = table.iloc[[0, 0]].reset_index(drop=True)
        for name in table.columns[table.isna().any()]:
            two.loc[1, name] = None
        samples.append(two)
    names = {name: None for table in samples for name in table}
    schema = pyarrow.Schema.from_pandas(joined(samples)[[*names]], preserve_index=False)
    with written_atomically(path) as file, parquet.ParquetWriter(file, schema) as writer:
        for some in _groups(tables()):
            table = joined([*some, samples[0].iloc[:0].reindex(columns=[*names])])
            writer.write_table(pyarrow.Table.from_pandas(table[[*names]], schema=schema, preserve_index=False))
    return sha256(path)


def _groups(tables: Iterable[pd.DataFrame]) -> Iterator[list[pd.DataFrame]]:
    """Yield tables of so many rows together that a group of rows of a file is worth its while."""
    group: list[pd.DataFrame] = []
    for table in tables:
        group.append(table)
        if sum(map(len, group)) >= ROWS_PER_GROUP:
            yield group
            group = []
    if group:
        yield group


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
