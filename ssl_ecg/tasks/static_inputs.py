"""Static inputs: age, sex, other columns and named numbers of the rhythm, beside the features into the last layer.

Wide and deep (Cheng et al. 2016, arXiv:1606.07792; of ECGs Garcia et al., Zhao et al. and Natarajan et al., Computing
in Cardiology 2020). Published models put a small network before the joint layer, or choose features by another model;
here the inputs go into the last layer as they are, so that its weights can be read.

Values are raw, NaN where unknown. The model standardises them by the known values of its training records, puts 0 where
one is unknown, and has an input more for each column that says so. The weights of all of them start at 0: before the
first step the network is that of the signal alone.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.archive.archive import Archive
from ssl_ecg.labels import read_columns
from ssl_ecg.labels.table_files import read_table
from ssl_ecg.registry import nearest
from ssl_ecg.signals import Signals
from ssl_ecg.tasks.rhythm import FEATURES, rhythm_table
from ssl_ecg.tasks.survival_task import COLUMNS as FOLLOW_UP
from ssl_ecg.tasks.task import Task

RHYTHM = "rhythm"
MEASURED = tuple(f"{RHYTHM}.{name}" for name in FEATURES)
SEXES = {"female": 0.0, "male": 1.0}
TELLING = ("record_id", "patient_id", "path", "part", "row", "content", "fold", "simulated", *FOLLOW_UP)
"""Columns that say who or where a record is, how records were split, or what came after the ECG."""
BATCH = 256

logger = logging.getLogger(__name__)


def static_columns(static: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the K columns of static inputs, with each of the rhythm's."""
    return tuple(column for name in static for column in (MEASURED if name == RHYTHM else (name,)))


def numbers(name: str, column: pd.Series) -> NDArray[np.float64]:
    """Return a column as numbers [n], NaN where blank; of ``sex`` "female" is 0 and "male" 1.

    Raises:
        ValueError: text, dates or infinite numbers; the values are not shown, since they may name people.
    """
    values = column.astype(object)
    if name == "sex":
        values = values.map(lambda value: SEXES.get(value, value))
    if pd.api.types.is_datetime64_any_dtype(column):
        raise ValueError(f"column {name!r}: must hold numbers or blanks, got dates")
    found = pd.to_numeric(values, errors="coerce").to_numpy(np.float64, na_value=np.nan)
    wrong = ~np.isfinite(found) if name != "sex" else ~np.isin(found, list(SEXES.values()))
    if (wrong & values.notna().to_numpy()).any():
        wanted = "female or male" if name == "sex" else "finite numbers"
        raise ValueError(f"column {name!r}: must hold {wanted}, or blanks")
    return found


def static_values(
    static: Sequence[str], described: pd.DataFrame, signals: Signals, sampling_rate: float, leads: Sequence[str]
) -> NDArray[np.float32]:
    """Return static inputs, float32 [n, K], NaN where unknown.

    Args:
        static: names of columns, and ``rhythm`` for the features of ``tasks.rhythm``.
        described: what is known of n records by column, such as rows of a manifest; a column that it lacks is unknown,
            those of the rhythm are measured.
        signals: of the records, arrays in millivolts; not looked at where nothing is measured.
        sampling_rate: Hz.
        leads: names of the L leads.

    Raises:
        ValueError: a column that does not hold numbers.
    """
    if RHYTHM in static and MEASURED[0] not in described:
        measured = rhythm_table(signals, sampling_rate, leads).set_axis(list(MEASURED), axis=1)
        described = pd.concat([described.reset_index(drop=True), measured], axis=1)
    columns = [
        numbers(name, described[name]) if name in described else np.full(len(described), np.nan)
        for name in static_columns(static)
    ]
    return np.stack(columns, axis=1).astype(np.float32)


