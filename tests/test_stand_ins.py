"""Help and lists are told without the libraries that verbs compute with, and tell the same."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from ssl_ecg import _stand_ins, cli
from ssl_ecg.backbones import list_backbones
from ssl_ecg.objectives import list_objectives
from ssl_ecg.tasks import list_tasks
from ssl_ecg.verbs import VERBS
from ssl_ecg.verbs.list_ import KINDS

pytestmark = pytest.mark.process

_TELL = """
import sys
from ssl_ecg import _stand_ins
_stand_ins.put_in_place()
from ssl_ecg import _stand_ins, cli
for line in sys.stdin.read().splitlines():
    assert cli.main(line.split()) == 0, line
assert not {name for name in _stand_ins.LIBRARIES if hasattr(sys.modules.get(name), "__file__")}
"""


def test_help_of_every_verb_and_every_choice_is_that_of_the_whole_package(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(cli.console, "width", 80)
    lines = [
        *(f"{name} --help" for name in VERBS.names()),
        *(f"pretrain --help objective={name}" for name in list_objectives()),
        *(f"pretrain --help backbone={name}" for name in list_backbones()),
        *(f"finetune --help task={name}" for name in list_tasks()),
        "list",
        *(f"list {kind}" for kind in KINDS),
    ]
    for line in lines:
        assert cli.main(line.split()) == 0
    told = subprocess.run(
        [sys.executable, "-c", _TELL], input="\n".join(lines), capture_output=True, text=True, check=True
    )
    assert told.stdout == capsys.readouterr().out


@pytest.mark.parametrize("words", [["odd", "--help"], ["list", "verbs"]])
def test_what_stand_ins_cannot_tell_is_told_without_them(words: list[str], tmp_path: Path) -> None:
    """A module that computes while it is imported, as that of another package may, is imported anew."""
    (tmp_path / "odd.py").write_text("import torch\nassert torch.arange(3).sum() == 3\nprint('whole')\n")
    run = (
        f"import sys; sys.argv = ['ssl-ecg', *{words}]\n"
        "from ssl_ecg.cli import main\nfrom ssl_ecg.verbs.verb import VERBS\nVERBS.offer('odd', 'odd:main')\nmain()"
    )
    ended = subprocess.run([sys.executable, "-c", run], cwd=tmp_path, capture_output=True, text=True)
    assert ended.stdout.splitlines()[0] == "whole", ended.stderr


def test_a_process_that_computes_gets_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["ssl-ecg", "--help"])
    assert cli.main() == 0
    assert not _stand_ins.in_place()
    assert torch.zeros(1).sum() == 0
