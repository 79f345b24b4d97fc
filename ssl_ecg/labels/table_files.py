"""Tables as hospitals save them: CSV with commas, semicolons or tabs, in whatever encoding; Excel; Parquet."""

from __future__ import annotations

import io
import logging
import re
from pathlib import Path

import pandas as pd

from ssl_ecg.runs import unescaped

IDS = ("record_id", "patient_id")
_EXCEL = (".xlsx", ".xls")
_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16", b"\xef\xbb\xbf": "utf-8-sig"}
_DECIMAL_COMMA = re.compile(r";-?\d+,\d+(;|$)", re.MULTILINE)

log = logging.getLogger(__name__)


def read_table(path: Path) -> pd.DataFrame:
    """Read a CSV, Parquet or Excel file with the ids of records and patients as text: one of them may read NA or null.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: it cannot be read.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path}: there is no such table")
    try:
        return _read_table(path)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeError, OSError) as error:
        raise ValueError(
            f"{path}: cannot be read ({type(error).__name__}); give a CSV file in UTF-8, .xlsx or .parquet"
        ) from None


def _read_table(path: Path) -> pd.DataFrame:
    suffix = path.suffix.lower()
    if suffix == ".parquet":
        return pd.read_parquet(path)
    if suffix in _EXCEL:
        return _read_excel(path)
    if suffix not in (".csv", ".tsv", ".txt"):
        raise ValueError(f"{path}: is no table that can be read; give .csv, .tsv, .xlsx or .parquet")
    text = _decoded(path)
    header = text.partition("\n")[0]
    separator = max(",;\t", key=header.count)
    decimal = "," if separator == ";" and _DECIMAL_COMMA.search(text) else "."
    ids = pd.read_csv(
        io.StringIO(text), sep=separator, usecols=lambda name: name in IDS, dtype=str, keep_default_na=False
    )
    table = pd.read_csv(io.StringIO(text), sep=separator, decimal=decimal, low_memory=False)
    return unescaped(table.assign(**ids))


def _decoded(path: Path) -> str:
    raw = path.read_bytes()
    for mark, encoding in _MARKS.items():
        if raw.startswith(mark):
            return raw.decode(encoding)
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        log.warning("%s: is not in UTF-8; read as Windows-1252", path)
        return raw.decode("cp1252")


def _read_excel(path: Path) -> pd.DataFrame:
    try:
        return pd.read_excel(path, converters=dict.fromkeys(IDS, str))
    except ImportError:
        raise ValueError(
            f"{path}: Excel needs a library that is not installed; run pip install 'ssl_ecg[excel]', or save as CSV"
        ) from None
    except Exception as error:  # of a hostile or damaged file, whatever its reader raises
        raise ValueError(f"{path}: is no Excel file that can be read ({type(error).__name__}); save as CSV") from None
