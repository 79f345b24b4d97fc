"""Labels from tables of diagnoses: the first event after an ECG or how long there was none, and classes by code.

A diagnosis has a patient, a day and a code, such as one of ICD-10. A code belongs to a class that is given by the
beginnings of its codes: ``I48`` takes ``I48``, ``I48.0`` and ``I4891``. Points, blanks and case do not matter.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import pandas as pd

from ssl_ecg.archive.archive import Archive
from ssl_ecg.labels.hospital import Counts, TableLike, counted, hospital_table, left_out, records_of, require_some

_CODE = re.compile(r"[A-Z0-9]+")


def survival_labels(
    archive: Archive,
    diagnoses: TableLike,
    contacts: TableLike,
    codes: Mapping[str, Sequence[str]],
    cohort: TableLike | None = None,
    cohort_class: str | None = None,
    data_set: str | None = None,
    salt: str | bytes | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Label ECGs by the first event after them; without one, by how long the patient was followed.

    Follow-up ends at death or, without, at the last contact; a diagnosis is a contact too. An event on the day of the
    ECG or before it is prevalent, and needs no follow-up.

    Args:
        archive: its manifest says whose the ECGs are and when they were recorded.
        diagnoses: CSV or Parquet file, or a table: ``patient_id``, ``diagnosed_at`` (such as 2021-03-31), ``code``.
        contacts: the same: ``patient_id``, ``last_contact`` and ``died_at``, of which one may be missing or blank. Of
            several rows of a patient the latest contact and the earliest death count.
        codes: the event's name and the beginnings of its codes, ``{"AF": ["I48"]}``.
        cohort: label table that selects ECGs; all if not given.
        cohort_class: its column that must be 1.
        data_set: name of the ingested folder, where the tables' patient ids lack that prefix.
        salt: that the archive was ingested with, where the tables' ids are not hashed.

    Returns:
        A label table in the order of the archive: ``record_id``, ``time_days``, ``event`` and ``prevalent``, as the
        task ``af_survival`` reads them (prevalent: time 0 and event 1); and the counts: ``of``, ``what``, ``count``.

    Raises:
        FileNotFoundError: a table is not there.
        ValueError: a setting, a column or a value that cannot be; no record is left.
    """
    if len(codes) != 1:
        raise ValueError(
            f"codes={dict(codes)}: survival is of one event; give its name and codes, such as {{AF: [I48]}}"
        )
    (event,) = codes
    table, of_diagnoses = _diagnoses(diagnoses, archive, codes, data_set, salt)
    ends, of_contacts = _contacts(contacts, archive, data_set, salt)
    records = records_of(archive, cohort, cohort_class)
    first = table.groupby("patient_id")["diagnosed_at"].min()
    records["event_at"] = records["patient_id"].map(first).astype("datetime64[us]")
    records = records.join(ends, on="patient_id")
    happened, prevalent = records["event_at"].notna(), records["event_at"] <= records["day"]
    # Whoever gets a diagnosis was seen that day.
    seen = records[["last_contact", "event_at"]].max(axis=1)
    end = records["died_at"].fillna(seen)
    reasons = {
        "not in the cohort": ~records["selected"],
        "no recording date": records["day"].isna(),
        "no last contact or death of the patient": ~records["patient_id"].isin(ends.index),
        "death before the ECG": records["died_at"] < records["day"],
        f"first {event} after death": happened & (records["event_at"] > records["died_at"]),
        "no follow-up after the ECG": ~prevalent & ~(end > records["day"]),
    }
    kept, out = left_out(reasons)
    until = records["event_at"].fillna(end)
    labels = pd.DataFrame(
        {
            "record_id": records["record_id"],
            "time_days": (until - records["day"]).dt.days.mask(prevalent, 0),
            "event": happened.astype(int),
            "prevalent": prevalent.astype(int),
        }
    )[kept].reset_index(drop=True)
    labels["time_days"] = labels["time_days"].astype(int)
    incident = labels["prevalent"] == 0
    after = [
        ("labelled", len(labels)),
        (f"with {event} on the day of the ECG or before", int((~incident).sum())),
        (f"with {event} after the ECG", int((incident & (labels["event"] == 1)).sum())),
        (f"without {event} to the end of follow-up", int((incident & (labels["event"] == 0)).sum())),
    ]
    return labels, counted([*of_diagnoses, *of_contacts], len(records), out, after)


