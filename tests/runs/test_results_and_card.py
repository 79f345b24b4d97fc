"""The folder of a result, and the model card."""

from __future__ import annotations

import json
import math
from pathlib import Path

import pandas as pd
import pytest

from ssl_ecg.runs import Table, markdown_table, model_card, write_result
from ssl_ecg.runs.card import cell

TABLES = {"per_class": pd.DataFrame({"class": ["a"], "auroc": [2 / 3]})}


def draw(folder: Path) -> list[str]:
    assert json.loads((folder / "metrics.json").read_text())["auroc"] == 0.75
    (folder / "per_class.svg").write_text(f"<svg>{pd.read_csv(folder / 'per_class.csv')['auroc'][0]}</svg>")
    return ["per_class.svg"]


def test_metrics_tables_and_figures_replace_those_of_an_earlier_result(tmp_path: Path) -> None:
    for name in ("metrics.json", "per_class.csv", "calibration.csv", "calibration.svg", "notes.txt"):
        (tmp_path / name).write_text("old")
    stale = ["per_class.csv", "calibration.csv", "calibration.svg", "subgroups.csv"]
    assert write_result(tmp_path, TABLES, {"auroc": 0.75, "auroc_low": math.nan}, {"metrics": []}, draw, stale) == [
        "per_class.svg"
    ]
    assert {path.name for path in tmp_path.iterdir()} == {
        "meanings.json",
        "metrics.json",
        "notes.txt",
        "per_class.csv",
        "per_class.svg",
    }
    assert json.loads((tmp_path / "metrics.json").read_text()) == {"auroc": 0.75, "auroc_low": None}
    assert (tmp_path / "per_class.csv").read_text().splitlines() == ["class,auroc", "a,0.666667"]


def test_a_figure_that_cannot_be_drawn_leaves_the_earlier_result(tmp_path: Path) -> None:
    write_result(tmp_path, TABLES, {"auroc": 0.75}, {}, draw)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(folder: Path) -> list[str]:
        raise RuntimeError("no font")

    with pytest.raises(RuntimeError, match="no font"):
        write_result(tmp_path, {"other": TABLES["per_class"]}, {"auroc": 0.5}, {}, fail, ["per_class.csv"])
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        (5, "5"),
        ("a|b", r"a\|b"),
        (r"a\|b", r"a\\\|b"),
        ("a\nb\r\nc", "a b c"),
        ("<script>", "&lt;script>"),
        ("**0.9**", "**0.9**"),
        ("<img src=x onerror=alert(1)>", "&lt;img src=x onerror=alert(1)>"),
        ("&lt;img>", "&amp;lt;img>"),
        ("![](http://x/y.png)", r"!\[\](http://x/y.png)"),
        ("[a](javascript:b)", r"\[a\](javascript:b)"),
        ("`a|b`", r"\`a\|b\`"),
    ],
)
def test_no_column_line_or_html_begins_in_a_cell(text: object, shown: str) -> None:
    assert cell(text) == shown


def test_tables_have_a_row_for_each_row() -> None:
    assert markdown_table(["a", "b|"], [("x|y", 1), ("z", "<b>")]).splitlines() == [
        r"| a | b\| |",
        "| --- | --- |",
        r"| x\|y | 1 |",
        "| z | &lt;b> |",
    ]


def test_a_card_shows_its_facts() -> None:
    blocks = ["About <b>it</b>.", Table(("class", "n"), [("a|b\n## c", 3)]), "More."]
    card = model_card("A net\nof mine", blocks, "Limits of it.", {"epochs": 6}, ["per_class.svg"])
    assert card == (
        "# A net of mine\n\nAbout <b>it</b>.\n\n| class | n |\n| --- | --- |\n| a\\|b ## c | 3 |\n\nMore.\n\n"
        "![per class](per_class.svg)\n\n## Limits\nLimits of it.\n\n"
        '## Settings\n```json\n{\n "epochs": 6\n}\n```\n'
    )
