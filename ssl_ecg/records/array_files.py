"""Arrays in files that say nothing of ECGs: NumPy, MATLAB, HDF5, CSV and JSON, told apart by their content.

Files can come from anywhere: nothing is unpickled, no other file is opened, and what is unpacked stays in bounds.
"""

from __future__ import annotations

import csv
import io
import json
import re
import zlib
from array import array
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path
from typing import Any
from zipfile import ZipFile

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.records.markup import decode
from ssl_ecg.records.naming import lead_of
from ssl_ecg.records.record import RecordError

MAX_TEXT_BYTES = 256 * 2**20
MAX_UNPACKED = 4 * 2**30  # of what must be in memory as a whole
MAX_RATIO = 2000  # deflate reaches 1032

_HDF5 = b"\x89HDF\r\n\x1a\n"
_NUMBER = re.compile(r"\s*[-+]?(\d+([.,]\d*)?|[.,]\d+)([eE][-+]?\d+)?\s*|\s*|\s*-?(nan|inf)\s*", re.IGNORECASE)
_DELIMITERS = (";", "\t", ",", "|")


def kind_of(path: Path, head: bytes) -> str | None:
    """Return what kind of array a file holds by its first bytes, None where it holds none that can be told."""
    if head.startswith(b"\x93NUMPY"):
        return "npy"
    if head.startswith(b"PK\x03\x04") and head[30:200].partition(b".npy")[1]:
        return "npz"
    if head.startswith(_HDF5) or head[512:520] == _HDF5:
        return "hdf5"
    if head.startswith(b"MATLAB 5.0") and len(head) >= 128:
        return "mat"
    if path.suffix.lower() in (".csv", ".tsv", ".txt") and len(_leads_of_header(head)) >= 2:
        return "csv"
    return None


def title_of(path: Path) -> str:
    """Return what people call the format of an array."""
    with path.open("rb") as file:
        head = file.read(4096)
    kind = "MATLAB v7.3" if head.startswith(b"MATLAB 7.3") else kind_of(path, head)
    return {"npy": "NumPy", "npz": "NumPy", "hdf5": "HDF5", "mat": "MATLAB v5", "csv": "CSV"}.get(
        kind or "", kind or ""
    )


@contextmanager
def opened(
    path: Path, leads: tuple[str, ...], name: str = "", id_name: str = ""
) -> Iterator[tuple[Any, list[str] | None]]:
    """Open the array of a file for as long as a block runs; what can be is read row by row.

    Args:
        path: the file.
        leads: names of the leads that are wanted, by which columns of a table are found.
        name: of the array inside the file; ``a/b`` is b in a. Not needed where there is one only.
        id_name: name of an array beside it that names its records.

    Yields:
        The array, and the ids where they are there.

    Raises:
        RecordError: it cannot be opened, or holds no such array.
    """
    with path.open("rb") as file:
        head = file.read(4096)
    kind = kind_of(path, head) or {".json": "json", ".csv": "csv", ".tsv": "csv", ".txt": "csv"}.get(
        path.suffix.lower()
    )
    try:
        if kind == "npy":
            yield np.load(path, mmap_mode="r", allow_pickle=False), None
        elif kind == "hdf5":
            with _library().File(path, "r") as file:
                yield _dataset(file, name, path), _ids(_at(file, id_name, path) if id_name in file else None)
        elif kind in ("npz", "mat"):
            arrays = _npz(path) if kind == "npz" else _mat(path)
            yield _member(arrays, name), _ids(arrays.get(id_name))
        elif kind in ("csv", "json"):
            yield (_csv if kind == "csv" else _json)(path, leads, name), None
        else:
            raise RecordError("unreadable", "it is no array of NumPy, MATLAB, HDF5, CSV or JSON")
    except RecordError:
        raise
    except Exception as error:  # a damaged file can raise anything from inside these libraries
        raise RecordError("unreadable", f"the array cannot be read ({type(error).__name__})") from error


