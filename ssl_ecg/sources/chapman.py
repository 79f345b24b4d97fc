"""Chapman-Shaoxing (Zheng et al., Scientific Data 2020) in its own layout: rhythm and beat of 10,646 patients.

``Diagnostics.xlsx`` (or ``Diagnostics.csv``, saved from it) beside ``ECGDataDenoised/`` or ``ECGData/`` with a CSV file
for each record, in microvolts. A YAML file beside the table says so (``ssl_ecg.records.described``), for instance::

    array: "ECGDataDenoised/*.csv"
    leads: [I, II, III, aVR, aVL, aVF, V1, V2, V3, V4, V5, V6]
    sampling_rate: 500
    unit: uV
"""

from __future__ import annotations

import re
from collections.abc import Collection, Hashable, Iterator, Mapping
from fnmatch import fnmatch
from pathlib import Path
from zipfile import BadZipFile, ZipFile

import pandas as pd

from ssl_ecg.records.described import descriptions
from ssl_ecg.records.naming import age_of, sex_of
from ssl_ecg.sources.source import Entry, Source, SourceError, read_csv, register

TABLES = ("Diagnostics.xlsx", "Diagnostics.csv")
OTHERS = ("RhythmNames.xlsx", "ConditionNames.xlsx", "AttributesDictionary.xlsx")
FOLDERS = ("ECGDataDenoised", "ECGData")
COLUMNS = ("FileName", "Rhythm", "Beat", "PatientAge", "Gender")
MAX_BYTES = 300_000_000  # of an Excel file, unpacked; the publisher's has 7 MB


def detect(folder: Path, files: Collection[str]) -> bool:
    """Tell whether a folder has the table, and one of the folders of recordings."""
    return not set(TABLES).isdisjoint(files) and any((folder / name).is_dir() for name in FOLDERS)


def records(folder: Path) -> Iterator[Entry]:
    """Yield what the table says of each recording; each is of a patient of its own.

    Raises:
        SourceError: no description names the recordings, or the table cannot be read.
    """
    for _, entry in _named(folder):
        yield entry


def labels(folder: Path) -> dict[str, pd.DataFrame]:
    """Make the label tables ``"chapman_rhythm"`` and ``"chapman_beat"``: 1 or 0 for each code that occurs.

    Raises:
        SourceError: no description names the recordings, or the table cannot be read.
    """
    named = list(_named(folder))
    made = {}
    for column in ("Rhythm", "Beat"):
        codes = {
            f"{Path(entry.path).stem}#{entry.record_id}": set(re.split(r"[\s,;]+", row[column].strip())) - {"", "NONE"}
            for row, entry in named
        }
        classes = sorted(set().union(*codes.values()))
        rows = [[name, *(int(code in own) for code in classes)] for name, own in codes.items()]
        made[f"chapman_{column.lower()}"] = pd.DataFrame(rows, columns=["record_id", *classes])
    return made


def _named(folder: Path) -> Iterator[tuple[Mapping[Hashable, str], Entry]]:
    """Yield each row of the table with the recording that it is about, once for each description that names it."""
    name, table = _table(folder)
    described = {file: array for file, array in descriptions(folder).items() if array.startswith(FOLDERS)}
    if not described:
        told = f"write chapman.yaml with array: {FOLDERS[0]}/*.csv, leads, sampling_rate: 500 and unit: uV"
        raise SourceError(name, f"no YAML file says what the numbers of its recordings are; {told} (docs/ingest.md)")
    for row in table.to_dict("records"):
        for description, array in described.items():
            for inside in FOLDERS:
                file = f"{inside}/{row['FileName']}"
                if fnmatch(f"{file}.csv", array):
                    age, sex = age_of(row["PatientAge"]), sex_of(row["Gender"])
                    yield row, Entry(description, row["FileName"], age, sex, record_id=file)


def _table(folder: Path) -> tuple[str, pd.DataFrame]:
    """Return name and content of the table, every value as text."""
    name = next(table for table in TABLES if (folder / table).is_file())
    if name.endswith(".csv"):
        return name, read_csv(folder, name, COLUMNS)
    try:
        with ZipFile(folder / name) as inside:
            if sum(member.file_size for member in inside.infolist()) > MAX_BYTES:
                raise SourceError(name, f"would unpack to more than {MAX_BYTES:,} bytes")
        frame = pd.read_excel(folder / name, dtype=str, keep_default_na=False, engine="openpyxl").fillna("")
    except ImportError as error:
        told = "is an Excel file, read by openpyxl: pip install 'ssl-ecg[excel]', or save it as Diagnostics.csv"
        raise SourceError(name, told) from error
    except (BadZipFile, ValueError, KeyError, OSError) as error:
        raise SourceError(name, f"is no Excel file ({type(error).__name__})") from error
    if missing := sorted(set(COLUMNS) - set(frame.columns)):
        raise SourceError(name, f"lacks the columns {', '.join(missing)}")
    return name, frame


register("chapman", Source(detect, records, labels, (*TABLES, *OTHERS)))
