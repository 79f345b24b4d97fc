"""WFDB recordings: a text header ``.hea`` beside files of samples, or above headers of segments.

The header may come from anywhere, so it names files of its own folder only, and what it promises is compared with the
bytes that are there before they are read. Nothing is ever fetched from a network.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.records.formats import Reader, register
from ssl_ecg.records.naming import lead_of
from ssl_ecg.records.record import LEADS, Record, RecordError
from ssl_ecg.records.wfdb_comments import person_of
from ssl_ecg.records.wfdb_header import DEFAULT_GAIN, Channel, Header, file_names, is_header, read_header
from ssl_ecg.records.wfdb_samples import FLAC, STORAGES, frames_in, read_flac, read_samples

MAX_FRAME = 2**16  # samples of all signals of a file in one frame
MAX_SAMPLES = 2**29  # of all leads together, 2 GiB as float32: a day of twelve leads at 500 Hz

# Millivolts in one unit. NU, "no unit", is what publishers of rescaled signals write.
_MILLIVOLTS = {"nv": 1e-6, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "mv": 1.0, "v": 1e3, "nu": 1.0}
_MILLIVOLTS |= {"nanovolt": 1e-6, "microvolt": 1e-3, "millivolt": 1.0, "volt": 1e3}
_MILLIVOLTS |= {f"{unit}s": _MILLIVOLTS[unit] for unit in ("nanovolt", "microvolt", "millivolt", "volt")}

# Signals and common annotations, which carry the header's name; LUDB annotates each lead in a file of its own.
_BESIDE = ("dat", "mat", "atr", "ann", "ecg", "qrs", "xws", *(lead.lower() for lead in LEADS))


class _Stored(NamedTuple):
    """The leads of one header that names files: float32 [L, T] in millivolts, NaN where nothing was recorded."""

    signal: NDArray[np.float32]
    leads: tuple[str, ...]
    rate: float
    calibrated: bool
    damaged: tuple[str, ...]  # leads whose sum is not the header's
    regained: bool = False  # whether the header's gains were those of leads scaled one by one


def read_wfdb(path: str | Path, begin: float = 0.0, seconds: float | None = None) -> Record:
    """Read one WFDB recording as it is stored; channels that are none of the twelve leads are left out.

    Leads that the header says were stored with a delay are aligned, and what is not there of all of them is cut. Where
    a frame holds several samples of a lead, its sampling rate is that of the samples.

    Args:
        path: path of the header, or of the recording without suffix.
        begin: seconds that are left out at the begin.
        seconds: how many are read; None: all there are.

    Returns:
        The record, in millivolts, NaN where nothing was recorded; uncalibrated where the header's unit is ``NU`` or it
        gives no gain. A lead whose stored values do not have the header's checksum is a finding.

    Raises:
        RecordError: the header or the signal cannot be read, is cut off, names files outside its folder, gives a unit
            or storage format that is not known, or more than half a billion samples are wanted.
    """
    path = _header(Path(path).absolute())
    header = read_header(path)
    # Times are made of samples at times: rounding must not miss one.
    stop = math.inf if seconds is None else math.ceil((begin + seconds) * header.rate - 1e-6)
    first = math.floor(begin * header.rate + 1e-6)
    if header.segments:
        stored = _joined(path, header, first, stop)
        frames = header.frames or sum(count for _, count in header.segments)
    else:
        files = _files(path, header.channels)
        frames = _frames(header, files)
        stored = _stored(header, files, frames, first, stop)
    person = person_of(header.comments)
    return Record(
        signal=stored.signal,
        sampling_rate=stored.rate,
        leads=stored.leads,
        patient_id=person.patient_id,
        recorded_at=header.recorded_at,
        age=person.age,
        sex=person.sex,
        source="wfdb",
        calibrated=stored.calibrated,
        length=frames / header.rate,
        start=first / header.rate,
        findings=(
            *((f"checksum: {', '.join(stored.damaged)}",) if stored.damaged else ()),
            *(("scaled leads: the header scales each to a range of 1; all have one gain here",) * stored.regained),
        ),
    )


def _header(path: Path) -> Path:
    if path.suffix.lower() == ".hea":
        return path
    return next((file for suffix in (".hea", ".HEA") if (file := path.with_name(path.name + suffix)).is_file()), path)


def _files(header: Path, channels: Sequence[Channel]) -> dict[str, Path]:
    """Return the files that a header names, by name: each must lie in its folder, whatever the case of its letters."""
    files: dict[str, Path] = {}
    there: dict[str, Path] = {}
    for number, channel in enumerate(channels, 1):
        name = channel.file
        if name in files or name == "~":
            continue
        if name in (".", "..") or re.search(r"[/\\:\0]", name):
            raise RecordError("header", f"signal {number} is said to lie outside the folder of the header")
        file = header.with_name(name)
        if not file.exists():  # copies by way of DOS have their names in capitals, those by way of a Mac in pieces
            there = there or {_plain(other.name): other for other in header.parent.iterdir()}
            file = there.get(_plain(name), file)
        if not file.is_file():
            raise RecordError("missing signal", f"the file of signal {number} is not there")
        files[name] = file
    return files


def _plain(name: str) -> str:
    return unicodedata.normalize("NFC", name).casefold()


def _grouped(channels: Sequence[Channel]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for i, channel in enumerate(channels):
        if channel.file != "~":
            groups.setdefault(channel.file, []).append(i)
    return groups


def _frames(header: Header, files: Mapping[str, Path]) -> int:
    """Return the number of frames of a header's files, after comparing it with their sizes.

    Raises:
        RecordError: a file is too short, of a format that is not known, or holds a MATLAB variable.
    """
    most = []
    for name, inside in _grouped(header.channels).items():
        channels = [header.channels[i] for i in inside]
        storage = channels[0].storage
        if sum(channel.frame for channel in channels) > MAX_FRAME:
            raise RecordError("header", "gives a frame of too many samples")
        if any((channel.storage, channel.offset) != (storage, channels[0].offset) for channel in channels):
            raise RecordError("header", f"gives signals {inside[0] + 1} to {inside[-1] + 1} of a file two formats")
        if storage in FLAC:
            continue
        if storage not in STORAGES:
            raise RecordError("header", f"the storage format of signal {inside[0] + 1} is not known")
        _refuse_matlab(files[name])
        frames, size = frames_in(files[name], channels), files[name].stat().st_size
        if frames < (header.frames or 1):
            told = f"a file of {size} bytes holds {frames} frames, the header says {header.frames or 1}"
            raise RecordError("truncated signal", told)
        most.append(frames)
    if header.frames is None and not most:
        raise RecordError("header", "gives no number of samples, which a FLAC file does not tell")
    return header.frames or min(most)


def _refuse_matlab(file: Path) -> None:
    """Refuse what only MATLAB's format 4, whose variables are plain numbers after 24 bytes, has in common with WFDB."""
    with file.open("rb") as opened:
        head = opened.read(128)
    if head.startswith((b"MATLAB", b"\x89HDF")) or head[124:] in (b"\0\1IM", b"\1\0MI"):
        raise RecordError("unreadable", "the samples are in a MATLAB file of version 5 or later")


