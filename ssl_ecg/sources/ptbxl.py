"""PTB-XL (Wagner et al., Scientific Data 2020): patients, age, sex and the label tables of its six benchmark tasks.

The tasks are those of Strodthoff et al., "Deep Learning for ECG Analysis: Benchmarks and Insights from PTB-XL", 2020:
likelihoods of statements are ignored, and a record without a statement of the task does not belong to it.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

DATABASE = "ptbxl_database.csv"
STATEMENTS = "scp_statements.csv"
TASKS = ("all", "diagnostic", "subdiagnostic", "superdiagnostic", "form", "rhythm")

_OVER_89 = 300  # what the publishers wrote for an age over 89, for anonymity
_SEX = {"0": "male", "1": "female"}


@dataclass(frozen=True)
class PTBXLRecord:
    """A row of the database: path relative to its folder without suffix, patient, years, fold, SCP-ECG statements."""

    path: str
    patient_id: str | None
    age: float | None
    sex: str | None
    fold: int
    codes: frozenset[str]


@dataclass(frozen=True)
class PTBXL:
    """A folder in the layout of PTB-XL.

    Attributes:
        folder: The folder that holds ``ptbxl_database.csv``, ``scp_statements.csv`` and the recordings.
        records: The rows of the database.
    """

    folder: Path
    records: tuple[PTBXLRecord, ...]

    @classmethod
    def read(cls, folder: Path, sampling_rate: float = 100.0) -> PTBXL:
        """Read the database.

        Args:
            folder: Folder that holds ``ptbxl_database.csv``.
            sampling_rate: Wanted rate in Hz: above 100 the 500 Hz recording is taken wherever it is there.

        Raises:
            ValueError: If the table lacks a column or holds statements that are no Python dict of codes.
        """
        path = folder / DATABASE
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
        needed = {"patient_id", "age", "sex", "scp_codes", "strat_fold", "filename_lr"}
        if missing := sorted(needed - set(table.columns)):
            raise ValueError(f"{path} lacks the columns {', '.join(missing)}")
        records = []
        for line, row in enumerate(table.to_dict("records"), start=2):
            file = row["filename_lr"]
            if sampling_rate > 100 and (better := row.get("filename_hr")) and (folder / f"{better}.hea").is_file():
                file = better
            age = float(row["age"]) if row["age"] else None
            records.append(
                PTBXLRecord(
                    path=file.removesuffix(".hea"),
                    patient_id=row["patient_id"].removesuffix(".0") or None,
                    age=90.0 if age == _OVER_89 else age,
                    sex=_SEX.get(row["sex"]),
                    fold=int(row["strat_fold"]),
                    codes=_codes(row["scp_codes"], f"{path}, line {line}"),
                )
            )
        return cls(folder, tuple(records))

    def label_table(self, task: str, prefix: str = "") -> pd.DataFrame:
        """Make the label table of one task.

        Args:
            task: One of ``TASKS``.
            prefix: Put before each path to make its record id, such as ``"ptbxl/"``.

        Returns:
            A row a record that belongs to the task: ``record_id``, ``fold``, and 1 or 0 for each class. The classes are
            all that ``scp_statements.csv`` gives for the task, by name, whether they occur or not.

        Raises:
            ValueError: If ``task`` is unknown.
        """
        label_of = self._label_of(task)
        classes = sorted(set(label_of.values()))
        rows = []
        for record in self.records:
            if present := {label_of[code] for code in record.codes if code in label_of}:
                rows.append([prefix + record.path, record.fold, *(int(name in present) for name in classes)])
        return pd.DataFrame(rows, columns=["record_id", "fold", *classes])

    def label_tables(self, prefix: str = "") -> dict[str, pd.DataFrame]:
        """Make the label tables of all tasks, ``"ptbxl_all"`` and so on; see ``label_table``."""
        return {f"ptbxl_{task}": self.label_table(task, prefix) for task in TASKS}

    def _label_of(self, task: str) -> dict[str, str]:
        """Return the class of each SCP-ECG code that belongs to a task."""
        if task not in TASKS:
            raise ValueError(f"task must be one of {', '.join(TASKS)}, got {task!r}")
        statements = pd.read_csv(self.folder / STATEMENTS, index_col=0)
        if task == "all":
            return {code: code for code in statements.index}
        kind = "diagnostic" if task.endswith("diagnostic") else task
        column = {"subdiagnostic": "diagnostic_subclass", "superdiagnostic": "diagnostic_class"}.get(task)
        statements = statements[statements[kind] == 1]
        return dict(zip(statements.index, statements.index if column is None else statements[column]))


def _codes(text: str, where: str) -> frozenset[str]:
    try:
        # The bound keeps a hostile table from exhausting the parser's stack.
        codes = ast.literal_eval(text) if len(text) < 10_000 else None
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        codes = None
    if not isinstance(codes, dict):
        raise ValueError(f"{where}: scp_codes must be a dict of codes, got {text[:60]!r}")
    return frozenset(str(code) for code in codes)