def layout_of(path: Path) -> str | None:
    """Return the data set whose layout an HDF5 file has, which says what its leads, rate and ids are, or None."""
    with path.open("rb") as file:
        head = file.read(4096)
    if kind_of(path, head) != "hdf5":
        return None
    try:
        with _library().File(path, "r") as file:
            if file.get("exam_id", getclass=True) and getattr(file.get("tracings"), "ndim", 0) == 3:
                return "code15"
            if list(file) == ["ecg"] and getattr(file["ecg"], "shape", ())[:1] == (12,):
                return "sph"
    except (OSError, KeyError, RuntimeError):
        pass
    return None


def _library() -> Any:
    try:
        import h5py
    except ImportError as error:
        raise RecordError(
            "missing library", "HDF5 and MATLAB v7.3 are read by h5py: pip install 'ssl-ecg[vendor]'"
        ) from error
    return h5py


def _at(file: Any, name: str, path: Path) -> Any:
    """Return an HDF5 dataset that lies in this file and is not larger than a file of its size can hold."""
    h5py, group = _library(), file
    for part in name.split("/"):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise RecordError("unreadable", "the array is a link, which is not followed")
        group = group[part]
    if not isinstance(group, h5py.Dataset):
        raise RecordError("name", "is that of a group and not of an array")
    if group.external or group.is_virtual:
        raise RecordError("unreadable", "the array lies in another file, which is not opened")
    if group.size * group.dtype.itemsize > MAX_RATIO * path.stat().st_size:
        raise RecordError("too large", f"an array of shape {group.shape} in a file of {path.stat().st_size} bytes")
    return group


def _dataset(file: Any, name: str, path: Path) -> Any:
    if name:
        if name not in file:
            raise RecordError("name", f"there is no array of the name that was given; there are {_told(file)}")
        return _at(file, name, path)
    found = [key for key in file if getattr(file.get(key), "ndim", 0) >= 2]
    if len(found) != 1:
        raise RecordError("name", f"say which array holds the signals: {_told(file)}")
    return _at(file, found[0], path)


def _npz(path: Path) -> Mapping[str, Any]:
    with ZipFile(path) as archive:
        total = sum(member.file_size for member in archive.infolist())
    if total > min(MAX_UNPACKED, MAX_RATIO * path.stat().st_size):
        raise RecordError("too large", f"the file would unpack to {total} bytes; save the array as .npy")
    with np.load(path, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def _mat(path: Path) -> Mapping[str, Any]:
    from scipy.io import loadmat

    if _inflated(path) > MAX_UNPACKED:
        raise RecordError("too large", f"the file would unpack to more than {MAX_UNPACKED >> 30} GiB")
    try:
        return {key: value for key, value in loadmat(path).items() if not key.startswith("__")}
    except Exception as error:  # a damaged file can raise anything from inside SciPy
        raise RecordError("unreadable", f"SciPy cannot decode it ({type(error).__name__})") from error


def _inflated(path: Path) -> int:
    """Return how many bytes the compressed variables of a MATLAB v5 file become, counted up to the bound."""
    total = 0
    with path.open("rb") as file:
        order = "<" if file.read(128)[126:128] == b"IM" else ">"
        while len(tag := file.read(8)) == 8 and total <= MAX_UNPACKED:
            kind, length = np.frombuffer(tag, f"{order}u4")
            if kind != 15:
                total += int(length)
                file.seek(int(length), io.SEEK_CUR)
                continue
            inflate, left = zlib.decompressobj(), int(length)
            while left > 0 and total <= MAX_UNPACKED and (chunk := file.read(min(left, 65536))):
                left -= len(chunk)
                while chunk and total <= MAX_UNPACKED:
                    total += len(inflate.decompress(chunk, 2**22))
                    chunk = inflate.unconsumed_tail
    return total


def _member(arrays: Mapping[str, Any], name: str) -> Any:
    """Return one array; in a structure of MATLAB the field after the slash."""
    if not name:
        found = [key for key, value in arrays.items() if getattr(value, "ndim", 0) >= 2 and value.dtype.kind in "iuf"]
        if len(found) != 1:
            raise RecordError("name", f"say which array holds the signals: {_told(arrays)}")
        return arrays[found[0]]
    first, *fields = name.split("/")
    if first not in arrays:
        raise RecordError("name", f"there is no array of the name that was given; there are {_told(arrays)}")
    value = arrays[first]
    for field in fields:
        if field not in (value.dtype.names or ()) or value.size != 1:
            raise RecordError("name", f"there is no such field; there are {_told(value.dtype.names or ())}")
        value = value.flat[0][field]
    return value


def _told(names: Any) -> str:
    """Return a few names of arrays; whatever else stands in them."""
    return ", ".join(re.sub(r"[^\w.-]", "?", str(name)[:40]) for name in list(names)[:8]) or "none"


def _ids(array: Any) -> list[str] | None:
    if array is None or getattr(array, "ndim", 0) == 0:
        return None
    values = np.asarray(array[:]).ravel()
    return [
        value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value).strip()
        for value in values.tolist()
    ]