def _stored(header: Header, files: Mapping[str, Path], frames: int, begin: int, stop: float) -> _Stored:
    """Read the leads of a header that names files, from frame ``begin`` to before ``stop``.

    Raises:
        RecordError: there is no lead, or leads have two names, rates or units that are not known.
    """
    named = {i: lead_of(channel.name) for i, channel in enumerate(header.channels) if channel.file != "~"}
    leads = {i: name for i, name in named.items() if name is not None}
    if not leads:
        raise RecordError("missing lead", f"none of the {len(header.channels)} signals has the name of a lead")
    channels = [header.channels[i] for i in leads]
    if any(channel.unit not in _MILLIVOLTS for channel in channels):
        raise RecordError("unknown unit", "of a lead (known: nV, uV, mV, V, NU)")
    widths = {channel.frame for channel in channels}
    if len(widths) > 1:
        told = ", ".join(f"{header.rate * width:g}" for width in sorted(widths))
        raise RecordError("sampling rate", f"the leads have several: {told} Hz")
    width, skew = widths.pop(), max(channel.skew for channel in channels)
    end = int(min(stop, frames - skew))
    if begin >= end:
        raise RecordError("truncated signal", "no sample is there of all leads")
    if (end - begin + skew) * width * len(leads) > MAX_SAMPLES:
        raise RecordError("too long", f"{(end - begin) / header.rate / 3600:.0f} hours; read it in parts")
    signal = np.empty((len(leads), (end - begin) * width), np.float32)
    rows = {i: row for row, i in enumerate(leads)}
    damaged = []
    # A checksum of 0 in every line is what writers put that do not know better.
    states = any(channel.checksum for channel in header.channels)
    for name, inside in _grouped(header.channels).items():
        wanted = [n for n, i in enumerate(inside) if i in leads]
        if not wanted:
            continue
        here = [header.channels[i] for i in inside]
        if here[0].storage in FLAC:
            missing: int | None = FLAC[here[0].storage]
            samples = read_flac(files[name], here, wanted, begin, end + skew)
        else:
            missing = STORAGES[here[0].storage].missing
            samples = read_samples(files[name], here, wanted, begin, end + skew, frames)
        for k, n in enumerate(wanted):
            channel, values = here[n], samples.values[k]
            row = signal[rows[inside[n]]]
            values = values[channel.skew * width :][: len(row)]
            scale = _MILLIVOLTS[channel.unit] / (channel.gain or DEFAULT_GAIN)
            above = np.subtract(values, channel.baseline, dtype=np.float64)
            np.multiply(above, scale, out=row, casting="same_kind")
            if missing is not None:
                row[values == missing] = np.nan
            if states and samples.sums is not None and channel.checksum is not None:
                damaged += [leads[inside[n]]] if channel.checksum % 65536 != samples.sums[k] else []
    calibrated = all(channel.unit != "nu" and channel.gain is not None for channel in channels)
    names = tuple(leads.values())
    if regained := calibrated and _undo_scaling(signal, names, channels):
        calibrated = False
    return _Stored(signal, names, header.rate * width, calibrated, tuple(damaged), regained)


