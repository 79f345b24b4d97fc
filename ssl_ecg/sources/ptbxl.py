"""PTB-XL (Wagner et al., Scientific Data 2020): patients, age, sex and the label tables of its six benchmark tasks.

The tasks are those of Strodthoff et al., "Deep Learning for ECG Analysis: Benchmarks and Insights from PTB-XL", 2020:
likelihoods of statements are ignored, and a record without a statement of the task does not belong to it.
"""

from __future__ import annotations

import ast
import math
from collections.abc import Collection, Iterator
from pathlib import Path

import pandas as pd

from ssl_ecg.sources.source import Entry, Faults, Source, read_csv, register

DATABASE = "ptbxl_database.csv"
STATEMENTS = "scp_statements.csv"
TASKS = ("all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm")

_OVER_89 = 300  # what the publishers wrote for an age over 89, for anonymity
_SEX = {"0": "male", "1": "female", "male": "male", "female": "female", "m": "male", "f": "female"}


def detect(folder: Path, files: Collection[str]) -> bool:
    """Tell whether a folder holds the database."""
    return DATABASE in files


def records(folder: Path) -> Iterator[Entry]:
    """List the recordings of the database: those of 100 Hz, or of 500 Hz where more is wanted and they are there.

    Raises:
        SourceError: the table lacks a column, or, after all recordings, some cells say nothing that can be used; it
            names the first. What they would have said is unknown.
    """
    table, faults = read_csv(folder, DATABASE, ("patient_id", "age", "sex", "filename_lr")), Faults(DATABASE)
    for line, row in enumerate(table.to_dict("records"), start=2):
        if not row["filename_lr"]:
            faults.note(line, "filename_lr", "is blank")
            continue
        low, high = _header(row["filename_lr"]), _header(row.get("filename_hr") or row["filename_lr"])
        sex = row["sex"].strip().lower().removesuffix(".0")
        if sex and sex not in _SEX:
            faults.note(line, "sex", "must be 0 for male or 1 for female")
        yield Entry(
            path=low,
            patient_id=row["patient_id"].removesuffix(".0") or None,
            age=_age(row["age"], line, faults),
            sex=_SEX.get(sex),
            rates={100: low, 500: high},
        )
    faults.tell()


def _age(text: str, line: int, faults: Faults) -> float | None:
    try:
        age = float(text or "nan")
    except ValueError:
        age = -1.0
    if age == _OVER_89:
        return 90.0
    if not (math.isnan(age) or 0 <= age <= 120):
        faults.note(line, "age", "must be a number of years")
        return None
    return None if math.isnan(age) else age


def _header(name: str) -> str:
    return f"{name.removesuffix('.hea')}.hea"


def labels(folder: Path) -> dict[str, pd.DataFrame]:
    """Make the label tables of all tasks, ``"ptbxl_all"`` and so on.

    Returns:
        For each task one row per record that belongs to it: ``record_id``, ``fold``, and 1 or 0 for each class. The
        classes are all that ``scp_statements.csv`` gives for the task, by name, whether they occur or not.

    Raises:
        SourceError: a table lacks a column; or, with the tables of all other records, one has no fold, or statements
            that are no Python dict of codes.
    """
    table = read_csv(folder, DATABASE, ("scp_codes", "strat_fold", "filename_lr"))
    columns = ("diagnostic", "form", "rhythm", "diagnostic_class", "diagnostic_subclass")
    statements = read_csv(folder, STATEMENTS, columns, use="says which classes make the labels")
    statements = statements.set_index(statements.columns[0])
    rows, faults = [], Faults(DATABASE)
    for line, row in enumerate(table.to_dict("records"), start=2):
        fold, codes = row["strat_fold"].strip().removesuffix(".0"), _codes(row["scp_codes"])
        if not (fold.isdecimal() and fold.isascii() and len(fold) < 10):
            faults.note(line, "strat_fold", "must be a number")
        elif codes is None:
            faults.note(line, "scp_codes", "must be a dict of codes")
        else:
            rows.append((row["filename_lr"].removesuffix(".hea"), int(fold), codes))
    made = {f"ptbxl_{task}": _task_table(rows, _label_of(statements, task)) for task in TASKS}
    faults.tell(made)
    return made


def _task_table(records: list[tuple[str, int, frozenset[str]]], label_of: dict[str, str]) -> pd.DataFrame:
    """Make the table of one task from path, fold and codes of all records, and the class of each code of the task."""
    classes = sorted(set(label_of.values()))
    rows = []
    for path, fold, codes in records:
        if present := {label_of[code] for code in codes if code in label_of}:
            rows.append([path, fold, *(int(name in present) for name in classes)])
    return pd.DataFrame(rows, columns=["record_id", "fold", *classes])


def _label_of(statements: pd.DataFrame, task: str) -> dict[str, str]:
    """Return the class of each SCP-ECG code that belongs to a task."""
    if task == "all":
        return {code: code for code in statements.index}
    kind = "diagnostic" if task.endswith("diagnostic") else task
    column = {"subdiagnostic": "diagnostic_subclass", "superdiagnostic": "diagnostic_class"}.get(task)
    statements = statements[pd.to_numeric(statements[kind], errors="coerce") == 1]
    return dict(zip(statements.index, statements.index if column is None else statements[column]))


def _codes(text: str) -> frozenset[str] | None:
    """Return the codes of a cell, None where it holds no dict."""
    try:
        # The bound keeps a hostile table from exhausting the parser's stack.
        codes = ast.literal_eval(text) if len(text) < 10_000 else None
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        codes = None
    return frozenset(str(code) for code in codes) if isinstance(codes, dict) else None


register("ptbxl", Source(detect, records, labels, (DATABASE, STATEMENTS)))
