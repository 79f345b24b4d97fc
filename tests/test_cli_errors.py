"""What a user can mend ends in one line and exit code 2, whatever was mistyped, missing or broken."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest
from commands import Captured, paths, refused

import ssl_ecg
from ssl_ecg import cli
from ssl_ecg.settings import SettingsError
from ssl_ecg.verbs import VERBS


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Captured:
    return Captured(monkeypatch)


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("ingest", "sampling_rat=100", "sampling_rat='100': there is no such setting; did you mean sampling_rate?"),
        ("ingest", "sampling_rate=fast", "sampling_rate='fast'"),
        ("ingest", "sampling_rate=-1", "sampling_rate='-1'"),
        ("ingest", "leads=[I,V9]", "V9"),
        ("ingest", "leads=[I", "leads='[I': is no list or mapping"),
        ("ingest", "workers=many", "workers='many'"),
        ("ingest", "quality.flatt=1", "quality.flatt=1: there is no such setting; did you mean flat?"),
        ("ingest", "quality.flat=low", "quality.flat='low'"),
        ("synthesize", "records=few", "records='few'"),
        ("synthesize", "records=0", "records='0'"),
        ("pretrain", "epocs=3", "did you mean epochs?"),
        ("pretrain", "epochs=three", "epochs='three'"),
        ("pretrain", "epochs=0", "epochs='0'"),
        ("pretrain", "resume=perhaps", "resume='perhaps'"),
        ("pretrain", "objective=cmcs", "did you mean cmsc?"),
        ("pretrain", "backbone=xresnet18", "did you mean xresnet1d18?"),
        ("pretrain", "backbone.widht=3", "did you mean width?"),
        ("pretrain", "objektive.width=3", "did you mean objective?"),
        ("pretrain", "split=ptbx", "split='ptbx': there is no such recipe; did you mean ptbxl?"),
        ("pretrain", "split.test=most", "split.test='most'"),
        ("pretrain", "split.test_folds=[9]", "test_folds"),
        ("probe", "task=arythmia", "did you mean arrhythmia?"),
        ("finetune", "training=scrach", "did you mean scratch?"),
        ("finetune", "training.steps=1.5", "training.steps"),
        ("finetune", "training.head=magic", "training.head='magic'"),
        ("finetune", "steps=9", "steps='9': there is no such setting"),
        ("evaluate", "subgroups=age", "subgroups='age'"),
        ("compare", "arms=[magic]", "magic"),
        ("compare", "fractions=[all]", "fractions"),
        ("compare", "scratch.steps=1", "steps=1"),
        ("compare", "seeds=[]", "seeds"),
        ("compare", "not a setting", "'not a setting': is no setting and one path too many"),
        ("ablate", "ablation=contrast", "did you mean contrastive?"),
    ],
)
def test_misspelt_and_mistyped_settings_are_one_line_that_names_them(
    name: str, change: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    given = [str(tmp_path / path) for path in paths(name)]
    error = refused(capsys, name, *given, change)
    assert error.startswith(f"ssl-ecg {name}: ")
    assert message in error
    assert list(tmp_path.iterdir()) == []


def test_python_names_what_is_misspelt_too() -> None:
    with pytest.raises(SettingsError, match=r"epocs=2: there is no such setting; did you mean epochs\?"):
        ssl_ecg.pretrain("a", "b", epocs=2)
    with pytest.raises(TypeError, match="settings and epochs: give all settings at once"):
        ssl_ecg.pretrain("a", "b", settings=VERBS["pretrain"].settings(), epochs=2)
    with pytest.raises(TypeError, match="out"):
        ssl_ecg.pretrain("a")
    with pytest.raises(AttributeError, match="pretran"):
        ssl_ecg.pretran  # noqa: B018


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "verb: must be given; choose one of ablate, archive, boost, compare"),
        (("pretran", "a", "b"), "verb='pretran': unknown; did you mean pretrain?"),
        (("pretrain", "only-one-path"), "out: must be given; ssl-ecg pretrain ARCHIVE OUT [name=value ...]"),
        (("pretrain", "a", "b", "--hlep"), "--hlep"),
    ],
)
def test_command_lines_that_are_none_say_what_is_wanted(
    arguments: tuple[str, ...], message: str, capsys: pytest.CaptureFixture
) -> None:
    assert message in refused(capsys, *arguments)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ingest", "{empty}", "{out}"], "holds no recording"),
        (["ingest", "{nowhere}", "{out}"], "is not a folder"),
        (["pretrain", "{nowhere}", "{out}"], "no archive in"),
        (["probe", "{nowhere}", "{empty}", "labels.csv", "{out}"], "no archive in"),
        (["compare", "{nowhere}", "{empty}", "labels.csv", "{out}"], "not an encoder folder"),
    ],
)
def test_missing_inputs_are_one_line_and_leave_nothing(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "empty").mkdir()
    folders = {name: str(tmp_path / name) for name in ("empty", "nowhere", "out")}
    assert message in refused(capsys, *(argument.format(**folders) for argument in arguments))
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_an_error_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(VERBS["synthesize"], "run", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        cli.main(["synthesize", "out"])


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "full"),
            "full: in the folder of temporary files, or in one of 'here', 'there'; make room",
        ),
        (OSError(errno.ENOSPC, "full", "model.bin"), "full: 'model.bin'; make room"),
        (
            FileNotFoundError(errno.ENOENT, "No usable temporary directory found in ['/tmp']"),
            "['/tmp']; make room in one",
        ),
        (OSError(errno.EACCES, "closed", "model.bin"), "closed: 'model.bin'; change its permissions"),
    ],
)
def test_an_error_of_a_disk_names_a_place_and_a_cure(
    error: OSError, message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture
) -> None:
    def full(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(VERBS["ingest"], "run", full)
    assert message in refused(capsys, "ingest", "here", "there", "workers=1")
