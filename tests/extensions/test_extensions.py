"""Extensions of every kind, each one file, from the files of a data set to the report."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
POINTS = {
    "backbones": {"own_backbone": "own_backbone:OneConvolution", "own_transformer": "own_transformer:OneBlock"},
    "objectives": {"own_objective": "own_objective:ArrowOfTime"},
    "tasks": {"age": "own_task:Age"},
    "readers": {"own_reader": "own_reader:READER"},
    "sources": {"own_source": "own_source:SOURCE"},
    "verbs": {"own_verb": "own_verb:own_verb"},
}


def python(code: str, *paths: Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run code in a process of its own, in which nothing is registered yet."""
    path = os.pathsep.join(map(str, (ROOT, *paths)))
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    return subprocess.run([sys.executable, "-c", code], env=environment, cwd=cwd, capture_output=True, text=True)


def install(folder: Path, points: dict[str, dict[str, str]]) -> Path:
    """Make a folder of installed packages that offers entry points."""
    about = folder / "extensions-1.0.dist-info"
    about.mkdir(parents=True)
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: extensions\nVersion: 1.0\n")
    lines = [
        line
        for group, named in points.items()
        for line in (f"[ssl_ecg.{group}]", *(f"{name} = {target}" for name, target in named.items()))
    ]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return folder


@pytest.mark.slow
@pytest.mark.process
def test_whole_way_with_imported_extensions(tmp_path: Path) -> None:
    modules = sorted(path.stem for path in HERE.glob("own_*.py"))
    assert len(modules) == 7
    done = python(
        f"import {', '.join(modules)}, whole_way, pathlib; whole_way.run(pathlib.Path('.'))", HERE, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.slow
@pytest.mark.process
def test_whole_way_with_entry_points(tmp_path: Path) -> None:
    installed = install(tmp_path / "installed", POINTS)
    code = "import whole_way, pathlib; whole_way.run(pathlib.Path('.'))"
    done = python(code, HERE, installed, cwd=tmp_path)
    assert done.returncode == 0, done.stderr[-3000:]


@pytest.mark.process
def test_a_broken_package_says_so_and_hurts_nobody_else(tmp_path: Path) -> None:
    groups = ("backbones", "readers", "sources")
    installed = install(tmp_path / "installed", {group: {"broken": "no_such_module:Thing"} for group in groups})
    code = (
        "import ssl_ecg, pathlib\n"
        "from ssl_ecg.backbones import create_backbone, list_backbones\n"
        "assert 'broken' in list_backbones()\n"
        "create_backbone('xresnet1d10', width=4)\n"
        "head = 'r 1 100 1000\\nr.dat 16 1000(0)/mV 16 0 0 0 0 I\\n'\n"
        "pathlib.Path('ward').mkdir()\n"
        "pathlib.Path('ward/r.hea').write_text(head)\n"
        "pathlib.Path('ward/r.dat').write_bytes(b''.join(n.to_bytes(2, 'little') for n in range(1000)))\n"
        "report = ssl_ecg.ingest('ward', 'archive', leads=['I'], workers=1, progress=False)\n"
        "print(report.accepted, 'accepted')\n"
        "create_backbone('broken')"
    )
    done = python(code, installed, cwd=tmp_path)
    assert "1 accepted" in done.stdout, done.stderr
    for kind in ("backbone", "reader", "source"):
        line = f"{kind}='broken': no_such_module:Thing cannot be imported (No module named 'no_such_module')"
        assert done.stderr.count(line) == 1, (kind, done.stderr)
