"""Known data sets from where they are published: plain HTTPS, every file compared with the publisher's checksum.

PhysioNet publishes ``SHA256SUMS.txt`` with each data set, Zenodo and Figshare tell the MD5 of each file. What is there
is not fetched again, what was cut off goes on, and nothing has its name before its checksum is right.
"""

from __future__ import annotations

import fnmatch
import hashlib
import json
import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

SUMS = "SHA256SUMS.txt"
PUBLISHED = {
    "ptbxl": "https://physionet.org/files/ptb-xl/1.0.3/",
    "cinc2021": "https://physionet.org/files/challenge-2021/1.0.3/",
    "cinc2011": "https://physionet.org/files/challenge-2011/1.0.0/",
    "ludb": "https://physionet.org/files/ludb/1.0.1/",
    "mitbih": "https://physionet.org/files/mitdb/1.0.0/",
    "chapman": "https://physionet.org/files/ecg-arrhythmia/1.0.0/",
    "code15": "https://zenodo.org/api/records/4916206",
    "sph": "https://api.figshare.com/v2/articles/17912441 https://api.figshare.com/v2/articles/17912444",
}
"""Folders that hold ``SHA256SUMS.txt``, which end with a slash, and what Zenodo and Figshare tell of files, as JSON."""

ATTEMPTS = 3
SECONDS = 60.0  # without a byte
MAX_SUMS_BYTES = 100_000_000

_BULKY = re.compile(r"/|\.(zip|tar|t?gz)$")  # of a path: not a table beside the recordings
_NAMES = {"sha256": "SHA-256", "md5": "MD5"}
_LINE = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(.+)")


class DownloadError(OSError):
    """A file that could not be fetched, or is not what its publisher says."""


class Fetched(NamedTuple):
    """What became of the files of a data set: fetched now, and there before."""

    fetched: int
    there: int


class _File(NamedTuple):
    """A file of a data set: where it lies below the folder, where it comes from, and its checksum."""

    path: str
    address: str
    kind: str
    digest: str

    def is_in(self, file: Path) -> bool:
        """Tell whether a file is this one."""
        with file.open("rb") as content:
            return hashlib.file_digest(content, self.kind).hexdigest() == self.digest