def _undo_scaling(signal: NDArray[np.float32], leads: tuple[str, ...], channels: Sequence[Channel]) -> bool:
    """Give all leads one gain where a header scales each to a range of 1, as that of LUDB does; say whether it does.

    It is one where each lead's gain is the range of its integers, and these obey Einthoven's law exactly, which leads
    of several gains cannot. What the gain is nobody says: a step counts as a microvolt, and the record as uncalibrated.
    """
    gains = np.array([channel.gain or DEFAULT_GAIN for channel in channels])[:, None]
    scales = np.array([_MILLIVOLTS[channel.unit] for channel in channels])[:, None]
    if len(set(gains.ravel())) == 1 or not {"I", "II", "III"} <= set(leads) or np.isnan(signal).any():
        return False
    if (np.abs(np.ptp(signal / scales, axis=1) - 1) > 1e-3).any():
        return False
    integers = np.rint(signal / scales * gains + np.array([[channel.baseline] for channel in channels]))
    one, two, three = (integers[leads.index(lead)] for lead in ("I", "II", "III"))
    if np.abs(three - (two - one)).max() > 1:
        return False
    signal[:] = integers / 1000
    return True


def _joined(path: Path, header: Header, begin: int, stop: float) -> _Stored:
    """Read the segments of a recording one after the other; what a segment lacks of a lead was not recorded.

    Raises:
        RecordError: a segment is not there, of segments itself, or of another rate.
    """
    parts: list[tuple[int, _Stored]] = []
    at = total = 0
    for number, (name, frames) in enumerate(header.segments, 1):
        start, at = at, at + frames
        if name == "~" or not frames or at <= begin or start >= stop:
            continue
        if re.search(r"[/\\:\0]", name):
            raise RecordError("header", f"segment {number} is said to lie outside the folder of the header")
        file = path.with_name(f"{name}.hea")
        segment = read_header(file)
        if segment.segments or segment.rate != header.rate or (segment.frames or frames) != frames:
            raise RecordError("header", f"segment {number} is not what the header says")
        low, high = max(0, begin - start), int(min(frames, stop - start))
        files = _files(file, segment.channels)
        if not any(lead_of(channel.name) for channel in segment.channels if channel.file != "~"):
            continue  # of a monitor that recorded pressures alone for a while
        if _frames(segment, files) < frames:
            raise RecordError("truncated signal", f"segment {number} is shorter than the header says")
        part = _stored(segment, files, frames, low, high)
        total += part.signal.size
        if total > MAX_SAMPLES:
            raise RecordError("too long", "read it in parts")
        parts.append((start + low - begin, part))
    if not parts:
        raise RecordError("missing lead", "no segment has one")
    rate = parts[0][1].rate
    if any(part.rate != rate for _, part in parts):
        raise RecordError("sampling rate", "the segments have several")
    width = round(rate / header.rate)
    leads = tuple(dict.fromkeys(lead for _, part in parts for lead in part.leads))
    count = int(min(stop, at) - begin) * width
    if count * len(leads) > MAX_SAMPLES:
        raise RecordError("too long", f"{count / rate / 3600:.0f} hours; read it in parts")
    signal = np.full((len(leads), count), np.nan, np.float32)
    for frame, part in parts:
        rows = [leads.index(lead) for lead in part.leads]
        signal[rows, frame * width : frame * width + part.signal.shape[1]] = part.signal
    damaged = tuple(lead for lead in leads if any(lead in part.damaged for _, part in parts))
    regained = any(part.regained for _, part in parts)
    return _Stored(signal, leads, rate, all(part.calibrated for _, part in parts), damaged, regained)


def _sniff(path: Path, head: bytes) -> bool:
    return path.suffix.lower() == ".hea" and is_header(head)


def _read(path: Path) -> Iterator[Record]:
    yield read_wfdb(path)


def _read_part(path: Path, begin: float, seconds: float) -> Iterator[Record]:
    yield read_wfdb(path, begin, seconds)


def _companions(path: Path) -> Iterator[str]:
    yield from (f"{path.stem}.{suffix}" for suffix in _BESIDE)
    with suppress(RecordError):
        yield from file_names(path)[0]


def _parts(path: Path) -> Iterator[str]:
    """Name the headers of segments; one that is of segments itself is a recording, so that no two hide each other."""
    with suppress(RecordError):
        for name in file_names(path)[1]:
            with suppress(RecordError):
                if not read_header(path.with_name(name)).segments:
                    yield name


register("wfdb", Reader(_sniff, _read, _companions, read_part=_read_part, parts=_parts))
