"""What a scheduler or Ctrl-C stops says so in one line, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from ssl_ecg.cli import main
from ssl_ecg.runs import Run

pytestmark = [pytest.mark.slow, pytest.mark.process]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("archive")
    assert main(["synthesize", str(folder), "records=80", "duration=5", "workers=1"]) == 0
    return folder


@pytest.fixture(scope="module")
def straight(archive: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """An encoder and a model that nothing hindered."""
    folders = {verb: tmp_path_factory.mktemp(verb) for verb in ("pretrain", "finetune")}
    for verb, out in folders.items():
        assert main(command(verb, archive, out, folders)) == 0
    return folders


def command(verb: str, archive: Path, out: Path, straight: dict[str, Path]) -> list[str]:
    if verb == "pretrain":
        options = ["backbone=xresnet1d10", "backbone.width=4", "batch_size=16", "precision=32-true"]
        return [verb, str(archive), str(out), *options, "epochs=40", "patience=100"]
    options = ["batch_size=8", "precision=32-true", "steps=300", "evaluations=30"]
    labels = archive / "labels" / "conditions.csv"
    paths = [str(straight["pretrain"]), str(archive), str(labels), str(out)]
    return [verb, *paths, "seen_patients=test", *(f"training.{option}" for option in options)]


def stopped(arguments: list[str], number: signal.Signals, environment: dict[str, str]) -> int:
    """Send a signal to a training when it has a checkpoint, and return its exit code."""
    verb, out = arguments[0], Path(arguments[4] if arguments[0] == "finetune" else arguments[2])
    process = subprocess.Popen(
        [sys.executable, "-m", "ssl_ecg", *arguments],
        env={**os.environ, "OMP_NUM_THREADS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_until(lambda: Run(out).begun or process.poll() is not None)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert errors.rstrip().endswith(f"ssl-ecg {verb}: stopped; the same command goes on from what is written"), errors
    assert "Traceback" not in errors
    return process.returncode


def wait_until(so: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not so():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def with_scontrol(folder: Path, then: str = "") -> str:
    """Write a scontrol that notes in ``folder/called`` what it is asked for; return the PATH on which it is found."""
    scontrol = folder / "bin" / "scontrol"
    scontrol.parent.mkdir()
    scontrol.write_text(f'#!/bin/sh\necho "$@" >> {folder}/called\n{then}\n', encoding="utf-8")
    scontrol.chmod(0o755)
    return f"{scontrol.parent}{os.pathsep}{os.environ['PATH']}"


def assert_same(one: Path, two: Path) -> None:
    weights = load_file(two / "model.safetensors")
    assert all(torch.equal(value, weights[name]) for name, value in load_file(one / "model.safetensors").items())


def test_a_pretraining_that_ctrl_c_stops_goes_on_later(
    archive: Path, straight: dict[str, Path], tmp_path: Path
) -> None:
    arguments = command("pretrain", archive, tmp_path / "out", straight)
    assert stopped(arguments, signal.SIGINT, {}) == 128 + signal.SIGINT
    assert main(arguments) == 0
    assert_same(tmp_path / "out", straight["pretrain"])


@pytest.mark.parametrize("verb", ["pretrain", "finetune"])
def test_a_job_that_slurm_ends_is_queued_again_and_goes_on(
    verb: str, archive: Path, straight: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = {"SLURM_JOB_ID": "4711", "SLURM_NTASKS": "1", "SLURM_NTASKS_PER_NODE": "1", "SLURM_JOB_NAME": "pretrain"}
    job |= {"SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NODEID": "0", "SLURM_NNODES": "1"}
    job["PATH"] = with_scontrol(tmp_path, then="kill -TERM $PPID")  # queued again, a job is ended, by SIGTERM
    out = tmp_path / "out"
    out.mkdir()
    # A checkpoint as Lightning leaves it when a job is queued again, in a folder that somebody sent.
    torch.save({"state_dict": {}}, out / "hpc_ckpt_1.ckpt")
    arguments = command(verb, archive, out, straight)
    assert stopped(arguments, signal.SIGUSR1, job) == 128 + signal.SIGTERM
    assert (tmp_path / "called").read_text(encoding="utf-8") == "requeue 4711\n"
    assert Run(out).begun
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    assert main(arguments) == 0
    assert_same(out, straight[verb])
    assert [path.name for path in (*archive.iterdir(), *out.iterdir()) if "hpc" in path.name] == ["hpc_ckpt_1.ckpt"]


def test_a_process_has_its_job_queued_again_whatever_the_others_do(
    archive: Path, straight: dict[str, Path], tmp_path: Path
) -> None:
    job = {"SLURM_JOB_ID": "4712", "SLURM_NTASKS": "2", "SLURM_NTASKS_PER_NODE": "2", "SLURM_JOB_NAME": "pretrain"}
    job |= {"SLURM_NNODES": "1", "SLURM_NODEID": "0", "SLURM_NODELIST": "localhost", "OMP_NUM_THREADS": "1"}
    job |= {"PATH": with_scontrol(tmp_path), "CUDA_VISIBLE_DEVICES": ""}
    out = tmp_path / "out"
    arguments = [*command("pretrain", archive, out, straight), "devices=2", "epochs=1000", "patience=1000"]
    ranks = [
        subprocess.Popen(
            [sys.executable, "-m", "ssl_ecg", *arguments],
            env={**os.environ, **job, "SLURM_PROCID": str(rank), "SLURM_LOCALID": str(rank)},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for rank in range(2)
    ]
    try:
        wait_until(lambda: Run(out).begun)
        ranks[0].send_signal(signal.SIGUSR1)  # the other goes on with its step, and joins in nothing
        wait_until((tmp_path / "called").exists)
        assert (tmp_path / "called").read_text(encoding="utf-8") == "requeue 4712\n"
    finally:
        for rank in ranks:
            rank.kill()
            rank.wait()
