from __future__ import annotations

import errno
import os
import pickle
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import load_encoder
from ssl_ecg.runs import Run, previous_of
from ssl_ecg.training import PretrainSettings, pretrain, pretraining
from ssl_ecg.training.checkpoints import read_state, write_state
from ssl_ecg.training.pretraining import PretrainModule
from ssl_ecg.training.stops import NOT_FINITE, told_of_memory


def states(folder: Path) -> Path:
    """Two states written one after the other."""
    path = folder / "checkpoints" / "last.ckpt"
    for number in (1, 2):
        write_state({"step": number, "weights": torch.arange(6.0) + number}, path)
    return path


class Malicious:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return os.mkdir, (str(self.path),)


def test_the_last_state_is_read_and_the_one_before_where_the_last_is_cut_at_any_byte(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = states(tmp_path)
    assert read_state(path)["step"] == 2
    whole = path.read_bytes()
    for cut in range(0, len(whole), 7):
        path.write_bytes(whole[:cut])
        assert read_state(path)["step"] == 1
    assert "last.ckpt: damaged or no plain state" in caplog.text
    path.unlink()
    assert read_state(path)["step"] == 1
    with pytest.raises(ValueError, match=r"no checkpoint can be read; remove .*checkpoints to begin again"):
        read_state(path, fall_back=False)


@pytest.mark.parametrize("call", ["fsync", "replace"])
def test_a_write_that_fails_leaves_a_state_to_go_on_from(
    call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = states(tmp_path)
    owner, calls = (os, "fsync") if call == "fsync" else (Path, "replace")
    original = getattr(owner, calls)
    for count in range(4):
        made: list[int] = []

        def fail(*arguments: Any, made: list[int] = made, count: int = count) -> Any:
            made.append(1)
            if len(made) == count + 1:
                raise OSError(errno.ENOSPC, "No space left on device")
            return original(*arguments)

        with monkeypatch.context() as patch:
            patch.setattr(owner, calls, fail)
            with suppress(OSError):
                write_state({"step": 3, "weights": torch.zeros(6)}, path)
        assert read_state(path)["step"] in (2, 3)


def test_a_checkpoint_that_somebody_sent_runs_no_code(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stop(*_: Any) -> None:
        raise InterruptedError

    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "save_encoder", stop)
        with pytest.raises(InterruptedError):
            pretrain(tiny_archive, tmp_path / "out", tiny_pretraining, progress=False)
    run = Run(tmp_path / "out")
    for path in run.checkpoints.glob("*.ckpt"):
        torch.save({**read_state(path), "sent": Malicious(tmp_path / "executed")}, path)
    with pytest.raises(ValueError, match="no checkpoint can be read"):
        pretrain(tiny_archive, tmp_path / "out", tiny_pretraining, progress=False)
    for path in run.checkpoints.glob("*.ckpt"):
        path.write_bytes(pickle.dumps(Malicious(tmp_path / "executed")))
    with pytest.raises(ValueError, match="no checkpoint can be read"):
        pretrain(tiny_archive, tmp_path / "out", tiny_pretraining, progress=False)
    assert not (tmp_path / "executed").exists()


@pytest.mark.slow
def test_a_damaged_checkpoint_costs_one_epoch(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tiny_pretraining.replace(epochs=3)
    pretrain(tiny_archive, tmp_path / "straight", settings, progress=False)

    def stop(*_: Any) -> None:
        raise InterruptedError

    out = tmp_path / "out"
    with monkeypatch.context() as patch:
        patch.setattr(pretraining, "save_encoder", stop)
        with pytest.raises(InterruptedError):
            pretrain(tiny_archive, out, settings, progress=False)
    Run(out).last.write_bytes(b"")
    assert read_state(previous_of(Run(out).last))["epoch"] == 1
    resumed, straight = pretrain(tiny_archive, out, settings, progress=False), load_encoder(tmp_path / "straight")
    for name, value in straight.backbone.state_dict().items():
        assert torch.equal(resumed.backbone.state_dict()[name], value), name
    assert not Run(out).checkpoints.exists()


def test_a_loss_that_is_not_finite_stops_and_names_the_records(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original, seen = PretrainModule.training_step, []

    def step(self: PretrainModule, batch: dict[str, torch.Tensor], batch_index: int) -> torch.Tensor:
        loss = original(self, batch, batch_index)
        seen.append(batch["row"].numpy())
        return loss * torch.nan if len(seen) == 2 else loss

    monkeypatch.setattr(PretrainModule, "training_step", step)
    with pytest.raises(ValueError, match=r"learning_rate=0\.\d+: the training loss is nan at step 2; .*lower the"):
        pretrain(tiny_archive, tmp_path, tiny_pretraining, progress=False)
    table = pd.read_csv(tmp_path / NOT_FINITE)
    names = tiny_archive.manifest["record_id"].to_numpy()
    assert sorted(table["record_id"]) == sorted(names[seen[1]])
    assert np.isfinite(table[["lowest_mv", "highest_mv"]].to_numpy()).all()


def test_memory_that_ends_is_told_with_the_setting_to_lower() -> None:
    with pytest.raises(ValueError, match="batch_size=64: out of memory; lower the batch size"), told_of_memory(64):
        torch.empty(2**60)
    with pytest.raises(RuntimeError, match="size"), told_of_memory(64):
        torch.zeros(2) @ torch.zeros(3)
