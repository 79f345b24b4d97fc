"""The text header of a WFDB recording: what it promises, read once, line by line, whoever wrote it.

The format is that of `header(5) <https://physionet.org/physiotools/wag/header-5.htm>`_; what occurs in public data sets
beside it is read too: names with dots, spaces and umlauts, ``.mat`` after the record's name, dates of the year alone.
"""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from ssl_ecg.records.record import RecordError

MAX_BYTES = 1_000_000
MAX_LINE = 2_000
MAX_COMMENTS = 1_000
MAX_SIGNALS = 10_000
MAX_SEGMENTS = 10_000

DEFAULT_GAIN = 200.0  # units a millivolt where a header states no gain: a convention, no calibration

_STORAGE = re.compile(r"(\d{1,3})(?:x(\d{1,4}))?(?::(\d{1,9}))?(?:\+(\d{1,12}))?", re.ASCII)
_GAIN = re.compile(r"([-+]?[\d.]+(?:[eE][-+]?\d{1,3})?)(?:\(([-+]?\d{0,12})(?:\.\d*)?\))?(?:/(\S*))?", re.ASCII)
_INTEGER = re.compile(r"[-+]?\d{1,12}", re.ASCII)
_DATES = ("%H:%M:%S %d/%m/%Y", "%H:%M:%S.%f %d/%m/%Y", "%d-%b-%Y %H:%M:%S", "%H:%M %d/%m/%Y", "%d/%m/%Y")


@dataclass(frozen=True)
class Channel:
    """One signal line.

    Attributes:
        file: name of the file that holds the samples.
        storage: number of the storage format, ``"16"``.
        frame: samples a frame.
        skew: frames by which the file holds the signal later than others.
        offset: bytes before the samples.
        gain: stored units in one ``unit``; None where the header gives none.
        baseline: stored value of 0.
        unit: in lower case.
        first: the first stored value, to which format 8 adds differences.
        checksum: sum of all stored values, modulo 65536; None where the line ends before it.
        name: what the signal is called.
    """

    file: str
    storage: str
    frame: int
    skew: int
    offset: int
    gain: float | None
    baseline: int
    unit: str
    first: int
    checksum: int | None
    name: str


@dataclass(frozen=True)
class Header:
    """What a header says.

    Attributes:
        rate: frames a second.
        frames: how many; None where the header leaves it to the file.
        recorded_at: begin of the recording, where day and time are given.
        channels: the signals; none where there are segments.
        segments: name (``"~"`` for a gap) and number of frames of each.
        comments: the lines after ``#``.
    """

    rate: float
    frames: int | None
    recorded_at: datetime | None
    channels: tuple[Channel, ...]
    segments: tuple[tuple[str, int], ...]
    comments: tuple[str, ...]


def read_header(path: Path) -> Header:
    """Read a header.

    Raises:
        RecordError: it cannot be read, or a line cannot be understood; the text of the file is never quoted.
    """
    lines, comments = _lines(path)
    name, fields = _record_line(lines, path.stem)
    if len(fields) < 2:
        raise RecordError("sampling rate", "the header gives none")
    rate = _number(fields[1].partition("/")[0].partition("(")[0], "sampling rate")
    if not 0 < rate < math.inf:
        raise RecordError("sampling rate", "must be positive")
    frames = _whole(fields[2], "number of samples") if len(fields) > 2 else 0
    if frames < 0:
        raise RecordError("header", "the number of samples is negative")
    segmented = "/" in name
    if len(lines) - 1 > (MAX_SEGMENTS if segmented else MAX_SIGNALS):
        raise RecordError("header", f"holds {len(lines) - 1} signals or segments")
    return Header(
        rate=rate,
        frames=frames or None,
        recorded_at=_recorded_at(fields[3:5]),
        channels=() if segmented else tuple(_channel(line, n, path.stem) for n, line in enumerate(lines[1:], 1)),
        segments=tuple(_segment(line, n) for n, line in enumerate(lines[1:], 1)) if segmented else (),
        comments=tuple(comments),
    )


def file_names(path: Path) -> tuple[list[str], list[str]]:
    """Return the names of the files of samples, and of the headers of segments, that a header gives; as they stand.

    Raises:
        RecordError: the header cannot be read.
    """
    (lines, _), stem = _lines(path), path.stem
    if "/" in _record_line(lines, stem)[0]:
        return [], [f"{line.rsplit(maxsplit=1)[0]}.hea" for line in lines[1:] if not line.startswith("~")]
    return list(dict.fromkeys(_file_and_fields(line, stem)[0] for line in lines[1:])), []


