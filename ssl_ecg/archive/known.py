"""Which records and signals an archive has: some 70 bytes a record, where dictionaries of their names take 400."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd
import pyarrow
from numpy.typing import NDArray

RECENT = 2**16


class Known:
    """The records that are there, in the order in which they came.

    Ids and hashes of signals are compared by their own hashes of eight bytes, of which two in a million records are
    equal by accident in one of 40 million archives; the record that came later would be refused.
    """

    def __init__(self) -> None:
        self._rows: list[pyarrow.Table] = []
        self._ids, self._contents = _Hashes(), _Hashes()

    def __len__(self) -> int:
        return sum(len(table) for table in self._rows)

    def __contains__(self, record_id: str) -> bool:
        return self._ids.find(record_id) is not None

    def of_signal(self, content: str) -> str | None:
        """Return the id of the record that has a signal, by the hash of that signal."""
        if (row := self._contents.find(content)) is None:
            return None
        for table in self._rows:
            if row < len(table):
                return str(table["record_id"][row])
            row -= len(table)
        raise IndexError(row)

    def add(self, manifest: pd.DataFrame) -> None:
        """Add the records of a manifest; none of them is there."""
        # Arrow's text takes its letters alone; of a manifest that was read it is the manifest's own memory.
        table = pyarrow.table({name: pyarrow.array(manifest[name]) for name in ("record_id", "source", "content")})
        self._ids.add(_texts(table["record_id"]))
        self._contents.add(_texts(table["content"]))
        self._rows.append(table.select(["record_id", "source"]))

    def rows(self) -> Iterator[tuple[str, str]]:
        """Yield id and source of each record."""
        for table in self._rows:
            yield from zip(_texts(table["record_id"]), _texts(table["source"]), strict=True)


_Sorted = tuple[NDArray[np.int64], NDArray[np.uint32]]  # hashes, and the row of each


class _Hashes:
    """Finds the row of a text by its hash, which is another one in each process."""

    def __init__(self) -> None:
        self._all = self._recent = _none()

    def find(self, text: str) -> int | None:
        key = hash(text)
        for keys, rows in (self._all, self._recent):
            at = int(np.searchsorted(keys, key))
            if at < len(keys) and keys[at] == key:
                return int(rows[at])
        return None

    def add(self, texts: Iterable[str]) -> None:
        keys = np.fromiter(map(hash, texts), np.int64)
        first = len(self._all[0]) + len(self._recent[0])
        self._recent = _merged(self._recent, (keys, np.arange(first, first + len(keys), dtype=np.uint32)))
        if len(self._recent[0]) >= RECENT:  # to sort all for every few would take the time of the ingest
            self._all, self._recent = _merged(self._all, self._recent), _none()


def _none() -> _Sorted:
    return np.empty(0, np.int64), np.empty(0, np.uint32)


def _merged(one: _Sorted, other: _Sorted) -> _Sorted:
    keys, rows = np.concatenate([one[0], other[0]]), np.concatenate([one[1], other[1]])
    order = np.argsort(keys, kind="stable")
    return keys[order], rows[order]


def _texts(column: pyarrow.ChunkedArray, some: int = 2**14) -> Iterator[str]:
    for first in range(0, len(column), some):
        yield from column.slice(first, some).to_pylist()
