"""Several processes are one: the same losses and weights, and a run that lost one of them goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ssl_ecg
from ssl_ecg.archive import open_archive
from ssl_ecg.backbones import load_encoder
from ssl_ecg.cli import main
from ssl_ecg.runs import Run
from ssl_ecg.training import extract_features

pytestmark = [pytest.mark.slow, pytest.mark.process]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("distributed") / "archive"
    return Path(ssl_ecg.synthesize(folder, records=160, duration=5, seed=3, workers=1).folder)


def command(archive: Path, out: Path, devices: int) -> list[str]:
    """Return a pretraining in which nothing is drawn per process, and nothing normalised over a process's own batch."""
    # A batch norm would see the batch of its process: synchronised ones need a GPU.
    objective = ["objective=cmsc", "objective.augment={}", "objective.projector_layers=1"]
    network = ["backbone=vit1d", "backbone.width=12", "backbone.depth=1"]
    training = ["validation=0.3", "batch_size=32", "epochs=30", "patience=100", "precision=32-true"]
    return ["pretrain", str(archive), str(out), *objective, *network, *training, f"devices={devices}"]


def started(arguments: list[str]) -> subprocess.Popen[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, "-m", "ssl_ecg", *arguments],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture(scope="module")
def alone(archive: Path) -> Path:
    """The run of one process."""
    out = archive.parent / "alone"
    assert main(command(archive, out, 1)) == 0
    return out


def assert_same_run(one: Path, two: Path) -> None:
    first, second = (pd.read_csv(folder / "pretraining.csv") for folder in (one, two))
    np.testing.assert_allclose(first["train_loss"], second["train_loss"], rtol=1e-4)
    # Validation leaves out what cannot be shared evenly, here up to three records.
    columns = ["epoch", "step", "validation_loss", "feature_deviation", "effective_rank"]
    np.testing.assert_allclose(first[columns], second[columns], rtol=0.03)
    # Not weight by weight: Adam scales the rounding errors of a bias without a gradient, as of keys, to steps.
    archive = open_archive(one.parent / "archive")
    first, second = (extract_features(load_encoder(folder), archive, np.arange(40)) for folder in (one, two))
    assert np.linalg.norm(first - second) < 1e-3 * np.linalg.norm(first)


def test_four_processes_learn_what_one_does(archive: Path, alone: Path, tmp_path: Path) -> None:
    process = started(command(archive, tmp_path / "out", 4))
    told, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors
    assert told.count("the encoder lies in") == 1, "one process speaks for all"
    assert "deprecated" not in errors
    assert_same_run(alone, tmp_path / "out")


def children(process: int) -> list[int]:
    """Return the processes that a process started, from /proc."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == process:
                found.append(int(stat.parent.name))
        except OSError:  # it has ended
            continue
    return found


def test_a_run_that_lost_a_process_ends_and_goes_on(archive: Path, alone: Path, tmp_path: Path) -> None:
    out = tmp_path / "out"
    process = started(command(archive, out, 2))
    while not Run(out).begun and process.poll() is None:
        time.sleep(0.02)
    (rank,) = [child for child in children(process.pid) if b"ssl_ecg" in Path(f"/proc/{child}/cmdline").read_bytes()]
    os.kill(rank, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode != 0, "it lost half of its batch"
    assert not (out / "model.safetensors").exists()
    again = started(command(archive, out, 2))
    _, errors = again.communicate(timeout=300)
    assert again.returncode == 0, errors
    assert_same_run(alone, out)
