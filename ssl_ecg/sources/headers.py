"""Diagnoses in the headers of WFDB records, as the PhysioNet challenges write them: ``#Dx: 164889003,59118001``."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

_MAX_HEADER_BYTES = 100_000
_DIAGNOSES = re.compile(rb"^#[ \t]*dx[ \t]*:[ \t]*([^\r\n]*)", re.IGNORECASE | re.MULTILINE)


def recordings(files: Iterable[str]) -> list[str]:
    """Return the names, without suffix, of the headers that have their signal in a ``.mat`` file beside them."""
    there = set(files)
    names = (file.removesuffix(".hea") for file in there if file.endswith(".hea"))
    return sorted(name for name in names if f"{name}.mat" in there)


def diagnoses(header: Path) -> frozenset[str]:
    """Return the words of a header's diagnosis lines; none where it cannot be read."""
    try:
        if not header.is_file():
            return frozenset()
        with header.open("rb") as file:
            content = file.read(_MAX_HEADER_BYTES)
    except OSError:
        return frozenset()
    lines = [line.decode("utf-8", "replace") for line in _DIAGNOSES.findall(content)]
    return frozenset(word.strip() for line in lines for word in line.split(",") if word.strip())
