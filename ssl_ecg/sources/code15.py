"""CODE-15 % (Ribeiro et al., Zenodo 2021): six abnormalities, death and follow-up of 345,779 ECGs of 233,770 patients.

The layout of its publication: ``exams.csv`` beside ``exams_part*.hdf5``, of which a row's ``trace_file`` and
``exam_id`` name the recording. The signals have no unit: a YAML file beside them says it
(``ssl_ecg.records.described``).
"""

from __future__ import annotations

from collections.abc import Iterable
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pandas as pd

from ssl_ecg.records.described import descriptions
from ssl_ecg.sources.source import Source, SourceError, read_csv, register

TABLE = "exams.csv"
CLASSES = ("1dAVb", "RBBB", "LBBB", "SB", "ST", "AF")
COLUMNS = ("exam_id", "trace_file", *CLASSES)
_KNOWN = {"true": 1, "1": 1, "false": 0, "0": 0, "": None}


def detect(folder: Path, files: Iterable[str]) -> bool:
    """Tell whether a folder has the table."""
    if TABLE not in set(files):
        return False
    with (folder / TABLE).open("rb") as file:
        return {*COLUMNS} <= set(file.readline(2000).decode("latin-1").strip().split(","))


def labels(folder: Path) -> dict[str, pd.DataFrame]:
    """Make the label table ``"code15"``: one row per exam, 1, 0 or blank for each of the six abnormalities."""
    table = read_csv(folder, TABLE, COLUMNS)
    beginning = {name: _beginning(folder, name) for name in table["trace_file"].unique()}
    found = pd.DataFrame({"record_id": table["trace_file"].map(beginning) + table["exam_id"]})
    for name in CLASSES:
        words = table[name].str.strip().str.lower()
        if strange := sorted(set(words) - _KNOWN.keys()):
            line = words.isin(strange).to_numpy().argmax() + 2
            raise SourceError(TABLE, f"line {line}: {name} is neither true nor false")
        found[name] = words.map(_KNOWN).astype("Int64")
    return {"code15": found}


def _beginning(folder: Path, file: str) -> str:
    """Return what the ids of a file's records begin with: the name of its description, which may be that of many."""
    for description, array in descriptions(folder).items():
        if fnmatch(file, array):
            inner = "" if file == array else f"{PurePosixPath(file).with_suffix('')}/"
            return f"{PurePosixPath(description).stem}#{inner}"
    return f"{PurePosixPath(file).stem}#"


register("code15", Source(detect, labels=labels, tables=(TABLE,)))