def is_header(head: bytes) -> bool:
    """Tell whether the first bytes of a file are those of a header: comments, if any, and a record line."""
    lines = [line for line in map(bytes.strip, head.removeprefix(b"\xef\xbb\xbf").splitlines()) if line]
    told = next((line for line in lines if not line.startswith(b"#")), None)
    if b"\0" in head or not lines:
        return False
    return told is None or sum(field.isdigit() for field in told[:MAX_LINE].split()[1:]) > 0


def _lines(path: Path) -> tuple[list[str], list[str]]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_BYTES + 1)
    except OSError as error:
        raise RecordError("header", f"cannot be read ({error.strerror})") from error
    if len(content) > MAX_BYTES or b"\0" in content:
        raise RecordError("header", "is not a text file of a WFDB header")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    lines: list[str] = []
    comments: list[str] = []
    for line in map(str.strip, re.split(r"[\r\n]+", text)):
        if line.startswith("#"):
            if len(comments) < MAX_COMMENTS and len(line) > 1:
                comments.append(line[1:MAX_LINE])
        elif len(line) > MAX_LINE:
            raise RecordError("header", f"has a line of more than {MAX_LINE} characters")
        elif line:
            lines.append(line)
    if not lines:
        raise RecordError("header", "is empty")
    return lines, comments


def _record_line(lines: list[str], stem: str) -> tuple[str, list[str]]:
    """Return the name, which may hold spaces, and the fields from the number of signals on.

    The number of signals tells where the name ends: there must be as many lines.
    """
    line, count = lines[0], len(lines) - 1
    fields = line.split()
    begin = 1
    if line.startswith((f"{stem} ", f"{stem}/")) and " " in stem:
        begin = len(stem.split())
    for i in range(begin, len(fields)):
        segments = fields[i - 1].rpartition("/")[2] if "/" in fields[i - 1] else fields[i]
        if segments.isascii() and segments.isdigit() and int(segments[:9]) == count and fields[i][:1].isdigit():
            return " ".join(fields[:i]), fields[i:]
    raise RecordError("header", f"the record line does not announce the {count} signals that follow")


def _segment(line: str, number: int) -> tuple[str, int]:
    fields = line.rsplit(maxsplit=1)
    if len(fields) != 2 or (frames := _whole(fields[1], f"length of segment {number}")) < 0:
        raise RecordError("header", f"segment {number} has no length")
    return fields[0], frames


def _file_and_fields(line: str, stem: str) -> tuple[str, list[str]]:
    """Return the file's name, which may hold spaces, and what follows it: seven fields at most, the last one a name."""
    begin = 1
    if " " in stem and line.startswith(stem):
        begin = len(stem.split())
    fields = line.split()
    for i in range(begin, len(fields)):
        if _STORAGE.fullmatch(fields[i]):
            *name, rest = line.split(maxsplit=i)
            return " ".join(name), rest.split(maxsplit=7)
    return fields[0], []


def _channel(line: str, number: int, stem: str) -> Channel:
    file, fields = _file_and_fields(line, stem)
    storage = _STORAGE.fullmatch(fields[0]) if fields else None
    gain = _GAIN.fullmatch(fields[1]) if len(fields) > 1 else None
    if storage is None or (len(fields) > 1 and gain is None):
        raise RecordError("header", f"the line of signal {number} cannot be understood")
    # Resolution, zero, first value, checksum and block size stand before the name.
    integers = [_whole(field, f"line of signal {number}") for field in fields[2:7]]
    zero = integers[1] if len(integers) > 1 else 0
    units = _number(gain[1], f"gain of signal {number}") if gain else 0.0
    if not math.isfinite(units):
        raise RecordError("header", f"the gain of signal {number} is no number")
    return Channel(
        file=file,
        storage=storage[1],
        frame=max(1, int(storage[2] or 1)),
        skew=int(storage[3] or 0),
        offset=int(storage[4] or 0),
        gain=units or None,
        baseline=int(gain[2]) if gain and gain[2] else zero,
        unit=(gain[3] if gain and gain[3] else "mV").lower(),
        first=integers[2] if len(integers) > 2 else zero,
        checksum=integers[3] if len(integers) > 3 else None,
        name=fields[7].strip() if len(fields) > 7 else "",
    )


def _number(text: str, what: str) -> float:
    try:
        return float(text)
    except ValueError as error:
        raise RecordError("header", f"the {what} is no number") from error


def _whole(text: str, what: str) -> int:
    if not _INTEGER.fullmatch(text):
        raise RecordError("header", f"the {what} is no whole number")
    return int(text)


def _recorded_at(fields: list[str]) -> datetime | None:
    # A year or a time alone is no date: a day that nobody stated is not made up.
    text = " ".join(fields)
    for form in _DATES if len(fields) == 2 or "/" in text else ():
        with suppress(ValueError):
            return datetime.strptime(text, form)
    return None