def static_of(static: Sequence[str], archive: Archive, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the static inputs, float32 [n, K], of archive rows [n], as ``static_values`` does."""
    measures = RHYTHM in static and MEASURED[0] not in archive.manifest
    step = BATCH if measures else max(len(rows), 1)
    parts = []
    for start in range(0, max(len(rows), 1), step):
        some = rows[start : start + step]
        signals = archive.read(some if measures else some[:0])
        described = archive.manifest.iloc[some]
        parts.append(static_values(static, described, signals, archive.sampling_rate, archive.leads))
    return np.concatenate(parts)


def static_identity(static: Sequence[str], archive: Archive, rows: NDArray[np.int64]) -> dict[str, str]:
    """Return a hash of the static inputs of archive rows [n], named ``static``; nothing where there are none."""
    return {"static": hashlib.sha256(static_of(static, archive, rows).tobytes()).hexdigest()[:16]} if static else {}


def with_columns(archive: Archive, labels: str | Path | pd.DataFrame, static: Sequence[str]) -> Archive:
    """Return an archive whose manifest has the columns of static inputs.

    They are its own where it knows any value, else those of the label table, blank for records that it does not hold.
    """
    if not static:
        return archive
    table = _table(labels)
    wanted = [name for name in static if name != RHYTHM and not _known(name, archive.manifest) and name in table]
    added = read_columns(table, archive, np.arange(len(archive)), wanted)
    return replace(archive, manifest=archive.manifest.assign(**{str(n): added[n].to_numpy() for n in added}))


def with_rhythm(archive: Archive, static: Sequence[str], rows: NDArray[np.int64]) -> Archive:
    """Return an archive whose manifest holds the rhythm of rows [n], measured once, where static inputs ask for it."""
    if RHYTHM not in static:
        return archive
    found = np.full((len(archive), len(MEASURED)), np.nan, np.float32)
    found[rows] = static_of((RHYTHM,), archive, rows)
    return replace(archive, manifest=archive.manifest.assign(**dict(zip(MEASURED, found.T, strict=True))))


def check_static(
    static: Sequence[str],
    archive: Archive,
    task: Task,
    labels: str | Path | pd.DataFrame | None = None,
    unnamed: bool = False,
) -> None:
    """Refuse static inputs that a model cannot or must not learn from.

    Args:
        static: their names.
        archive: whose manifest has the columns, see ``with_columns``.
        task: what is learned.
        labels: label table, for what else could be chosen.
        unnamed: whether nobody said which of its columns are labels, so that one of 1 and 0 may be.

    Raises:
        ValueError: a column that is not there, is blank, holds no numbers, or tells what is learned.
    """
    manifest, table = archive.manifest, pd.DataFrame() if labels is None else _table(labels)
    for name in static:
        wrong = ""
        if name == RHYTHM:
            continue
        if name in (*task.classes, *task.outcomes):
            wrong = "is what is learned"
        elif name in TELLING:
            wrong = "says which record it is, how it was split, or what came after the ECG"
        elif not _known(name, manifest):
            wrong = "is no column, or blank throughout"
        elif not _numeric(name, manifest):
            wrong = "holds what is no number"
        elif unnamed and name != "sex" and _like_labels(name, table):
            raise ValueError(f"static={name!r}: holds 1 and 0, as labels do; say which columns are labels, classes=")
        if wrong:
            refused = (*TELLING, *MEASURED, *task.classes, *static)
            usable = [n for n in map(str, manifest) if _known(n, manifest) and _numeric(n, manifest)]
            usable += [n for n in map(str, table) if n not in manifest and _numeric(n, table)]
            usable = [n for n in usable if n not in refused and not _like_labels(n, table)]
            raise ValueError(f"static={name!r}: {wrong}; {nearest(name, [*usable, RHYTHM])}")


def tell_unknown(static: Sequence[str], described: pd.DataFrame) -> None:
    """Name in the log the columns of static inputs that nothing is known of, so that they count as unknown."""
    if unknown := [name for name in static if name != RHYTHM and not _known(name, described)]:
        logger.warning("static inputs %s: no record tells them, they count as unknown", ", ".join(unknown))


def _table(labels: str | Path | pd.DataFrame) -> pd.DataFrame:
    return labels if isinstance(labels, pd.DataFrame) else read_table(Path(labels))


def _known(name: str, table: pd.DataFrame) -> bool:
    return name in table and bool(table[name].notna().any())


def _numeric(name: str, table: pd.DataFrame) -> bool:
    try:
        numbers(name, table[name])
    except ValueError:
        return False
    return True


def _like_labels(name: str, table: pd.DataFrame) -> bool:
    return name in table and _numeric(name, table) and set(numbers(name, table[name].dropna())) <= {0, 1}
