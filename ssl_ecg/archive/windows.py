"""Long recordings cut into windows, read piece by piece, so that a day costs the memory of minutes."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import pandas as pd
from annotated_types import Gt

from ssl_ecg.records import Reader, Record, Rejected, without_ends

Windows = Literal["first", "all"] | Annotated[int, Gt(0)]
"""How many windows are cut from a recording, from its begin on."""

SPAN = ("begin", "end")
"""Columns of a label table that is about parts of recordings, in seconds."""

MAX_PADDING = 60.0  # seconds that may be cut at the begin of a recording of which only a part is read
PIECE = 600.0  # seconds of a recording in memory at once

_NAMED = re.compile(r"@[\d.]+s$")


class Window(NamedTuple):
    """A part of a recording that is as long as a signal of the archive, or its shorter end.

    Attributes:
        record: the part; ``record.start`` says where it begins.
        name: what tells it from the recording's other windows, such as ``"@10s"``; empty where it is the only one.
        first: whether it is the recording's first, which has the recording's own id in the archive.
    """

    record: Record
    name: str
    first: bool


def how_many(windows: Windows) -> float:
    """Return the largest number of windows of a recording.

    Raises:
        ValueError: it is none.
    """
    if windows in ("first", "all"):
        return 1 if windows == "first" else math.inf
    if isinstance(windows, str) or windows != int(windows) or windows < 1:
        raise ValueError(f"windows={windows!r}: is no number of windows; give first, all, or 1 or more")
    return int(windows)


def split_name(name: str) -> tuple[str, str]:
    """Split the name of a record, or of its file, from that of the window: ``"r7@10s"`` is ``("r7", "@10s")``."""
    found = _NAMED.search(name)
    return (name[: found.start()], found[0]) if found else (name, "")


def of_windows(spans: pd.DataFrame, manifest: pd.DataFrame, sampling_rate: float) -> pd.DataFrame:
    """Return labels of windows from what was when in their recordings.

    Args:
        spans: ``record_id`` of the recording, ``begin`` and ``end`` in its seconds, and a column of 1 or 0 a class.
        manifest: of the archive; windows of other recordings are left out.
        sampling_rate: of the archive, in Hz.

    Returns:
        A row for each window of which something is known: ``record_id``, and 1 for each class that was there at any
        time of it, else 0.
    """
    known = set(spans["record_id"])
    windows = pd.DataFrame(
        {
            "window": manifest["record_id"],
            "record_id": [name if name in known else split_name(name)[0] for name in manifest["record_id"]],
            "from": manifest["start"],
            "to": manifest["start"] + manifest["recorded"] / sampling_rate,
        }
    )
    pairs = windows.merge(spans, on="record_id")
    pairs = pairs[(pairs["begin"] < pairs["to"]) & (pairs["end"] > pairs["from"])]
    classes = [name for name in spans if name not in ("record_id", *SPAN)]
    return pairs.groupby("window", sort=False)[classes].max().rename_axis("record_id").reset_index()


def windows_of(reader: Reader, path: Path, seconds: float, least: float, most: float) -> Iterator[Window | Rejected]:
    """Yield the windows of each recording of a file, one after the other; padding and pulses at its ends are cut.

    Args:
        reader: of the file; where it has ``read_part``, only a piece of the file is in memory at any time.
        path: the file.
        seconds: of a window.
        least: seconds of a recording's last window; a shorter rest is left out.
        most: how many windows of a recording at most.
    """
    if reader.read_part is None:
        records = reader.read(path)
    else:
        records = reader.read_part(path, 0.0, max(2 * seconds + MAX_PADDING, PIECE if most > 1 else 0.0))
    for record in records:
        if isinstance(record, Rejected):
            yield record
        else:
            yield from _windows(reader, path, record, seconds, least, most)


def _windows(
    reader: Reader, path: Path, piece: Record, seconds: float, least: float, most: float
) -> Iterator[Window | Rejected]:
    """Yield the windows of a recording, of which ``piece`` is the begin, or all."""
    length, said = piece.length or piece.duration, piece.findings
    count, at_begin = 0, True
    while True:
        end = piece.start + piece.duration
        last = length - end < least
        cut = without_ends(piece, at_begin=at_begin, at_end=last)
        windows = list(_cut(cut, seconds, least if last else seconds))
        alone = at_begin and last and len(windows) == 1
        for n, window in enumerate(windows):
            if count == most:
                return
            ends = ("begin",) * (count == 0) + ("end",) * (last and n == len(windows) - 1)
            findings = said + tuple(cut_off for cut_off in cut.findings[len(said) :] if cut_off.endswith(ends))
            name = "" if alone or most == 1 else f"@{round(window.start, 3):.10g}s"
            yield Window(replace(window, findings=findings), name, first=count == 0)
            count += 1
        if last or count == most or reader.read_part is None:
            return
        begin = cut.start + len(windows) * seconds
        wanted = max(1, PIECE // seconds) * seconds
        if length - (begin + wanted) < least:
            wanted = length - begin
        pieces = (r for r in reader.read_part(path, begin, wanted) if isinstance(r, Record))
        piece = replace(next(r for r in pieces if r.record_id == piece.record_id), findings=said)
        at_begin = False


def _cut(record: Record, seconds: float, least: float) -> Iterator[Record]:
    """Yield what is whole of a record, and its end if it is long enough; at least one, however short."""
    size = seconds * record.sampling_rate
    begin, n = 0, 0
    while n == 0 or record.signal.shape[1] - begin >= least * record.sampling_rate - 1e-6:
        yield record.part(begin, begin + math.ceil(size - 1e-6))
        n += 1
        begin = round(n * size)
