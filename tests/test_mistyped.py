"""Thirty commands as people mistype them: one line, exit code 2, and what was meant or what works."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssl_ecg import cli

MISTYPED: list[tuple[str, str]] = [
    ("", "choose one of ablate, archive"),
    ("pretran archive out", "did you mean pretrain?"),
    ("fine-tune encoder archive labels.csv out", "did you mean finetune?"),
    ("train archive out", "did you mean pretrain?"),
    ("help", "ssl-ecg --help"),
    ("classify model ecg.xml", "choose one of ablate"),
    ("epochs=3 pretrain archive out", "the verb comes first; ssl-ecg VERB PATHS... [name=value ...]"),
    ("--hlep", "did you mean --help?"),
    ("--versoin", "did you mean --version?"),
    ("-v", "there is no such flag"),
    ("pretrain archive out --epochs=3", "settings have no dashes: epochs=3"),
    ("pretrain archive out --epochs 3", "settings have no dashes: epochs=VALUE"),
    ("pretrain archive out --batch-size=3", "settings have no dashes: batch_size=3"),
    ("pretrain archive out --print-confg", "did you mean --print-config?"),
    ("pretrain archive out --config", "expected one argument"),
    ("pretrain archive", "out: must be given; ssl-ecg pretrain ARCHIVE OUT [name=value ...]"),
    ("pretrain archive out epochs 3", "'epochs': is no setting and one path too many; ssl-ecg pretrain ARCHIVE OUT"),
    ("pretrain archive out epochs = 3", "one path too many; ssl-ecg pretrain ARCHIVE OUT"),
    ("pretrain archive out epocs=3", "did you mean epochs?"),
    ("pretrain archive out epochs=three", "epochs='three': must be a valid integer"),
    ("pretrain archive out epochs=", "epochs='': must be a valid integer"),
    ("pretrain archive out epochs=-1", "epochs='-1': must be greater than 0"),
    ("pretrain archive out objective=simclear", "did you mean simclr?"),
    ("pretrain archive out objective.temprature=0.1", "did you mean temperature?"),
    ("pretrain archive out backbone=resnet18", "resnet1d18?"),
    ("pretrain archive out split=ptb-xl", "did you mean ptbxl?"),
    ("pretrain archve out", "did you mean '{folder}/archive'?"),
    ("ingest ecg archive2", "did you mean '{folder}/ecgs'?"),
    ("ingest ecgs archive2 leads=I", "must be a list; give [I]"),
    ("ingest ecgs archive2 leads=[I,X7]", "leads"),
    ("ingest ecgs archive2 sampling_rate=100Hz", "sampling_rate='100Hz': must be a valid number"),
    ("probe encoder archive labels.csv out task=arrythmia", "did you mean arrhythmia?"),
    ("finetune encodr archive labels.csv out", "no archive in"),
    ("predict encodr ecgs out", "did you mean '{folder}/encoder'?"),
    ("predict encoder ecgs out", "no task.json, so this is not a finetuned model"),
    ("explain encoder ecgs out", "no task.json, so this is not a finetuned model"),
    ("embed encodr ecgs out", "did you mean '{folder}/encoder'?"),
    ("export encoder out format=tflite", "must be 'onnx' or 'torch'"),
    ("info archve", "did you mean '{folder}/archive'?"),
    ("list backbone", "did you mean backbones?"),
]


@pytest.mark.parametrize(("command", "message"), MISTYPED)
def test_a_mistyped_command_is_one_line_that_says_what_works(
    command: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for folder in ("archive", "encoder", "ecgs"):
        (tmp_path / folder).mkdir()
    assert cli.main(command.split()) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    assert message.format(folder=".").replace("'./", "'") in shown.err
    assert "Traceback" not in shown.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["archive", "ecgs", "encoder"]


def test_version_and_completion(capsys: pytest.CaptureFixture) -> None:
    assert cli.main(["--version"]) == 0
    assert capsys.readouterr().out.split() == ["ssl_ecg", cli.__version__]
    assert cli.main(["--completion"]) == 0
    line = capsys.readouterr().out
    assert line.startswith("complete -o default -W 'ablate archive ")
    assert line.count("\n") == 1
