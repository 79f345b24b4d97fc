"""Both branches of the guard, whichever of them this machine needs."""

from __future__ import annotations

import subprocess
import sys
from importlib.machinery import ModuleSpec
from pathlib import Path

import pytest
import torch

from ssl_ecg import _torchvision
from ssl_ecg._torchvision import OPERATORS, declare_missing_operators, operators_load

pytestmark = pytest.mark.process

# Before ssl_ecg is imported nothing may be declared, so the file is loaded by itself.
ALONE = f"""
import importlib.util, torch
spec = importlib.util.spec_from_file_location("guard", {str(_torchvision.__file__)!r})
guard = importlib.util.module_from_spec(spec)
spec.loader.exec_module(guard)
there = lambda: [name for name in guard.OPERATORS if hasattr(torch.ops.torchvision, name)]
assert there() == [], there()
"""


def run(code: str) -> str:
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def test_where_operators_do_not_load_they_are_declared_once() -> None:
    run(
        ALONE
        + """
guard.operators_load = lambda: False
assert guard.declare_missing_operators() == ["nms", "qnms"]
assert there() == ["nms", "qnms"]
import gc; gc.collect()
assert guard.declare_missing_operators() == []
assert there() == ["nms", "qnms"]
"""
    )


def test_where_operators_load_nothing_is_declared() -> None:
    run(
        ALONE
        + """
guard.operators_load = lambda: True
def refuse(*arguments): raise AssertionError(f"touched torch.library: {arguments}")
torch.library.Library = refuse
assert guard.declare_missing_operators() == []
assert there() == []
"""
    )


def test_the_package_itself_imports_neither_torch_nor_torchvision_until_they_are_needed() -> None:
    run(
        """
import sys, ssl_ecg, ssl_ecg.cli
assert not {"torch", "torchvision", "pandas", "scipy"} & set(sys.modules), sorted(sys.modules)
finders = len(sys.meta_path)
import torchvision
assert len(sys.meta_path) == finders - 1
import timm, lightly
"""
    )


def test_after_the_package_torchvision_and_its_users_import() -> None:
    import lightly.loss
    import timm.optim
    import torchmetrics
    import torchvision

    assert all(module.__name__ for module in (lightly.loss, timm.optim, torchmetrics, torchvision))
    assert declare_missing_operators() == []  # and nothing is declared twice


def test_without_the_guard_the_import_fails_where_operators_do_not_load() -> None:
    if operators_load():
        pytest.skip("this torchvision's operators load into this torch: nothing to guard against")
    assert "nms does not exist" in run(
        "try:\n    import torchvision\nexcept RuntimeError as error:\n    print(error)\nelse:\n    print('imported')"
    )


def test_declared_here_already() -> None:
    assert declare_missing_operators() == []
    if not operators_load():
        assert all(hasattr(torch.ops.torchvision, name) for name in OPERATORS)


@pytest.fixture
def torchvision_at(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty package folder that is found as torchvision."""
    spec = ModuleSpec("torchvision", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(_torchvision.importlib.util, "find_spec", lambda name: spec)
    return tmp_path


def test_operators_load_where_there_is_no_torchvision(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_torchvision.importlib.util, "find_spec", lambda name: None)
    assert operators_load()


def test_operators_do_not_load_from_a_missing_or_damaged_library(torchvision_at: Path) -> None:
    assert not operators_load()
    (torchvision_at / "_C.so").write_bytes(b"not a library")
    assert not operators_load()


def test_operators_load_from_a_sound_library(torchvision_at: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded: list[str] = []
    monkeypatch.setattr(_torchvision.ctypes, "CDLL", loaded.append)
    library = torchvision_at / "_C.cpython-311-x86_64-linux-gnu.so"
    library.touch()
    assert operators_load()
    assert loaded == [str(library)]
