"""The PhysioNet/CinC challenges of 2020 and 2021: SNOMED CT codes from the diagnosis lines of the headers.

CPSC-Extra, Georgia, Chapman-Shaoxing, Ningbo, PTB, PTB-XL and St Petersburg as the challenges publish them (Perez Alday
et al., Physiological Measurement 2020; Reyna et al., CinC 2021): folders, at any depth, of ``.hea`` and ``.mat`` files
with a line such as ``#Dx: 164889003,59118001``. Their patients are not told apart.

The classes are those that the challenge of 2021 scores; pairs of codes that it scores as one are one class. Columns
are named by abbreviation and codes, such as ``AF|164889003``, so that ``task.challenge_weights`` finds the rewards of
either year's ``weights.csv`` by code.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from pathlib import Path

import pandas as pd

from ssl_ecg.sources.headers import diagnoses, recordings
from ssl_ecg.sources.source import Source, register

SCORED = {
    "AF": ("164889003",),
    "AFL": ("164890007",),
    "BBB": ("6374002",),
    "Brady": ("426627000",),
    "LBBB": ("733534002", "164909002"),
    "RBBB": ("713427006", "59118001"),
    "IAVB": ("270492004",),
    "IRBBB": ("713426002",),
    "LAD": ("39732003",),
    "LAnFB": ("445118002",),
    "LPR": ("164947007",),
    "LQRSV": ("251146004",),
    "LQT": ("111975006",),
    "NSIVCB": ("698252002",),
    "NSR": ("426783006",),
    "PAC": ("284470004", "63593006"),
    "PR": ("10370003",),
    "PRWP": ("365413008",),
    "PVC": ("427172004", "17338001"),
    "QAb": ("164917005",),
    "RAD": ("47665007",),
    "SA": ("427393009",),
    "SB": ("426177001",),
    "STach": ("427084000",),
    "TAb": ("164934002",),
    "TInv": ("59931005",),
}
"""abbreviation to the SNOMED CT codes that count as one, from the challenge's table of scored diagnoses"""

CLASSES = tuple("|".join((name, *codes)) for name, codes in SCORED.items())

log = logging.getLogger(__name__)


def detect(folder: Path, files: Iterable[str]) -> bool:
    """Tell whether a header of the folder names diagnoses by codes."""
    return any(_codes(diagnoses(folder / f"{name}.hea")) for name in recordings(files))


def labels(folder: Path) -> dict[str, pd.DataFrame]:
    """Make the label table of a folder.

    Returns:
        ``"cinc2021"``: one row per record with a diagnosis line of codes, with ``record_id`` and 1 or 0 for each scored
        class; a code that is not scored names none. The others are left out, and their number is logged.
    """
    found = {
        name: _codes(diagnoses(folder / f"{name}.hea")) for name in recordings(path.name for path in folder.iterdir())
    }
    if others := [name for name, codes in found.items() if not codes]:
        log.warning("%s: no labels for %d records without a code: %s", folder, len(others), ", ".join(others[:5]))
    rows = [
        [name, *(int(not codes.isdisjoint(scored)) for scored in SCORED.values())]
        for name, codes in found.items()
        if codes
    ]
    return {"cinc2021": pd.DataFrame(rows, columns=["record_id", *CLASSES])}


def _codes(words: frozenset[str]) -> frozenset[str]:
    """Return the words that are codes of SNOMED CT: six to eighteen digits."""
    return frozenset(word for word in words if word.isdecimal() and word.isascii() and 6 <= len(word) <= 18)


register("cinc2021", Source(detect, labels=labels))
