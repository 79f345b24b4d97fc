"""What is installed is whole: the wheel runs outside the checkout, with recipes and the encoder that ships."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.process]
ROOT = Path(__file__).parents[1]
ASKED = """
import ssl_ecg
from pathlib import Path
assert Path(ssl_ecg.__file__).is_relative_to(Path.cwd()), ssl_ecg.__file__
ssl_ecg.load_encoder("synthetic")
assert len(ssl_ecg.load_model("synthetic").task.classes) == 50
"""


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the wheel, without the checkout."""
    pytest.importorskip("hatchling", reason="no hatchling: pip install 'ssl_ecg[dev]'")
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    return folder / "site"


def ran(installed: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=installed, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_runs_outside_the_checkout(installed: Path) -> None:
    ran(installed, "-c", ASKED)
    recipe = ran(installed, "-m", "ssl_ecg", "pretrain", "a", "b", "objective=bimodal_mae", "--print-config")
    assert "bimodal_vit" in recipe, "a recipe that lies beside the package in the checkout"
    assert "ssl-ecg VERB PATHS" in ran(installed, "-m", "ssl_ecg", "--help")


def test_the_wheel_holds_no_tests_and_nothing_of_the_machine(installed: Path) -> None:
    names = {path.name for path in installed.iterdir()}
    assert {name for name in names if not name.endswith(".dist-info")} == {"ssl_ecg"}
    assert not [path for path in installed.rglob("*") if path.suffix in (".ckpt", ".pyc", ".log")]
