"""What tests of commands share: paths that make no difference, calls that stop where work would begin."""

from __future__ import annotations

from typing import Any

import pytest

import ssl_ecg
from ssl_ecg import cli
from ssl_ecg.settings import Settings
from ssl_ecg.verbs import VERBS

NAMES = VERBS.names()
DATA = ("encoder", "archive", "labels.csv", "out")
PATHS = {
    "ingest": ("ecgs", "archive"),
    "synthesize": ("archive",),
    "label": ("archive", "echo.csv", "labels.csv"),
    "pretrain": ("archive", "out"),
    "probe": DATA,
    "few_shots": DATA,
    "review_labels": DATA,
    "boost": DATA,
    "finetune": DATA,
    "ensemble": ("a,b", "archive", "labels.csv", "out"),
    "evaluate": ("model", "archive", "labels.csv", "out"),
    "compare": DATA,
    "ablate": ("archive", "labels.csv", "out"),
}


def paths(name: str) -> tuple[str, ...]:
    """Return what to give a verb whose paths make no difference here."""
    return PATHS.get(name) or tuple(VERBS[name].paths)


class Captured:
    """Calls of verbs that stop where their work would begin."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.settings: list[Settings] = []
        for name in NAMES:
            monkeypatch.setattr(VERBS[name], "run", self.run)
            monkeypatch.setattr(VERBS[name], "show", lambda *_: None)

    def run(self, *paths: Any, settings: Settings, **of_call: Any) -> None:
        self.paths, self.of_call = paths, of_call
        self.settings.append(settings)

    def line(self, *arguments: str) -> Any:
        """Return the settings that a command line gives."""
        assert cli.main(arguments) == 0
        return self.settings[-1]

    def call(self, name: str, *paths: Any, **options: Any) -> Any:
        """Return the settings that a call in Python gives."""
        getattr(ssl_ecg, name)(*paths, **options)
        return self.settings[-1]


def refused(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """Return the one line that a command line which cannot be ends with."""
    capsys.readouterr()
    assert cli.main(arguments) == 2
    shown = capsys.readouterr()
    assert (shown.out, shown.err.count("\n")) == ("", 1)
    return shown.err


def shown(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    capsys.readouterr()
    assert cli.main(arguments) == 0
    return capsys.readouterr().out


def one_line(text: str) -> str:
    return " ".join(text.split())
