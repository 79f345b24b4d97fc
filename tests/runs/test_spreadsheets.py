"""CSV that a spreadsheet can open: no formula in it, and everything comes back as it was."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ssl_ecg.runs import unescaped, write_csv
from ssl_ecg.runs.spreadsheets import escaped


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("=1+1", "'=1+1"),
        ("+49 30", "'+49 30"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("-2+3+cmd|' /C calc'!A0", "'-2+3+cmd|' /C calc'!A0"),
        ("\t=1", "'\t=1"),
        ("'=1", "''=1"),
        ("-1.5", "-1.5"),
        ("+3", "+3"),
        ("-1e-5", "-1e-5"),
        ("-inf", "-inf"),
        ("007", "007"),
        ("ward/-1", "ward/-1"),
        ("'quoted'", "'quoted'"),
        ("", ""),
    ],
)
def test_formulas_get_an_apostrophe_and_numbers_none(text: str, written: str) -> None:
    table = escaped(pd.DataFrame({"a": [text, "b"], "n": [-1, 2]}))
    assert table["a"].tolist() == [written, "b"]
    assert table["n"].tolist() == [-1, 2]
    assert unescaped(table)["a"].tolist() == [text, "b"]


@given(st.lists(st.text("=+-@'1a\t|\n", max_size=5), min_size=1, max_size=3, unique=True))
def test_everything_comes_back(texts: list[str]) -> None:
    table = pd.DataFrame(dict.fromkeys(texts, texts))
    back = pd.read_csv(StringIO(escaped(table).to_csv(index=False)), dtype=str, keep_default_na=False)
    assert unescaped(back).to_dict("list") == table.to_dict("list") or "" in texts


def test_names_of_columns_and_blanks(tmp_path: Path) -> None:
    table = pd.DataFrame({"=cmd()": [1.5, np.nan], "when": pd.to_datetime(["2020-01-01", None]), "t": ["-x", None]})
    write_csv(tmp_path / "t.csv", table)
    assert (tmp_path / "t.csv").read_text() == "'=cmd(),when,t\n1.5,2020-01-01,'-x\n,,\n"
    assert unescaped(pd.read_csv(tmp_path / "t.csv")).columns.tolist() == ["=cmd()", "when", "t"]
