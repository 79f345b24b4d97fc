"""Tables of a hospital become labels: measured ejection fractions, and diagnoses with or without follow-up."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import pandas as pd
import rich.table
from annotated_types import Ge

from ssl_ecg.runs import write_csv
from ssl_ecg.settings import SettingsError
from ssl_ecg.verbs._given import ArchiveLike, SaltSettings, Table, TableLike, opened
from ssl_ecg.verbs.verb import console, verb

Outcome = Literal["low_lvef", "survival", "diagnosis"]

_READS: dict[Outcome, frozenset[str]] = {
    "low_lvef": frozenset({"threshold", "window_days"}),
    "survival": frozenset({"codes", "contacts"}),
    "diagnosis": frozenset({"codes", "contacts", "days_before", "window_days"}),
}
_ALL = frozenset({"cohort", "cohort_class", "data_set", "salt"})


class VerbSettings(SaltSettings):
    """What the labels are, and of which ECGs; the salt of ingest, where the ids of the tables are not hashed."""

    outcome: Outcome = "low_lvef"
    """low_lvef: by the next measurement; survival: days to the first event, or without; diagnosis: classes by code"""
    codes: dict[str, list[str]] | None = None
    """of survival and diagnosis: classes with the beginnings of their codes, such as {AF: [I48], HF: [I50, I11.0]}"""
    contacts: Table | None = None
    """of survival and diagnosis: table of follow-up: patient_id, last_contact and died_at (dates)"""
    threshold: float = 40.0
    """of low_lvef: percent; at or below it the ejection fraction is low"""
    days_before: Annotated[int, Ge(0)] = 0
    """of diagnosis: first day that counts, before the ECG"""
    window_days: Annotated[int, Ge(0)] = 183
    """of low_lvef and diagnosis: last day that counts, after the ECG"""
    cohort: Table | None = None
    """label table that selects ECGs; null: all"""
    cohort_class: str | None = None
    """its column that must be 1, such as premature_ventricular_contraction"""
    data_set: str | None = None
    """name of the ingested folder, where the patient ids of the tables lack that prefix"""


def show(counts: pd.DataFrame, archive: str, table: str, out: str) -> None:
    """Print what was left out and why."""
    shown = rich.table.Table("of", "what", "count")
    for of, what, count in counts.itertuples(index=False):
        shown.add_row(of, what, str(count))
    console.print(shown)
    flow = Path(out).with_name(f"{Path(out).stem}_flow")
    console.print(f"the labels lie in {out}, these counts in {flow}.csv, drawn in {flow}.svg")


@verb(VerbSettings, show)
def label(archive: ArchiveLike, table: TableLike, out: str | Path, settings: VerbSettings) -> pd.DataFrame:
    """Label ECGs from a hospital's tables: low ejection fraction, time to a first diagnosis, or classes by code.

    Args:
        archive: the archive, or its folder.
        table: CSV or Parquet file, or a table: patient_id with measured_at and lvef (percent), or with diagnosed_at and
            code; dates such as 2021-03-31.
        out: CSV file for the label table; beside it ``*_flow.csv`` and ``*_flow.svg`` count what was left out, and why.
        settings: all settings at once, in place of single ones by name.

    Returns:
        The counts: ``of``, ``what``, ``count``.
    """
    from ssl_ecg.labels import diagnosis_labels, lvef_labels, survival_labels
    from ssl_ecg.report import draw_flow

    out = Path(out)
    if out.suffix != ".csv":
        raise ValueError(f"out={str(out)!r}: is no CSV file; name a .csv file")
    tables = {"table": table, "contacts": settings.contacts, "cohort": settings.cohort}
    for name, given in tables.items():
        if isinstance(given, str | Path) and out.resolve() == Path(given).resolve():
            raise ValueError(f"out={str(out)!r}: {name} lies there, and would be replaced; choose another file")
    make: dict[Outcome, Callable[..., tuple[pd.DataFrame, pd.DataFrame]]] = {
        "low_lvef": lvef_labels,
        "survival": survival_labels,
        "diagnosis": diagnosis_labels,
    }
    labels, counts = make[settings.outcome](opened(archive), table, **_options(settings))
    out.parent.mkdir(parents=True, exist_ok=True)
    write_csv(out, labels)
    write_csv(out.with_name(f"{out.stem}_flow.csv"), counts)
    draw_flow(counts, out.with_name(f"{out.stem}_flow.svg"))
    return counts


def _options(settings: VerbSettings) -> dict[str, object]:
    """Return what the chosen outcome reads.

    Raises:
        SettingsError: it lacks something, or something is given that it does not read.
    """
    reads = _READS[settings.outcome]
    for name, field in type(settings).model_fields.items():
        read_by = [outcome for outcome, names in _READS.items() if name in names]
        if read_by and name not in reads and getattr(settings, name) != field.default:
            raise SettingsError(f"{name}: outcome={settings.outcome} does not read it; choose outcome={read_by[-1]}")
    needed = reads & ({"codes", "contacts"} if settings.outcome == "survival" else {"codes"})
    if lacking := sorted(name for name in needed if getattr(settings, name) is None):
        raise SettingsError(f"{lacking[0]}: outcome={settings.outcome} needs it; see ssl-ecg label --help")
    given = {name: value for name, value in settings if name in reads | _ALL}
    return {**given, "salt": settings.secret}
