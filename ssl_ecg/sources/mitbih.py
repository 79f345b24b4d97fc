"""Rhythms of the MIT-BIH arrhythmia database (Moody & Mark, IEEE EMB Magazine 2001) and others annotated like it.

A folder of WFDB records with a file ``.atr`` beside each, in which a rhythm stands where it begins, such as ``(AFIB``.
The label table says from when to when each was there; ingest turns that into labels of the windows it cut
(``windows=all``). Two leads: ``leads=[II,V1] lead_names={MLII: II}``, and ``partial_leads=true`` where others differ.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from contextlib import suppress
from pathlib import Path

import numpy as np
import pandas as pd

from ssl_ecg.records import RecordError
from ssl_ecg.records.wfdb_header import read_header
from ssl_ecg.sources.source import Source, SourceError, register

MAX_BYTES = 50_000_000
RHYTHM = 28  # the code of a change of rhythm; https://physionet.org/physiotools/wag/annot-5.htm

_SKIP, _AUX = 59, 63
_NAME = re.compile(r"\((?P<name>[A-Z][A-Z0-9]{0,9})")


def detect(folder: Path, files: Collection[str]) -> bool:
    """Tell whether a record of the folder has annotations with a rhythm."""
    for name in _annotated(files):
        with suppress(ValueError):
            if next(_rhythms(folder / f"{name}.atr"), None) is not None:
                return True
    return False


def labels(folder: Path) -> dict[str, pd.DataFrame]:
    """Make the label table ``"mitbih_rhythm"``: ``record_id``, ``begin`` and ``end`` (seconds), 1 or 0 for each rhythm.

    The end of a record's last rhythm is infinite.

    Raises:
        SourceError: after all others were read, a header or the annotations of a record cannot be.
    """
    rows: list[tuple[str, float, float, str]] = []
    broken = []
    for name in _annotated(path.name for path in folder.iterdir()):
        try:
            rate = read_header(folder / f"{name}.hea").rate
            found = list(_rhythms(folder / f"{name}.atr"))
        except (RecordError, ValueError):
            broken.append(f"{name}.atr")
            continue
        ends = [at for at, _ in found[1:]] + [np.inf]
        rows += [(name, at / rate, end / rate, rhythm) for (at, rhythm), end in zip(found, ends, strict=True)]
    classes = sorted({rhythm for *_, rhythm in rows})
    table = pd.DataFrame(
        [[*row[:3], *(int(name == row[3]) for name in classes)] for row in rows],
        columns=["record_id", "begin", "end", *classes],
    )
    made = {"mitbih_rhythm": table} if rows else {}
    if broken:
        raise SourceError(broken[0], f"its annotations cannot be read ({len(broken)} such files)", made)
    return made


def _annotated(files: Collection[str] | Iterator[str]) -> list[str]:
    there = set(files)
    names = (file.removesuffix(".atr") for file in there if file.endswith(".atr"))
    return sorted(name for name in names if f"{name}.hea" in there)


def _rhythms(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the sample at which each rhythm begins, and its name.

    An annotation is 16 bits, a code in the upper 6 and the samples since the last one in the lower 10. Code 59 is
    followed by a longer distance, 63 by a text about the annotation before.

    Raises:
        ValueError: the file ends inside of an annotation, or is too large.
    """
    if not path.is_file() or path.stat().st_size > MAX_BYTES:
        raise ValueError("no file of annotations")
    content = path.read_bytes()
    at, code, place = 0, 0, 0
    while place + 2 <= len(content):
        word = int.from_bytes(content[place : place + 2], "little")
        place += 2
        kind, low = word >> 10, word & 1023
        if word == 0:
            return
        if kind == _SKIP:
            high, low_part = (int.from_bytes(content[place + i : place + i + 2], "little") for i in (0, 2))
            at += (high << 16 | low_part) - (1 << 32 if high & 0x8000 else 0)
            place += 4
        elif kind == _AUX:
            text, place = content[place : place + low].decode("latin-1"), place + low + low % 2
            if code == RHYTHM and (found := _NAME.match(text)):
                yield at, found["name"]
        elif kind < _SKIP:
            at, code = at + low, kind
    if place > len(content):
        raise ValueError("ends inside of an annotation")


register("mitbih", Source(detect, labels=labels))