def diagnosis_labels(
    archive: Archive,
    diagnoses: TableLike,
    codes: Mapping[str, Sequence[str]],
    days_before: int = 0,
    window_days: int = 183,
    contacts: TableLike | None = None,
    cohort: TableLike | None = None,
    cohort_class: str | None = None,
    data_set: str | None = None,
    salt: str | bytes | None = None,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Label ECGs by the diagnoses of their patients within a window of days around them.

    A class is 1 where one of its codes was given in the window, and else 0; where ``contacts`` say that the patient was
    not followed to the end of the window, it is blank. Who has no diagnosis at all, of whatever code, is not labelled:
    nobody knows whether the table would hold one.

    Args:
        archive: its manifest says whose the ECGs are and when they were recorded.
        diagnoses: CSV or Parquet file, or a table: ``patient_id``, ``diagnosed_at`` (such as 2021-03-31), ``code``.
        codes: classes and the beginnings of their codes, ``{"AF": ["I48"], "HF": ["I50", "I11.0"]}``.
        days_before: first day of the window, counted back from the ECG.
        window_days: last day of the window after the ECG.
        contacts: as in :func:`survival_labels`, if known.
        cohort: label table that selects ECGs; all if not given.
        cohort_class: its column that must be 1.
        data_set: name of the ingested folder, where the tables' patient ids lack that prefix.
        salt: that the archive was ingested with, where the tables' ids are not hashed.

    Returns:
        A label table in the order of the archive: ``record_id`` and a column a class with 1, 0 or blank; and the
        counts: ``of``, ``what``, ``count``.

    Raises:
        FileNotFoundError: a table is not there.
        ValueError: a setting, a column or a value that cannot be; no record is left.
    """
    if days_before < 0 or window_days < 0:
        raise ValueError(f"days_before={days_before}, window_days={window_days}: choose 0 (the day of the ECG) or more")
    table, counts = _diagnoses(diagnoses, archive, codes, data_set, salt)
    records = records_of(archive, cohort, cohort_class)
    last = records["day"] + pd.Timedelta(days=window_days)
    followed = pd.Series(True, index=records.index)
    if contacts is not None:
        ends, of_contacts = _contacts(contacts, archive, data_set, salt)
        counts += of_contacts
        end = records.join(ends, on="patient_id")
        followed = end["died_at"].fillna(end["last_contact"]) >= last
    pairs = records.reset_index(names="row").merge(table, on="patient_id")
    days = (pairs["diagnosed_at"] - pairs["day"]).dt.days
    pairs = pairs[days.between(-days_before, window_days)]
    classes = {}
    for name in codes:
        has = records.index.isin(pairs.loc[pairs["class"] == name, "row"])
        classes[name] = pd.Series(has, index=records.index).astype("Int64").mask(~has & ~followed)
    unknown = pd.DataFrame(classes).isna().all(axis=1)
    reasons = {
        "not in the cohort": ~records["selected"],
        "no recording date": records["day"].isna(),
        "no diagnosis of the patient, of whatever code": ~records["patient_id"].isin(table.attrs["patients"]),
        f"no such diagnosis, and not followed for {window_days} days": unknown,
    }
    kept, out = left_out(reasons)
    labels = records[["record_id"]].assign(**classes)[kept].reset_index(drop=True)
    after = [("labelled", len(labels)), *((f"with {name}", int((labels[name] == 1).sum())) for name in codes)]
    return labels, counted(counts, len(records), out, after)


def _plain(code: str) -> str:
    return re.sub(r"[\s.]", "", code).upper()


def _prefixes(codes: Mapping[str, Sequence[str]]) -> dict[str, tuple[str, ...]]:
    """Return the plain beginnings of the codes of each class.

    Raises:
        ValueError: there is no class, a class without codes or with the name of another column, or what is no code.
    """
    if not codes:
        raise ValueError("codes={}: there is nothing to look for; give classes and codes, such as {AF: [I48]}")
    for name, given in codes.items():
        plain = [given] if isinstance(given, str) else list(given)
        if not plain or not all(_CODE.fullmatch(_plain(str(code))) for code in plain) or name == "record_id":
            raise ValueError(
                f"codes={{{name}: {given}}}: is no class with the beginnings of its codes; give {{AF: [I48]}}"
            )
    return {
        name: tuple(_plain(str(code)) for code in ([given] if isinstance(given, str) else given))
        for name, given in codes.items()
    }


def _diagnoses(
    diagnoses: TableLike,
    archive: Archive,
    codes: Mapping[str, Sequence[str]],
    data_set: str | None,
    salt: str | bytes | None,
) -> tuple[pd.DataFrame, Counts]:
    """Diagnoses of the classes: ``patient_id``, ``diagnosed_at``, ``class``; and what became of all rows.

    ``attrs["patients"]`` of the table are those who have any diagnosis.
    """
    wanted = _prefixes(codes)
    name, frame = hospital_table(diagnoses, "diagnoses", archive, ["diagnosed_at"], ["code"], (), data_set, salt)
    plain = frame["code"].map(_plain, na_action="ignore").fillna("")
    of_class = pd.DataFrame({name: plain.str.startswith(prefixes) for name, prefixes in wanted.items()})
    reasons = {
        "no patient": frame["patient_id"].isna(),
        "no date": frame["diagnosed_at"].isna(),
        "no code": frame["code"].isna(),
        "of a patient who is not in the archive": ~frame["patient_id"].isin(archive.manifest["patient_id"]),
    }
    kept, out = left_out(reasons)
    require_some(name, "diagnosis", archive, kept, out)
    usable = kept & of_class.any(axis=1).to_numpy(bool)
    found = [
        frame.loc[kept & of_class[name].to_numpy(bool), ["patient_id", "diagnosed_at"]].assign(**{"class": name})
        for name in wanted
    ]
    table = pd.concat(found, ignore_index=True)
    table.attrs["patients"] = frame.loc[kept, "patient_id"].unique()
    counts = [
        ("in the table", len(frame)),
        *out,
        ("of another code", int((kept & ~usable).sum())),
        ("usable", int(usable.sum())),
    ]
    return table, [("diagnoses", *row) for row in counts]


def _contacts(
    contacts: TableLike, archive: Archive, data_set: str | None, salt: str | bytes | None
) -> tuple[pd.DataFrame, Counts]:
    """Latest contact and earliest death of each patient; and what became of all rows."""
    both = ["last_contact", "died_at"]
    name, frame = hospital_table(contacts, "contacts", archive, both, (), both, data_set, salt)
    reasons = {
        "no patient": frame["patient_id"].isna(),
        "neither last contact nor death": frame[both].isna().all(axis=1),
        "of a patient who is not in the archive": ~frame["patient_id"].isin(archive.manifest["patient_id"]),
    }
    kept, out = left_out(reasons)
    require_some(name, "contact", archive, kept, out)
    ends = frame[kept].groupby("patient_id").agg({"last_contact": "max", "died_at": "min"})
    counts = [("in the table", len(frame)), *out, ("usable", int(kept.sum()))]
    return ends, [("contacts", *row) for row in counts]
