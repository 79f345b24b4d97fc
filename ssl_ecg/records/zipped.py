"""Zip folders, read in place: unpacked into a temporary folder that is bounded, and gone when the file is read.

The id of a record is the path of its file inside, without suffix, then ``#`` and its id there where that holds many.
Zip folders inside zip folders are not unpacked.
"""

from __future__ import annotations

import stat
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from zipfile import BadZipFile, ZipFile, ZipInfo

from ssl_ecg.records.formats import Reader, Rejected, companions, reader_of, register
from ssl_ecg.records.record import Record, RecordError

MAX_FILES = 200_000
MAX_BYTES = 16 * 2**30
MAX_RATIO = 100  # of what is unpacked to the zip folder; recordings reach 10, a bomb 1000
FREE_BYTES = 64 * 2**20  # that much may come out of a zip folder of any size
_CHUNK = 2**20


def _sniff(path: Path, head: bytes) -> bool:
    # Office documents, NumPy archives and programs are zip folders too, by other names.
    return path.suffix.lower() in (".zip", "") and head[:4] in (b"PK\x03\x04", b"PK\x05\x06")


def _read(path: Path) -> Iterator[Record | Rejected]:
    """Yield the records of every file inside, and the files that gave none with the reason.

    Raises:
        RecordError: it is damaged, or would unpack to more than any folder of recordings.
    """
    with TemporaryDirectory(prefix="ssl_ecg-zip-") as name:
        folder = Path(name)
        try:
            with ZipFile(path) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                _check(members, path)
                rejected = [_unpacked(archive, member, folder) for member in members]
        except RecordError:
            raise
        except (BadZipFile, OSError, ValueError, NotImplementedError) as error:
            raise RecordError("unreadable", f"cannot be unpacked ({type(error).__name__})") from error
        yield from (reason for reason in rejected if reason is not None)
        yield from _records(folder)


def _check(members: list[ZipInfo], path: Path) -> None:
    total, size = sum(member.file_size for member in members), path.stat().st_size
    if len(members) > MAX_FILES or total > MAX_BYTES or total > max(FREE_BYTES, MAX_RATIO * size):
        raise RecordError(
            "zip bomb",
            f"{size} bytes would become {len(members)} files of {total} bytes; unpack it yourself if that is so",
        )


def _unpacked(archive: ZipFile, member: ZipInfo, folder: Path) -> Rejected | None:
    """Unpack one file below a folder, whatever its name; return why not."""
    name = member.filename
    parts = PurePosixPath(name).parts
    shown = name.encode("ascii", "backslashreplace").decode()[:200]
    if name.startswith("/") or ".." in parts or not parts or any(c in name for c in "\\:\0") or not name.isprintable():
        return Rejected(shown, RecordError("file name", "leads outside the zip folder, or cannot be a name everywhere"))
    if stat.S_ISLNK(member.external_attr >> 16):
        return Rejected(shown, RecordError("not a regular file", "a link inside a zip folder"))
    if member.flag_bits & 1:
        return Rejected(shown, RecordError("encrypted", "unpack the zip folder with its password first"))
    target = folder.joinpath(*parts)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        left = member.file_size
        with archive.open(member) as source, target.open("xb") as file:
            while chunk := source.read(_CHUNK):
                left -= len(chunk)
                if left < 0:
                    raise BadZipFile("more comes out than was promised")
                file.write(chunk)
    except (BadZipFile, OSError, EOFError, zlib.error, NotImplementedError, RuntimeError, ValueError) as error:
        if not isinstance(error, OSError):
            target.unlink(missing_ok=True)
        return Rejected(shown, RecordError("unreadable", f"cannot be unpacked ({type(error).__name__})"))
    return None


def _records(folder: Path) -> Iterator[Record | Rejected]:
    readers: dict[str, Reader] = {}
    reasons: dict[str, RecordError] = {}
    for file in folder.rglob("*"):
        path = file.relative_to(folder).as_posix()
        if file.is_dir():
            continue
        try:
            readers[path] = reader_of(file)
            if readers[path].read is _read:
                raise RecordError("zip inside zip", "unpack the outer one first")
        except RecordError as error:
            reasons[path] = error
    beside = companions(folder, {*readers, *reasons}, {path: readers[path] for path in readers.keys() - reasons.keys()})
    for path in sorted({*readers, *reasons} - beside):
        if path in reasons:
            yield Rejected(path, reasons[path])
            continue
        stem = str(PurePosixPath(path).with_suffix(""))
        try:
            for record in readers[path].read(folder / path):
                yield _named(record, stem, path)
        except RecordError as error:
            yield Rejected(path, error)
        except Exception as error:  # one bad file must not stop the others
            yield Rejected(path, RecordError("unreadable", type(error).__name__))


def _named(record: Record | Rejected, stem: str, path: str) -> Record | Rejected:
    """Put the path of the file inside the zip folder before the id of a record."""
    begin = path if isinstance(record, Rejected) else stem
    return replace(record, record_id=f"{begin}#{record.record_id}" if record.record_id else begin)


register("zip", Reader(_sniff, _read, suffixes=(".zip",)))
