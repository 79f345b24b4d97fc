"""Known data sets from where they are published: plain HTTPS, every file compared with the publisher's SHA-256.

PhysioNet publishes ``SHA256SUMS.txt`` with each data set. What is there is not fetched again, what was cut off goes on,
and nothing has its name before its checksum is right.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.error import HTTPError
from urllib.parse import quote, urlsplit
from urllib.request import HTTPRedirectHandler, Request, build_opener

from ssl_ecg.runs import sha256

SUMS = "SHA256SUMS.txt"
PUBLISHED = {
    "ptbxl": "https://physionet.org/files/ptb-xl/1.0.3/",
    "cinc2021": "https://physionet.org/files/challenge-2021/1.0.3/",
    "cinc2011": "https://physionet.org/files/challenge-2011/1.0.0/",
    "ludb": "https://physionet.org/files/ludb/1.0.1/",
    "mitbih": "https://physionet.org/files/mitdb/1.0.0/",
}
"""Folders that hold ``SHA256SUMS.txt``."""

ATTEMPTS = 3
SECONDS = 60.0  # without a byte
MAX_SUMS_BYTES = 100_000_000

_LINE = re.compile(r"([0-9a-fA-F]{64})[ \t]+\*?(.+)")


class DownloadError(OSError):
    """A file that could not be fetched, or is not what its publisher says."""


class Fetched(NamedTuple):
    """What became of the files of a data set: fetched now, and there before."""

    fetched: int
    there: int


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
        address: of the folder that holds ``SHA256SUMS.txt``, with a slash at its end.
        folder: where they are written, as they lie there.
        only: pattern of the paths that are wanted, such as ``records100/*``; files in the first folder come always.
        workers: how many are fetched at a time.
        told: ``told(done, all)`` after each file.

    Raises:
        DownloadError: a file cannot be fetched, or has another checksum; the others are there, and the same call
            goes on.
        OSError: the disk is full.
    """
    folder.mkdir(parents=True, exist_ok=True)
    files = [
        (path, digest) for path, digest in _sums(address).items() if "/" not in path or fnmatch.fnmatchcase(path, only)
    ]
    if only != "*" and not any(fnmatch.fnmatchcase(path, only) for path, _ in files):
        raise DownloadError(f"only={only!r}: matches none of the {len(files)} files of {address}")
    fetched, errors = 0, []
    with ThreadPoolExecutor(workers) as pool:
        work = [pool.submit(_fetch, address, folder, *file) for file in files]
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


def _sums(address: str) -> dict[str, str]:
    """Return the SHA-256 of every file that a publisher names.

    Raises:
        DownloadError: it names none, or one that would lie outside of the folder.
    """
    try:
        with _OPENER.open(Request(address + SUMS), timeout=SECONDS) as answer:
            content = answer.read(MAX_SUMS_BYTES).decode("utf-8", "replace")
    except (OSError, HTTPException) as error:
        raise DownloadError(f"{address + SUMS}: {_why(error)}") from error
    found = {}
    for line in content.splitlines():
        match = _LINE.fullmatch(line.strip())
        if match is None:
            continue
        path = PurePosixPath(match[2])
        if path.is_absolute() or ".." in path.parts or re.search(r"[\\\0:]", match[2]):
            raise DownloadError(f"{address + SUMS}: names a file outside of the data set")
        found[path.as_posix()] = match[1].lower()
    if not found:
        raise DownloadError(f"{address + SUMS}: holds no checksums")
    return found


def _fetch(address: str, folder: Path, path: str, digest: str) -> bool:
    """Fetch one file; say whether it was not there before."""
    file = folder / path
    if file.is_file() and sha256(file) == digest:
        return False
    file.parent.mkdir(parents=True, exist_ok=True)
    part = file.with_name(file.name + ".part")
    why = ""
    for _ in range(ATTEMPTS):
        try:
            _append(address + quote(path), part)
        except (OSError, HTTPException) as error:
            if isinstance(error, OSError) and error.errno in (28, 122):  # no room on the disk
                raise
            why = _why(error)
            if isinstance(error, HTTPError) and error.code == 416:  # more is there than the file has
                part.unlink(missing_ok=True)
            continue
        if sha256(part) == digest:
            part.replace(file)
            return True
        why = "has another SHA-256 than its publisher says"
        part.unlink()
    raise DownloadError(f"{address + path}: {why}")


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
