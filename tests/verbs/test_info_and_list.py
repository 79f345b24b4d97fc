"""What folders are, and what can be chosen."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest

import ssl_ecg
from ssl_ecg.backbones import list_backbones
from ssl_ecg.cli import main
from ssl_ecg.objectives import list_objectives
from ssl_ecg.records import READERS
from ssl_ecg.runs import write_json
from ssl_ecg.sources import SOURCES
from ssl_ecg.tasks import list_tasks
from ssl_ecg.verbs import VERBS


def test_folders_say_what_they_are(ward: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options = {"duration": 5, "min_duration": 4, "workers": 1}
    ssl_ecg.ingest(ward, tmp_path / "archive", progress=False, patients=None, **options)
    facts = ssl_ecg.info(tmp_path / "archive")
    assert (facts["kind"], facts["records"]) == ("archive", "4")
    assert facts["signal"] == "100 Hz, 5 s, band 0.5 to 40 Hz"
    assert facts["rejected"].startswith("2 files")
    facts = ssl_ecg.info(model)
    assert (facts["kind"], facts["task"], facts["classes"]) == ("model", "arrhythmia", "AF, LBBB")
    assert facts["network"] == "xresnet1d10"
    ssl_ecg.predict(model, ward, tmp_path / "predictions", workers=1)
    facts = ssl_ecg.info(tmp_path / "predictions")
    assert (facts["kind"], facts["rows"], facts["not scored"]) == ("predictions", "5", "1")
    ssl_ecg.embed(model, ward, tmp_path / "embeddings", workers=1)
    assert ssl_ecg.info(tmp_path / "embeddings")["kind"] == "embeddings"
    assert main(["info", str(tmp_path / "archive")]) == 0
    assert "100 Hz, 5 s" in capsys.readouterr().out


def test_unfinished_folders_say_how_to_go_on(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run" / "run.json", {"verb": "finetune", "settings": {"task": {"name": "arrhythmia"}}})
    assert ssl_ecg.info(tmp_path / "run") == {
        "kind": "unfinished finetune",
        "to go on": "run the same command again",
        "task": "arrhythmia",
    }
    (tmp_path / "ingest" / "journal").mkdir(parents=True)
    assert ssl_ecg.info(tmp_path / "ingest")["kind"] == "unfinished archive"
    (tmp_path / "comparison").mkdir()
    write_json(tmp_path / "comparison" / "comparison.json", {})
    assert ssl_ecg.info(tmp_path / "comparison")["kind"] == "unfinished comparison"
    row = {"arm": "probe", "fraction": 1, "metric": "macro_auroc", "mean": 0.9, "low": 0.85, "high": 0.95}
    pd.DataFrame([row]).to_csv(tmp_path / "comparison" / "summary.csv")
    facts = ssl_ecg.info(tmp_path / "comparison")
    assert (facts["kind"], facts["probe 1 macro_auroc"]) == ("comparison", "0.900 (0.850 to 0.950)")


CONTENTS = ["", "[]", "{}", '{"format": "ssl_ecg-encoder", "version": 1}', "[" * 10**5]


@pytest.mark.parametrize("name", ["archive.json", "config.json", "model.json", "run.json", "metrics.json"])
@pytest.mark.parametrize("content", CONTENTS, ids=range(len(CONTENTS)))
def test_damaged_folders_are_one_line(name: str, content: str, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / name).write_text(content)
    code = main(["info", str(tmp_path)])
    shown = capsys.readouterr()
    assert code in (0, 2)
    assert code == 0 or shown.err.count("\n") == 1
    assert len(shown.err) < 1000


def test_what_is_nothing_says_so(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="holds nothing that ssl-ecg wrote"):
        ssl_ecg.info(tmp_path)
    with pytest.raises(FileNotFoundError, match="no such folder"):
        ssl_ecg.info(tmp_path / "nowhere")


KINDS: dict[str, Callable[[], list[str]]] = {
    "objectives": list_objectives,
    "backbones": list_backbones,
    "tasks": list_tasks,
    "readers": READERS.names,
    "sources": SOURCES.names,
    "verbs": VERBS.names,
}


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_listed_with_a_line(kind: str, capsys: pytest.CaptureFixture) -> None:
    found = ssl_ecg.list_(kind)
    assert list(found) == KINDS[kind]()
    assert all(len(line) > 10 for line in found.values()), found
    assert len(set(found.values())) >= min(len(found), 4)  # readers of one library share a line
    assert main(["list", kind]) == 0
    printed = capsys.readouterr().out
    assert all(name in printed for name in found)


def test_nothing_lists_the_kinds(capsys: pytest.CaptureFixture) -> None:
    assert main(["list"]) == 0
    printed = capsys.readouterr().out
    assert all(f"ssl-ecg list {kind}" in printed for kind in KINDS)
    assert main(["list", "backbone"]) == 2
    assert "did you mean backbones?" in capsys.readouterr().err
    assert json.dumps(ssl_ecg.list_("tasks"))
