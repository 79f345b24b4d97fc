"""Which reader reads which file: a new format is one reader and one line here."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from ssl_ecg.records.record import Record, RecordError
from ssl_ecg.records.wfdb import read_wfdb

READERS: dict[str, Callable[[Path], Record]] = {".hea": read_wfdb}


def read_record(path: Path) -> Record:
    """Read a recording with the reader that its suffix asks for.

    Raises:
        RecordError: If no reader knows the suffix, or the recording cannot be used.
    """
    if path.suffix not in READERS:
        raise RecordError("unknown format", f"{path.suffix!r}, known are {', '.join(READERS)}")
    return READERS[path.suffix](path)
