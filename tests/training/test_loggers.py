from __future__ import annotations

import json
import math
import socket
import sys
from pathlib import Path

import pandas as pd
import pytest
from pytorch_lightning.loggers import Logger

from ssl_ecg.training import FinetuneSettings, finetune
from ssl_ecg.training.loggers import JsonLines, finish, log_rows, make_loggers


def test_loggers_by_name(tmp_path: Path) -> None:
    assert make_loggers((), tmp_path, {}) == []
    with pytest.raises(ValueError, match=r"loggers=.comet.: .*jsonl, tensorboard, wandb, mlflow"):
        make_loggers(("comet",), tmp_path, {})


@pytest.mark.parametrize("name", ["tensorboard", "mlflow"])
def test_logger_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match=rf"run pip install 'ssl_ecg\[{name}\]'"):
        make_loggers((name,), tmp_path, {})


@pytest.mark.slow
def test_mlflow_is_not_told_who_where_and_by_what(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_DISABLE_TELEMETRY", "MLFLOW_ALLOW_FILE_STORE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LOGNAME", "dr_invented")
    loggers = make_loggers(["mlflow"], tmp_path / "model", {"learning_rate": 0.25})
    log_rows(loggers, [{"step": 2.0, "loss": 0.5}, {"step": 4.0, "loss": math.nan}, {"step": 6.0, "loss": 0.125}])
    finish(loggers)
    store = tmp_path / "model.logs" / "mlflow"
    (run,) = (path.parent for path in store.glob("*/*/params"))
    assert (run / "params" / "learning_rate").read_text() == "0.25"
    assert [line.split()[1:] for line in (run / "metrics" / "loss").read_text().splitlines()] == [
        ["0.5", "2"],
        ["0.125", "6"],
    ]
    told = "".join(path.read_text() for path in store.rglob("*") if path.is_file()).replace(tmp_path.as_uri(), "")
    assert not any(word in told for word in (socket.gethostname(), "dr_invented", str(Path.cwd()), sys.argv[0]))


def test_lines_are_json_whatever_was_logged(tmp_path: Path) -> None:
    log = JsonLines(tmp_path / "out.logs" / "metrics.jsonl")
    log.log_metrics({"loss": 0.5, "rank": math.nan}, 3)
    log.log_metrics({"loss": math.inf})
    lines = [json.loads(line, parse_constant=pytest.fail) for line in log.path.read_text().splitlines()]
    assert lines == [{"step": 3, "loss": 0.5, "rank": None}, {"step": None, "loss": None}]


def test_rows_are_logged_at_their_step_without_what_is_not_finite(tmp_path: Path) -> None:
    loggers: list[Logger] = make_loggers(["jsonl"], tmp_path / "comparison", {})
    log_rows(loggers, [{"step": 2.0, "train_loss": math.nan, "validation_loss": 0.25}], "scratch-1-0/")
    finish(loggers)
    (line,) = (tmp_path / "comparison.logs" / "metrics.jsonl").read_text().splitlines()
    assert json.loads(line) == {"step": 2, "scratch-1-0/validation_loss": 0.25}


def test_a_relative_folder_has_its_logs_beside_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "encoder").mkdir()
    monkeypatch.chdir(tmp_path / "encoder")
    (log,) = make_loggers(["jsonl"], Path(), {})
    assert log.path == tmp_path / "encoder.logs" / "metrics.jsonl"


@pytest.mark.slow
def test_finetuning_logs_every_evaluation(labelled, tiny_finetuning: FinetuneSettings, tmp_path: Path) -> None:
    loggers = make_loggers(["jsonl"], tmp_path / "model", {})
    parts = labelled.encoder, labelled.task, labelled.archive, labelled.train, labelled.validation
    finished = finetune(*parts, tiny_finetuning, loggers=loggers)
    plain = finetune(*parts, tiny_finetuning)
    logged = pd.read_json(tmp_path / "model.logs" / "metrics.jsonl", lines=True)
    curve = pd.DataFrame(finished.curve)
    assert logged["step"].tolist() == curve["step"].tolist()
    assert logged["validation_macro_auroc"].tolist() == pytest.approx(curve["validation_macro_auroc"].tolist())
    pd.testing.assert_frame_equal(curve, pd.DataFrame(plain.curve))
