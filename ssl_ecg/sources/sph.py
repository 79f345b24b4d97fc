"""Shandong Provincial Hospital (Liu et al., Scientific Data 2022): AHA statements of 25,770 ECGs of 24,666 patients.

The layout of its publication: ``metadata.csv`` and an HDF5 file for each record, in ``records/`` or beside the table.
A YAML file beside the table says the unit (``ssl_ecg.records.described``); whose the records are, the reader takes from
the table.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import pandas as pd

from ssl_ecg.records.described import descriptions
from ssl_ecg.sources.source import Faults, Source, read_csv, register

TABLE = "metadata.csv"
COLUMNS = ("ECG_ID", "AHA_Code")

_NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
_CODE = re.compile(r"[0-9]{1,4}(\+[0-9]{1,4})*")


def detect(folder: Path, files: Collection[str]) -> bool:
    """Tell whether a folder has the table."""
    if TABLE not in files:
        return False
    with (folder / TABLE).open("rb") as file:
        return {*COLUMNS} <= set(file.readline(2000).decode("latin-1").lstrip("\ufeff").strip().split(","))


def labels(folder: Path) -> dict[str, pd.DataFrame]:
    """Make the label table ``"sph"``: a row per record, and 1 or 0 for each primary statement, such as ``aha_50``.

    Modifiers (``50+346``) are left out. The publisher's ``code.csv`` says what the codes mean.

    Raises:
        SourceError: the table lacks a column, or, after all others were read, a cell holds no codes.
    """
    described = descriptions(folder)
    codes, faults = {}, Faults(TABLE)
    for line, row in enumerate(read_csv(folder, TABLE, COLUMNS).to_dict("records"), start=2):
        name, said = row["ECG_ID"].strip(), [part.strip() for part in row["AHA_Code"].split(";") if part.strip()]
        if not (_NAME.fullmatch(name) and all(_CODE.fullmatch(part) for part in said)):
            faults.note(line, "AHA_Code", "must be codes such as 22;50+346, and ECG_ID a name")
        elif said:
            codes[_record_id(folder, described, name)] = {int(part.partition("+")[0]) for part in said}
    classes = sorted(set().union(*codes.values()))
    rows = [[record_id, *(int(code in own) for code in classes)] for record_id, own in codes.items()]
    made = {"sph": pd.DataFrame(rows, columns=["record_id", *(f"aha_{code}" for code in classes)])} if rows else {}
    faults.tell(made)
    return made


def _record_id(folder: Path, described: dict[str, str], name: str) -> str:
    """Return what ingest calls a record: by the description that names its file."""
    file = f"records/{name}" if (folder / "records" / f"{name}.h5").is_file() else name
    for description, array in described.items():
        if fnmatch(f"{file}.h5", array):
            stem = PurePosixPath(description).stem
            return stem if f"{file}.h5" == array else f"{stem}#{file}"
    return file


register("sph", Source(detect, labels=labels, tables=(TABLE, "code.csv")))
