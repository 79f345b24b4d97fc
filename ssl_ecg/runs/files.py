"""Files and folders that are there whole or not at all, whenever a process is killed or the disk is full."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

from ssl_ecg.runs.spreadsheets import escaped

if TYPE_CHECKING:
    import pandas as pd


@contextmanager
def written_atomically(path: str | Path, mode: int = 0o666) -> Iterator[BinaryIO]:
    """Write a file so that a kill, a power cut, a full disk or an error leaves either the old one or the new one.

    Args:
        path: the file; its folder must be there.
        mode: permissions of the file, less those that the process withholds.

    Yields:
        The file to write into.

    Raises:
        OSError: naming ``path``; what lay there before is as it was.
    """
    path = Path(path)
    temporary = path.with_name(path.name + ".tmp")
    try:
        with open(temporary, "wb", opener=lambda name, flags: os.open(name, flags, mode)) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
        _sync(path.parent)
    except OSError as error:
        raise OSError(error.errno, error.strerror or str(error), str(path)) from error
    finally:
        if temporary.is_file():
            temporary.unlink()


def write_atomically(path: str | Path, content: bytes | memoryview | str, mode: int = 0o666) -> None:
    """Write all of a file at once; text is written as UTF-8. For the rest see ``written_atomically``."""
    with written_atomically(path, mode) as file:
        file.write(content.encode() if isinstance(content, str) else content)


def previous_of(path: Path) -> Path:
    """Return where the file that lay at ``path`` before is kept, of those of which one before is kept."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def write_json(path: str | Path, content: Mapping[str, Any]) -> None:
    """Write JSON atomically."""
    write_atomically(path, json.dumps(content, indent=1) + "\n")


def write_csv(path: str | Path, table: pd.DataFrame, float_format: str | None = None) -> None:
    """Write a table without its index atomically, safe for spreadsheets (``runs/spreadsheets.py``)."""
    write_atomically(path, escaped(table).to_csv(index=False, float_format=float_format))


def sha256(path: str | Path) -> str:
    """Return the SHA-256 of a file's bytes in hexadecimal."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@contextmanager
def whole_folder(folder: str | Path, last: str, clear: Iterable[str] = ()) -> Iterator[Path]:
    """Write the files of a folder so that they are there together or not at all.

    They are written into a folder of their own and moved when all are. What else lies in ``folder`` stays.

    Args:
        folder: made where it does not exist.
        last: name of the file by which readers tell that the folder is whole: it is moved last, and an earlier one is
            removed before the others are moved.
        clear: names of files that an earlier writer left, removed unless they are written again.

    Yields:
        The folder to write into: files only.
    """
    folder = Path(folder)
    part = folder / ".tmp"
    shutil.rmtree(part, ignore_errors=True)  # of a process that was killed
    part.mkdir(parents=True)
    try:
        yield part
        names = sorted(path.name for path in part.iterdir())
        for name in names:
            _sync(part / name)
        for name in (last, *(set(clear) - {*names})):
            (folder / name).unlink(missing_ok=True)
        for name in sorted(names, key=lambda name: name == last):
            (part / name).replace(folder / name)
        _sync(folder)
    except OSError as error:
        if error.filename is not None:
            raise
        raise OSError(error.errno, error.strerror or str(error), str(folder)) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)


def _sync(path: Path) -> None:
    """Have a file, or the names in a folder, written to the disk."""
    if os.name != "posix":  # elsewhere only what is open for writing can be synced
        return
    opened = os.open(path, os.O_RDONLY)
    try:
        os.fsync(opened)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):  # file systems that cannot sync a folder
            raise
    finally:
        os.close(opened)
