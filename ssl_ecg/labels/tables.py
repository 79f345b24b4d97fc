"""Label tables: what is known of which records, where 1 is yes, 0 is no and a blank is not known."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.archive.archive import Archive
from ssl_ecg.labels.record_ids import did_you_mean, ids_in, rejected_ids
from ssl_ecg.labels.table_files import read_table

NO_CLASSES = ("record_id", "fold", "simulated")

log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class LabelTable:
    """Labels of n records of an archive.

    Attributes:
        targets: float32 [n, C]: 1 yes, 0 no, NaN not known; or, for a task with columns of its own, any numbers.
        classes: names of the C columns.
        rows: int64 [n], row of each record in the archive.
        patient: int64 [n], patient of each record, numbered as in the archive.
        patient_id: object [n], the archive's ids of the patients.
        fold: int64 [n], or None where the table has no column ``fold``.
        status: float32 [n, K], 1, 0 or NaN: what to stratify by where the targets are not labels; None where they are.
        status_names: names of its K columns.
        recorded_at: datetime64 [n], NaT where the archive does not know when, or None.
        simulated: whether the table says, in a column ``simulated``, that what it holds was made up.
        patients_unknown: number of records whose patient is unknown; each counts as a patient of its own.
    """

    targets: NDArray[np.float32]
    classes: tuple[str, ...]
    rows: NDArray[np.int64]
    patient: NDArray[np.int64]
    patient_id: NDArray[np.object_]
    fold: NDArray[np.int64] | None = None
    status: NDArray[np.float32] | None = None
    status_names: tuple[str, ...] = ()
    recorded_at: NDArray[np.datetime64] | None = None
    simulated: bool = False
    patients_unknown: int = 0

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def outcome(self) -> NDArray[np.float32]:
        """Binary outcomes [n, K], 1, 0 or NaN, by which patients are stratified and splits are checked."""
        return self.targets if self.status is None else self.status

    @property
    def outcomes(self) -> tuple[str, ...]:
        """Names of the K outcomes."""
        return self.classes if self.status is None else self.status_names


def read_labels(
    table: str | Path | pd.DataFrame,
    archive: Archive,
    classes: Sequence[str] | None = None,
    unknown: str = "error",
    numbers: bool = False,
    others: Sequence[str] = (),
) -> LabelTable:
    """Read a label table and find its records in an archive.

    Records that the ingest rejected are left out, and their number is logged.

    Args:
        table: CSV, Parquet or Excel file, or a table: a column ``record_id`` (written as in the archive, or so that it
            can mean one record only, see ``ids_in``), optionally ``fold`` and ``simulated``, and one column per class
            with 1, 0 or blank.
        archive: holds the records.
        classes: columns to take, in this order; by default all but ``others`` and the columns named above.
        unknown: what to do with record ids that the ingest never saw: "error", or "skip" to leave them out.
        numbers: take any numbers, not only 1 and 0. Of the columns ``age`` and ``sex`` those that the table lacks come
            from the archive's manifest; "female" counts as 0 and "male" as 1.
        others: columns that are no classes unless ``classes`` names them.

    Returns:
        The labels, in the order of the table.

    Raises:
        FileNotFoundError: the file is not there.
        ValueError: a column is missing, a value is not 1, 0 or blank, a record id stands there twice or is unknown, or
            no record is left.
    """
    if unknown not in ("error", "skip"):
        raise ValueError(f"unknown={unknown!r}: there is no such way; choose 'error' or 'skip'")
    name = "the label table" if isinstance(table, pd.DataFrame) else str(table)
    frame = table if isinstance(table, pd.DataFrame) else read_table(Path(table))
    if "record_id" not in frame:
        raise ValueError(f"{name} has no column record_id, only {', '.join(map(str, frame.columns[:8]))}")
    if classes is None:
        classes = [str(column) for column in frame if column not in (*NO_CLASSES, *others)]
    classes = list(classes)
    ids = ids_in(archive, _ids(frame["record_id"], name))
    rows = archive.find(ids)
    if numbers:
        frame = _with_person(frame, classes, archive, rows)
    if missing := [column for column in classes if column not in frame]:
        raise ValueError(f"{name} has no column {', '.join(missing)}; a column may be blank where nothing is known")
    if not classes:
        raise ValueError(f"{name} has no column of labels")
    if len(twice := ids[ids.duplicated()].unique()):
        raise ValueError(f"{name} holds {len(twice)} record ids more than once: {', '.join(twice[:5])}")
    targets = np.column_stack([_target(frame[column], ids, name, numbers) for column in classes])

    kept = rows >= 0
    if not kept.all():
        _account_for(ids[~kept], archive, name, unknown)
    if not kept.any():
        raise ValueError(f"none of the {len(ids)} records of {name} is in {archive.folder}")
    rows = rows[kept]
    return LabelTable(
        targets=targets[kept],
        classes=tuple(classes),
        rows=rows,
        patient=archive.patient[rows],
        patient_id=archive.manifest["patient_id"].to_numpy(object)[rows],
        fold=_folds(frame.loc[kept, "fold"], name) if "fold" in frame else None,
        recorded_at=archive.manifest["recorded_at"].to_numpy("datetime64[us]")[rows],
        simulated="simulated" in frame and bool((frame.loc[kept, "simulated"].fillna(0) != 0).any()),
        patients_unknown=int(np.count_nonzero(~archive.patient_known[rows])),
    )


def _ids(column: pd.Series, name: str) -> pd.Series:
    """Return record ids as text.

    Raises:
        ValueError: one is missing, or they are decimal numbers, which no id is.
    """
    if pd.api.types.is_float_dtype(column):
        raise ValueError(f"column record_id of {name} holds decimal numbers; give text, such as 007")
    if (missing := column.isna()).any():
        raise ValueError(f"column record_id of {name} is missing in line {int(missing.to_numpy(bool).argmax()) + 2}")
    return column.astype(str).astype(object)


def _with_person(frame: pd.DataFrame, classes: list[str], archive: Archive, rows: NDArray[np.int64]) -> pd.DataFrame:
    """Add the age and sex of the manifest where they are wanted and the table has none; put numbers for the sexes."""
    added = {
        name: archive.manifest[name].reindex(rows).set_axis(frame.index)
        for name in ("age", "sex")
        if name in classes and name not in frame
    }
    frame = frame.assign(**added)
    if "sex" not in classes or pd.api.types.is_numeric_dtype(frame["sex"]):
        return frame
    return frame.assign(sex=frame["sex"].astype(object).replace({"female": 0, "male": 1}))


def _target(column: pd.Series, ids: pd.Series, name: str, numbers: bool) -> NDArray[np.float32]:
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float32, na_value=np.nan)
    strange = np.isinf(values) if numbers else (values != 0) & (values != 1)
    wrong = np.where(np.isnan(values), column.notna(), strange)
    if wrong.any():
        first = int(np.argmax(wrong))
        # Where the column is none of labels, its text may be a name.
        got = repr(str(column.iloc[first])) if not np.isnan(values[first]) else "text"
        if numbers:
            raise ValueError(
                f"column {column.name!r} of {name} must hold a finite number or blank, got {got} for "
                f"{ids.iloc[first]} in line {first + 2} ({wrong.sum()} such values)"
            )
        raise ValueError(
            f"column {column.name!r} of {name} must hold 1, 0 or blank, got {got} for {ids.iloc[first]} in line "
            f"{first + 2} ({wrong.sum()} such values); name the label columns with classes= if it is none"
        )
    return values


def _account_for(ids: pd.Series, archive: Archive, name: str, unknown: str) -> None:
    """Log which labelled records are not in the archive, or refuse those that it never saw."""
    rejected = rejected_ids(archive)
    never = [record_id for record_id in ids if record_id not in rejected]
    if never and unknown == "error":
        raise ValueError(
            f"{name} names {len(never)} records that {archive.folder} does not know: {', '.join(never[:5])}; "
            f"record ids are paths relative to the ingested folder, without suffix: {did_you_mean(never[0], archive)}"
        )
    log.warning(
        "%s: left out %d records that ingest rejected and %d unknown ones", name, len(ids) - len(never), len(never)
    )


def _folds(column: pd.Series, name: str) -> NDArray[np.int64]:
    values = pd.to_numeric(column, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    if not (values == np.round(values)).all():
        raise ValueError(f"column 'fold' of {name} must hold whole numbers")
    return values.astype(np.int64)
