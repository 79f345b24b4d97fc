"""What an import costs: a drawing library is loaded where something is drawn."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.process

# Says who imports a drawing library. Lightning's torchmetrics does so by itself, wherever a network is trained.
_WATCH = """
import sys

class Watch:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("matplotlib", "captum") or name.startswith("pandas.plotting._matplotlib"):
            frame = sys._getframe(1)
            while "importlib" in frame.f_code.co_filename:
                frame = frame.f_back
            print("drawn by", frame.f_globals.get("__name__"))

sys.meta_path.insert(0, Watch())
"""


def drawn_by(statement: str) -> set[str]:
    """Return the packages that import a drawing library."""
    command = [sys.executable, "-c", _WATCH + statement]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    return {line.removeprefix("drawn by ").split(".")[0] for line in lines if line.startswith("drawn by")}


@pytest.mark.parametrize("room", ["tasks", "evaluation", "training"])
def test_rooms_load_no_drawing_library_before_a_network_is_trained(room: str) -> None:
    assert drawn_by(f"import ssl_ecg.{room}") == set()


def test_the_engine_loads_none_by_itself() -> None:
    assert drawn_by("from ssl_ecg.training import finetune, pretrain") <= {"torchmetrics", "matplotlib"}


def test_the_watch_sees_what_it_looks_for() -> None:
    assert "ssl_ecg" in drawn_by("import ssl_ecg.report")
