"""WFDB recordings: a text header ``.hea`` beside a ``.dat`` or ``.mat`` file of samples.

The header is looked at before the ``wfdb`` package decodes the samples: it may come from anywhere, so it names files of
its own folder only, and states how many bytes there must be.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from ssl_ecg.records.formats import Reader, register
from ssl_ecg.records.record import LEADS, Record, RecordError, canonical_lead

MAX_HEADER_BYTES = 1_000_000

# Millivolts in one unit. NU, "no unit", is what publishers of rescaled signals write.
_MILLIVOLTS = {"mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "v": 1e3, "nu": 1.0}
# Bytes a sample of the storage formats that are decoded.
_BYTES = {
    "8": 1.0,
    "16": 2.0,
    "24": 3.0,
    "32": 4.0,
    "61": 2.0,
    "80": 1.0,
    "160": 2.0,
    "212": 1.5,
    "310": 4 / 3,
    "311": 4 / 3,
}

# Signals and common annotations, which carry the header's name; LUDB annotates each lead in a file of its own.
_BESIDE = ("dat", "mat", "atr", "ann", "ecg", "qrs", "xws", *(lead.lower() for lead in LEADS))

_RECORD_LINE = re.compile(rb"[^\s/]+(/\d+)?\s+\d+(\s|$)")
_SIGNAL_LINE = re.compile(
    r"(?P<file>\S+)\s+(?P<format>\d+)(x(?P<frame>\d+))?(:\d+)?(\+(?P<offset>\d+))?"
    r"(\s+(?P<gain>[-+.\deE]+)(\(-?\d*\))?(/(?P<unit>\S+))?(\s+(?P<rest>.*))?)?$"
)
_AGE = re.compile(r"^[#\s<]*age[>\s:=]+(\d+(?:\.\d+)?)", re.IGNORECASE | re.MULTILINE)
_SEX = re.compile(r"^[#\s<]*(?:sex|gender)[>\s:=]+(male|female|m|f)\b", re.IGNORECASE | re.MULTILINE)
_DATES = ("%H:%M:%S %d/%m/%Y", "%H:%M:%S.%f %d/%m/%Y", "%d-%b-%Y %H:%M:%S")


@dataclass(frozen=True)
class _Channel:
    """One signal line of a header."""

    file: str
    storage: str
    samples_per_frame: int
    offset: int
    gain: float
    unit: str
    name: str


def read_wfdb(path: str | Path) -> Record:
    """Read one WFDB recording; channels that are none of the twelve leads are left out.

    Nothing is ever fetched from a network.

    Args:
        path: path of the header, or of the recording without suffix.

    Returns:
        The record, in millivolts; uncalibrated where the header's unit is ``NU`` or it gives no gain.

    Raises:
        RecordError: If the header or the signal cannot be read, is cut off, names files outside its folder, or gives
            a unit or storage format that is not known.
    """
    path = Path(path).absolute()
    header = path if path.suffix.lower() == ".hea" else path.with_name(f"{path.name}.hea")
    if "::" in str(path) or "://" in str(path):
        # Such names would be taken for addresses by the file system layer below wfdb.
        raise RecordError("header", f"the name {path.name!r} cannot be read, rename the file or its folder")
    lines, comments = _header_lines(header)
    rate, length = _record_line(lines[0])
    channels = [_channel(line) for line in lines[1:]]
    files = _files(header.parent, channels, length)

    ecg = [i for i, channel in enumerate(channels) if _is_lead(channel.name)]
    if not ecg:
        raise RecordError("missing lead", f"channels are {', '.join(c.name or '?' for c in channels) or 'none'}")
    if unknown := sorted({channels[i].unit for i in ecg} - set(_MILLIVOLTS)):
        raise RecordError("unknown unit", f"{', '.join(unknown)} (known: mV, uV, V, NU)")
    signal = _decode(header, files, ecg, length)
    millivolts = np.array([_MILLIVOLTS[channels[i].unit] for i in ecg], dtype=np.float32)
    text = "\n".join(comments)
    return Record(
        signal=signal * millivolts[:, None],
        sampling_rate=rate,
        leads=tuple(channels[i].name for i in ecg),
        recorded_at=_recorded_at(lines[0]),
        age=_age(text),
        sex=_sex(text),
        source="wfdb",
        calibrated=all(channels[i].unit != "nu" and channels[i].gain > 0 for i in ecg),
    )


def _header_lines(path: Path) -> tuple[list[str], list[str]]:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_HEADER_BYTES + 1)
    except OSError as error:
        raise RecordError("header", f"cannot be read ({error.strerror})") from error
    if len(content) > MAX_HEADER_BYTES or b"\0" in content:
        raise RecordError("header", "is not a text file of a WFDB header")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError:
        text = content.decode("latin-1")
    rows = [row.strip() for row in text.splitlines() if row.strip()]
    lines = [row for row in rows if not row.startswith("#")]
    if not lines:
        raise RecordError("header", "is empty")
    return lines, [row for row in rows if row.startswith("#")]


def _record_line(line: str) -> tuple[float, int | None]:
    """Return sampling rate in Hz and number of samples (None where the header leaves it out)."""
    fields = line.split()
    if "/" in fields[0]:
        raise RecordError("header", "recordings of several segments are not read")
    if len(fields) < 3:
        raise RecordError("sampling rate", "the header gives none")
    try:
        rate = float(fields[2].split("/")[0].split("(")[0])
        length = int(fields[3]) if len(fields) > 3 else None
    except ValueError as error:
        raise RecordError("header", f"record line is {line!r}") from error
    if not 0 < rate < float("inf"):
        raise RecordError("sampling rate", f"must be positive, the header gives {fields[2]}")
    return rate, length or None


def _channel(line: str) -> _Channel:
    match = _SIGNAL_LINE.match(line)
    if match is None or match["format"] not in _BYTES:
        raise RecordError("header", f"signal line is {line[:80]!r}")
    try:
        gain = float(match["gain"] or 0)
    except ValueError as error:
        raise RecordError("header", f"gain is {match['gain']!r}") from error
    # Resolution, zero, first value, checksum and block size stand before the name, which may hold spaces.
    rest = (match["rest"] or "").split(maxsplit=5)
    return _Channel(
        file=match["file"],
        storage=match["format"],
        samples_per_frame=int(match["frame"] or 1),
        offset=int(match["offset"] or 0),
        gain=gain,
        unit=(match["unit"] or "mV").lower(),
        name=rest[5].strip() if len(rest) > 5 else "",
    )


def _is_lead(name: str) -> bool:
    try:
        canonical_lead(name)
    except RecordError:
        return False
    return True


def _files(folder: Path, channels: list[_Channel], length: int | None) -> dict[str, Path]:
    """Return the files that a header names: each must lie in its folder and be as long as the header says."""
    files = {}
    for name in dict.fromkeys(channel.file for channel in channels):
        if name in (".", "..") or re.search(r"[/\\:]", name):
            raise RecordError("header", f"names a file outside its folder: {name!r}")
        file = folder / name
        if not file.exists():  # copies by way of DOS have their names in capitals, but not inside the header
            file = next((other for other in folder.iterdir() if other.name.lower() == name.lower()), file)
        if not file.is_file():
            raise RecordError("missing signal", f"{name} is not there")
        here = [channel for channel in channels if channel.file == name]
        samples = (length or 1) * sum(channel.samples_per_frame for channel in here)
        wanted, size = here[0].offset + samples * _BYTES[here[0].storage], file.stat().st_size
        if size < int(wanted):
            raise RecordError("truncated signal", f"{name} has {size} bytes, the header promises {wanted:.0f}")
        files[name] = file
    return files


def _decode(header: Path, files: dict[str, Path], channels: list[int], length: int | None) -> np.ndarray:
    try:
        if header.suffix == ".hea" and all(file.name == name for name, file in files.items()):
            signal = _rdrecord(header.with_suffix(""), channels)
        else:
            with TemporaryDirectory() as folder:  # the package finds exact names only
                for name, file in {f"{header.stem}.hea": header, **files}.items():
                    Path(folder, name).symlink_to(file)
                signal = _rdrecord(Path(folder, header.stem), channels)
    except Exception as error:  # a damaged file can raise anything from inside wfdb
        raise RecordError("unreadable", f"wfdb cannot decode it ({type(error).__name__})") from error
    if signal is None or not len(signal) or length not in (None, len(signal)):
        raise RecordError("truncated signal", f"{0 if signal is None else len(signal)} samples, expected {length}")
    return np.ascontiguousarray(signal.T)


def _rdrecord(path: Path, channels: list[int]) -> np.ndarray | None:
    import wfdb  # takes a second to import

    signal: np.ndarray | None = wfdb.rdrecord(str(path), channels=channels, return_res=32).p_signal
    return signal


def _recorded_at(line: str) -> datetime | None:
    text = " ".join(line.split()[4:6])
    for form in _DATES:
        with suppress(ValueError):
            return datetime.strptime(text, form)
    return None


def _age(comments: str) -> float | None:
    match = re.search(_AGE, comments)
    return float(match[1]) if match and 0 <= float(match[1]) <= 120 else None


def _sex(comments: str) -> str | None:
    match = re.search(_SEX, comments)
    return {"m": "male", "f": "female"}[match[1][0].lower()] if match else None


def _sniff(path: Path, head: bytes) -> bool:
    lines = [line for line in map(bytes.strip, head.splitlines()) if line and not line.startswith(b"#")]
    named = path.suffix.lower() == ".hea" and b"\0" not in head
    return named and bool(lines) and _RECORD_LINE.match(lines[0]) is not None


def _read(path: Path) -> Iterator[Record]:
    yield read_wfdb(path)


def _companions(path: Path) -> Iterator[str]:
    yield from (f"{path.stem}.{suffix}" for suffix in _BESIDE)
    with suppress(RecordError):
        yield from (line.split()[0] for line in _header_lines(path)[0][1:])


register("wfdb", Reader(_sniff, _read, _companions))
