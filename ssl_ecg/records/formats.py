"""Which reader reads which file: the first, in the order of their names, that recognises the content."""

from __future__ import annotations

import glob
import logging
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from ssl_ecg.records.cleaning import clean
from ssl_ecg.records.markup import is_web_page
from ssl_ecg.records.record import Record, RecordError
from ssl_ecg.registry import Registry

HEAD = 4096

log = logging.getLogger(__name__)


def _alone(path: Path) -> Iterable[str]:
    return ()


@dataclass(frozen=True)
class Rejected:
    """One of many recordings of a file that cannot be used; the others can.

    Attributes:
        record_id: what tells it from the others.
        error: what is wrong with it.
    """

    record_id: str
    error: RecordError


@dataclass(frozen=True)
class Reader:
    """Reads one file format; made of functions of a module, since other processes look them up there.

    Attributes:
        sniff: ``sniff(path, head)`` tells from the name and the first 4096 bytes whether a file is of this format.
        read: ``read(path)`` yields the records of a file one by one, so that a file may be larger than memory. Where it
            holds many, each has a ``record_id``, and one that cannot be used is yielded as ``Rejected``. A
            ``RecordError`` that it raises ends the file.
        companions: ``companions(path)`` names the other files of the folder that belong to a recording, such as the
            samples of a header; they are no recordings of their own, whoever else could read them. Case is ignored, and
            names of files that are not there do no harm.
        suffixes: endings of names, in lower case, by which files promise this format; one whose content nobody
            recognises is a recording that got lost.
        read_part: ``read_part(path, begin, seconds)`` yields the same records, but only so many seconds from ``begin``
            on, for files that may hold a day; without it they are read whole. ``start`` of each says where it begins.
        parts: ``parts(path)`` names the files of this format, in the same folder, that are parts of a recording.
    """

    sniff: Callable[[Path, bytes], bool]
    read: Callable[[Path], Iterator[Record | Rejected]]
    companions: Callable[[Path], Iterable[str]] = _alone
    suffixes: Collection[str] = ()
    read_part: Callable[[Path, float, float], Iterator[Record | Rejected]] | None = None
    parts: Callable[[Path], Iterable[str]] = _alone


READERS: Registry[Reader] = Registry("reader", "ssl_ecg.readers")
register = READERS.register


def reader_of(path: Path) -> Reader:
    """Return the reader that recognises a file.

    Raises:
        RecordError: there is none, or it is no regular file, which is never opened.
    """
    if not path.is_file():
        raise RecordError("not a regular file")
    try:
        with path.open("rb") as file:
            head = file.read(HEAD)
    except OSError as error:
        raise RecordError("unreadable", str(error.strerror)) from error
    for name, reader in READERS.usable():
        try:
            if reader.sniff(path, head):
                return reader
        except Exception:  # a reader of somebody else that stumbles over a file does not know it
            log.warning("reader %s cannot tell whether %s is its own", name, path.name, exc_info=True)
    suffix = path.suffix.lower()
    if any(suffix in reader.suffixes for _, reader in READERS.usable()):
        what = "the file is empty" if not head else "it is of another format, or damaged"
        what = f"it is a web page, saved as {suffix}; download it again" if is_web_page(head) else what
        raise RecordError("unreadable", what)
    raise RecordError("unknown format", f"{path.suffix or path.name!r} is none of {', '.join(READERS.names())}")


def companions(folder: Path, files: AbstractSet[str], readers: Mapping[str, Reader]) -> set[str]:
    """Return the files that are part of another file's recording.

    Args:
        folder: where they lie.
        files: paths below it.
        readers: the readers of those that have one.
    """
    capitals: dict[str, list[str]] = {}
    for path in files:
        if (small := path.lower()) != path:
            capitals.setdefault(small, []).append(path)
    beside = set()
    for path, reader in readers.items():
        try:
            names = [(name, False) for name in reader.companions(folder / path)]
            names += [(name, True) for name in reader.parts(folder / path)]
        except Exception:  # a reader of somebody else; the file itself will say what is wrong
            log.debug("%s", path, exc_info=True)
            continue
        for name, part in names:
            small = str(PurePosixPath(path).parent / name).lower()
            for other in {small, *capitals.get(small, ())} & files:
                if (readers.get(other) is not reader or part) and other != path:
                    beside.add(other)
    return beside


def read_records(path: str | Path) -> Iterator[Record]:
    """Read the records of any file that a reader knows, one after the other.

    Calibration pulses and padding at the ends are cut, gaps of up to 100 ms filled, leads with longer ones left out;
    ``findings`` of the record says so.

    Args:
        path: a file; or its path without suffix, as archives name records.

    Returns:
        The records, read while they are taken.

    Raises:
        RecordError: no reader knows the file, or, while they are taken, it cannot be read. Where one of many records
            cannot be used, this comes after the others.

    Example:
        >>> for record in read_records("exams/0001.hea"):  # doctest: +SKIP
        ...     print(record.leads, record.duration)
    """
    path = Path(path)
    if path.is_file():
        return _usable(reader_of(path).read(path))
    for file in sorted(path.parent.glob(f"{glob.escape(path.name)}.*")):
        if file.with_suffix("") == path and file.is_file():
            try:
                return _usable(reader_of(file).read(file))
            except RecordError:
                continue  # what belongs to a recording has its name too
    raise RecordError("missing file" if not path.exists() else "not a regular file", path.name)


def _usable(records: Iterable[Record | Rejected]) -> Iterator[Record]:
    rejected, records = [], iter(records)
    while True:
        try:
            record = next(records)
        except StopIteration:
            break
        except RecordError:
            raise
        except Exception as error:  # a file that nobody thought of
            raise RecordError("unreadable", type(error).__name__) from error
        if isinstance(record, Rejected):
            rejected.append(record)
        else:
            yield clean(record)
    if rejected:
        first = rejected[0]
        raise RecordError(first.error.kind, f"{first.record_id}: {first.error.detail} ({len(rejected)} such records)")