def _leads_of_header(head: bytes) -> list[str]:
    line = decode(head).lstrip("\ufeff").split("\n", 1)[0]
    return [lead for cell in line.strip().split(delimiter_of(line)) if (lead := lead_of(cell.strip(' "')))]


def delimiter_of(line: str) -> str:
    """Return what separates the cells of a line, the comma where nothing does."""
    return max(_DELIMITERS, key=lambda mark: (line.count(mark), mark == ","))


def _csv(path: Path, leads: tuple[str, ...], name: str) -> NDArray[np.float64]:
    """Return the columns of the wanted leads, [samples, leads]; without a header, all columns."""
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise RecordError("too large", f"text of more than {MAX_TEXT_BYTES >> 20} MiB; save the array as .npy")
    text = decode(path.read_bytes()).lstrip("\ufeff")
    delimiter = delimiter_of(text.partition("\n")[0])
    lines = (line[0] for line in re.finditer(r"[^\r\n]+", text))  # as cells, all at once take 17 times their size
    rows = (row for row in csv.reader(lines, delimiter=delimiter) if row)
    head = next(rows, None)
    if head is None:
        raise RecordError("truncated signal", "it has no samples")
    columns = list(range(len(head)))
    first = 0
    if not all(_NUMBER.fullmatch(cell) for cell in head):
        named = [lead_of(cell) for cell in head]
        if missing := [lead for lead in leads if lead not in named]:
            raise RecordError("missing lead", f"no column is named {', '.join(missing)}")
        columns, first = [named.index(lead) for lead in leads], 1
    values = array("d")
    for i, row in enumerate(rows if first else chain([head], rows), first + 1):
        try:
            values.extend([float(row[column].replace(",", ".") or "nan") for column in columns])
        except (IndexError, ValueError) as error:
            raise RecordError("unreadable", f"line {i} is not a row of numbers") from error
    return np.frombuffer(values).reshape(-1, len(columns))


def _json(path: Path, leads: tuple[str, ...], name: str) -> NDArray[np.float64]:
    """Return lists of lists, or an object with a list for each lead, [leads, samples]."""
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise RecordError("too large", f"text of more than {MAX_TEXT_BYTES >> 20} MiB; save the array as .npy")
    value = json.loads(decode(path.read_bytes()).lstrip("\ufeff"))
    for part in name.split("/") if name else ():
        value = value[part]
    if isinstance(value, dict):
        named = {lead_of(key): signal for key, signal in value.items()}
        if missing := [lead for lead in leads if lead not in named]:
            raise RecordError("missing lead", f"no list is named {', '.join(missing)}; say where they are with name:")
        value = [named[lead] for lead in leads]
    return np.asarray(value, dtype=np.float64)
