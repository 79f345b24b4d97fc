"""What a scheduler or Ctrl-C stops says so in one line, and the same command goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from ssl_ecg.backbones import load_encoder
from ssl_ecg.cli import main
from ssl_ecg.runs import Run

pytestmark = [pytest.mark.slow, pytest.mark.process]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_pretraining_that_is_told_to_stop_goes_on_later(number: signal.Signals, tmp_path: Path) -> None:
    archive = str(tmp_path / "archive")
    assert main(["synthesize", archive, "records=80", "duration=5", "workers=1"]) == 0
    options = ["backbone=xresnet1d10", "backbone.width=4", "epochs=40", "batch_size=16", "precision=32-true"]

    def command(out: str, epochs: int = 40) -> list[str]:
        return ["pretrain", archive, str(tmp_path / out), *options, f"epochs={epochs}", "patience=100"]

    process = subprocess.Popen(
        [sys.executable, "-m", "ssl_ecg", *command("out")],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    run = Run(tmp_path / "out")
    while not run.begun and process.poll() is None:
        time.sleep(0.05)
    process.send_signal(number)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert errors.rstrip().endswith("ssl-ecg pretrain: stopped; the same command goes on from what is written")
    assert "Traceback" not in errors
    assert main(command("out")) == 0
    assert main(command("straight")) == 0
    one, two = (load_encoder(tmp_path / name).state_dict() for name in ("out", "straight"))
    assert all(torch.equal(value, two[name]) for name, value in one.items())