class _SameScheme(HTTPRedirectHandler):
    """Follows redirections, but never from HTTPS to what anybody on the way can change."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):  # type: ignore[no-untyped-def]
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise DownloadError(f"{req.full_url}: leads away from HTTPS")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = build_opener(_SameScheme)


def download(
    address: str, folder: Path, only: str = "*", workers: int = 4, told: Callable[[int, int], None] = lambda n, of: None
) -> Fetched:
    """Fetch the files of a data set into a folder.

    Args:
        address: of the folder that holds ``SHA256SUMS.txt``, with a slash at its end, or of lists of Zenodo and
            Figshare, with blanks between.
        folder: where they are written, as they lie there.
        only: pattern of the paths that are wanted, such as ``records100/*``; files in the first folder come always,
            unless they are packed.
        workers: how many are fetched at a time.
        told: ``told(done, all)`` after each file.

    Raises:
        DownloadError: a file cannot be fetched, or has another checksum; the others are there, and the same call
            goes on.
        OSError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    found = [file for each in address.split() for file in (_summed if each.endswith("/") else _listed)(each)]
    files = [file for file in found if not _BULKY.search(file.path) or fnmatch.fnmatchcase(file.path, only)]
    if only != "*" and not any(fnmatch.fnmatchcase(file.path, only) for file in files):
        raise DownloadError(f"only={only!r}: matches none of the {len(files)} files of {address}")
    fetched, errors = 0, []
    with ThreadPoolExecutor(workers) as pool:
        work = [pool.submit(_fetch, file, folder) for file in files]
        for number, one in enumerate(work, 1):
            try:
                fetched += one.result()
            except DownloadError as error:
                errors.append(str(error))
            except OSError:
                for other in work:
                    other.cancel()
                raise
            told(number, len(files))
    if errors:
        raise DownloadError(f"{errors[0]} ({len(errors)} of {len(files)} files are missing; run the same call again)")
    return Fetched(fetched, len(files) - fetched)


def _summed(address: str) -> Iterator[_File]:
    """Yield the files that PhysioNet names with their SHA-256, each once.

    Raises:
        DownloadError: there are none, or one would lie outside of the folder.
    """
    lines = (_LINE.fullmatch(line.strip()) for line in _text(address + SUMS).splitlines())
    found = {_inside(line[2], address + SUMS): line[1].lower() for line in lines if line}
    if not found:
        raise DownloadError(f"{address + SUMS}: holds no checksums")
    for path, digest in found.items():
        yield _File(path, address + quote(path), "sha256", digest)


def _listed(address: str) -> Iterator[_File]:
    """Yield the files that Zenodo or Figshare lists with their MD5.

    Raises:
        DownloadError: it is no such list, or a file would lie outside of the folder.
    """
    try:
        for each in json.loads(_text(address))["files"]:
            name, link = (each["key"], each["links"]["self"]) if "key" in each else (each["name"], each["download_url"])
            digest = str(each["checksum"] if "key" in each else each["computed_md5"]).removeprefix("md5:").lower()
            if urlsplit(link).scheme != urlsplit(address).scheme or not re.fullmatch("[0-9a-f]{32}", digest):
                raise ValueError
            yield _File(_inside(name, address), link, "md5", digest)
    except (KeyError, TypeError, ValueError) as error:
        raise DownloadError(f"{address}: holds no list of files with checksums") from error


def _text(address: str) -> str:
    try:
        with _OPENER.open(Request(address), timeout=SECONDS) as answer:
            return str(answer.read(MAX_SUMS_BYTES).decode("utf-8", "replace"))
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{address}: {_why(error)}") from error


def _inside(path: str, address: str) -> str:
    """Return a path that stays in the folder."""
    if PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts or re.search(r"[\\\0:]", path):
        raise DownloadError(f"{address}: names a file outside of the data set")
    return PurePosixPath(path).as_posix()


def _fetch(wanted: _File, folder: Path) -> bool:
    """Fetch one file; say whether it was not there before."""
    file = folder / wanted.path
    if file.is_file() and wanted.is_in(file):
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    why = ""
    for _ in range(ATTEMPTS):
        try:
            _append(wanted.address, part)
        except (OSError, HTTPException) as error:
            if isinstance(error, OSError) and error.errno in (28, 122):  # no room on the disk
                raise
            why = _why(error)
            if isinstance(error, HTTPError) and error.code == 416:  # more is there than the file has
                part.unlink(missing_ok=True)
            continue
        if wanted.is_in(part):
            part.replace(file)
            return True
        why = f"has another {_NAMES[wanted.kind]} than its publisher says"
        part.unlink()
    raise DownloadError(f"{wanted.address}: {why}")


def _append(address: str, part: Path) -> None:
    """Fetch what is missing of a file at its end; all of it, where the server knows no parts."""
    there = part.stat().st_size if part.is_file() else 0
    request = Request(address, headers={"Range": f"bytes={there}-"} if there else {})
    with _OPENER.open(request, timeout=SECONDS) as answer:
        goes_on = there and answer.status == 206
        wanted = answer.headers.get("Content-Length")
        got = 0
        with part.open("ab" if goes_on else "wb") as file:
            while block := answer.read(2**16):
                got += file.write(block)
    if wanted is not None and wanted.isdecimal() and got < int(wanted):
        raise DownloadError("the connection was cut")


def _why(error: Exception) -> str:
    with suppress(AttributeError):
        return f"HTTP {error.code}"  # type: ignore[attr-defined]
    return str(getattr(error, "reason", None) or error or type(error).__name__)
