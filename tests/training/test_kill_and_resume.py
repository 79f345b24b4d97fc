from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import load_encoder
from ssl_ecg.training import PretrainSettings, pretrain, pretraining
from ssl_ecg.training.pretraining import PretrainModule, split_patients

pytestmark = [pytest.mark.slow, pytest.mark.process]


# A process that kills itself as a power cut would, at the n-th call of a method.
KILLED = """
import os, signal
from ssl_ecg.archive import open_archive
from ssl_ecg.training import PretrainSettings, pretrain
from {module} import {owner}
original, calls = {owner}.{method}, []
def killing(self, *arguments, **options):
    calls.append(1)
    if len(calls) == {count}:
        os.kill(os.getpid(), signal.SIGKILL)
    return original(self, *arguments, **options)
{owner}.{method} = killing
pretrain(open_archive({archive!r}), {out!r}, PretrainSettings(**{settings}), progress=False)
"""


def run_until_killed(
    archive: Archive, out: Path, settings: PretrainSettings, module: str, owner: str, method: str, count: int
) -> None:
    code = KILLED.format(
        archive=str(archive.folder),
        out=str(out),
        settings=settings.to_dict(),
        module=module,
        owner=owner,
        method=method,
        count=count,
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, "OMP_NUM_THREADS": "1"}, capture_output=True, text=True
    )
    assert result.returncode == -signal.SIGKILL, result.stderr
    assert not (out / "config.json").exists()


def table(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "pretraining.csv").drop(columns="ecg_per_second")


def assert_same_run(out: Path, other: Path) -> None:
    one, two = load_encoder(out), load_encoder(other)
    for (name, value), (_, expected) in zip(
        one.backbone.state_dict().items(), two.backbone.state_dict().items(), strict=True
    ):
        assert torch.equal(value, expected), name
    pd.testing.assert_frame_equal(table(out), table(other), check_exact=True)
    assert {**one.origin, "seconds": 0} == {**two.origin, "seconds": 0}
    assert {path.name for path in out.iterdir()} == {path.name for path in other.iterdir()}


@pytest.fixture(scope="module")
def settings(tiny_pretraining: PretrainSettings) -> PretrainSettings:
    # The learning rate makes the validation loss go up and down, so that the last epoch is not always the best.
    return tiny_pretraining.replace(epochs=6, learning_rate=0.03)


@pytest.fixture(scope="module")
def uninterrupted(tiny_archive: Archive, settings: PretrainSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("uninterrupted") / "encoder"
    pretrain(tiny_archive, out, settings, progress=False)
    return out


@pytest.fixture(scope="module")
def steps_per_epoch(tiny_archive: Archive, settings: PretrainSettings) -> int:
    train, _ = split_patients(tiny_archive, np.arange(len(tiny_archive)), settings.validation, settings.seed)
    return len(train) // settings.batch_size


@pytest.fixture(scope="module")
def killed(
    tiny_archive: Archive,
    settings: PretrainSettings,
    steps_per_epoch: int,
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """What a kill in the middle of the fourth epoch left, three of them being whole."""
    out = tmp_path_factory.mktemp("killed") / "encoder"
    step = 3 * steps_per_epoch + 2
    at = ("ssl_ecg.training.pretraining", "PretrainModule", "training_step", step)
    run_until_killed(tiny_archive, out, settings, *at)
    return out


@pytest.fixture
def epochs_trained(monkeypatch: pytest.MonkeyPatch) -> set[int]:
    """The epochs in which a step was taken from here on."""
    epochs: set[int] = set()
    original = PretrainModule.training_step

    def spy(self: PretrainModule, batch: dict[str, torch.Tensor], batch_index: int) -> torch.Tensor:
        epochs.add(self.current_epoch)
        return original(self, batch, batch_index)

    monkeypatch.setattr(PretrainModule, "training_step", spy)
    return epochs


def copy(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def test_a_killed_run_continues_after_its_last_whole_epoch_as_if_nothing_had_been(
    tiny_archive: Archive,
    settings: PretrainSettings,
    killed: Path,
    uninterrupted: Path,
    epochs_trained: set[int],
    tmp_path: Path,
) -> None:
    # Also when it is continued in another place: a scratch disk, a mount with another name.
    out = copy(killed, tmp_path / "elsewhere")
    losses = table(out)["validation_loss"]
    assert len(losses) == 3
    pretrain(tiny_archive, out, settings.replace(resume="yes"), progress=False)
    assert epochs_trained == {3, 4, 5}
    assert_same_run(out, uninterrupted)


def test_the_whole_tests_what_it_says(uninterrupted: Path) -> None:
    assert (table(uninterrupted)["validation_loss"].diff() > 0).any()  # not every epoch is the best so far


@pytest.mark.parametrize("best", [0, 2, 4])
def test_the_best_epoch_is_kept_over_a_kill(
    tiny_archive: Archive,
    settings: PretrainSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    best: int,
) -> None:
    def validate(self: PretrainModule, batch: dict[str, torch.Tensor], batch_index: int) -> None:
        self.log("validation_loss", float(abs(self.current_epoch - best)), batch_size=1)
        self._features.append(self.objective(batch)["features"])

    monkeypatch.setattr(PretrainModule, "validation_step", validate)
    settings = settings.replace(keep="best")
    pretrain(tiny_archive, tmp_path / "straight", settings, progress=False)
    with stopped_at(PretrainModule, "on_train_epoch_start", 4, monkeypatch):
        pretrain(tiny_archive, tmp_path / "stopped", settings, progress=False)
    (tmp_path / "stopped").rename(tmp_path / "moved")
    pretrain(tiny_archive, tmp_path / "moved", settings, progress=False)
    assert load_encoder(tmp_path / "moved").origin["epoch"] == best
    assert_same_run(tmp_path / "moved", tmp_path / "straight")


class PowerCutError(Exception):
    """Raised where a process is to end."""


@contextmanager
def stopped_at(owner: Any, method: str, call: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Expect a run that ends at the n-th call of a method."""
    original, calls = getattr(owner, method), []

    def stop(*arguments: Any, **options: Any) -> Any:
        calls.append(1)
        if len(calls) == call:
            raise PowerCutError
        return original(*arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(owner, method, stop)
        with pytest.raises(PowerCutError):
            yield


def test_a_kill_between_the_two_checkpoints_of_an_epoch_is_survived_too(
    tiny_archive: Archive, settings: PretrainSettings, uninterrupted: Path, tmp_path: Path
) -> None:
    # The weights of the best epoch are written, the state to continue from is not.
    best, out = int(table(uninterrupted)["validation_loss"].idxmin()), tmp_path / "out"
    assert best > 0
    call = 2 * best + 2
    run_until_killed(
        tiny_archive, out, settings, "ssl_ecg.training.checkpoints", "EpochCheckpoint", "on_train_epoch_end", call
    )
    assert len(table(out)) == best + 1
    pretrain(tiny_archive, out, settings, progress=False)
    assert_same_run(out, uninterrupted)


def test_a_run_that_ended_but_was_not_saved_is_only_saved(
    tiny_archive: Archive,
    settings: PretrainSettings,
    uninterrupted: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epochs_trained: set[int],
) -> None:
    out = tmp_path / "out"
    with stopped_at(pretraining, "save_encoder", 1, monkeypatch):
        pretrain(tiny_archive, out, settings, progress=False)
    epochs_trained.clear()
    pretrain(tiny_archive, out, settings, progress=False)
    assert epochs_trained == set()
    assert_same_run(out, uninterrupted)


def test_a_run_that_stopped_early_but_was_not_saved_stays_stopped(
    tiny_archive: Archive,
    settings: PretrainSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    epochs_trained: set[int],
) -> None:
    settings = settings.replace(epochs=60, patience=2, learning_rate=0.5)
    pretrain(tiny_archive, tmp_path / "straight", settings, progress=False)
    out = tmp_path / "out"
    with stopped_at(pretraining, "save_encoder", 1, monkeypatch):
        pretrain(tiny_archive, out, settings, progress=False)
    epochs_trained.clear()
    pretrain(tiny_archive, out, settings, progress=False)
    assert epochs_trained == set()
    assert_same_run(out, tmp_path / "straight")


def test_a_killed_run_is_not_continued_with_other_settings(
    tiny_archive: Archive, settings: PretrainSettings, killed: Path
) -> None:
    (killed / ".lock").unlink()  # the next process that works here removes it
    before = {path: path.read_bytes() for path in killed.rglob("*") if path.is_file()}
    with pytest.raises(ValueError, match=r"settings\.epochs: 6 there, 8 now") as error:
        pretrain(tiny_archive, killed, settings.replace(epochs=8), progress=False)
    assert "seed" not in str(error.value)
    other = {**settings.objective.to_dict(), "temperature": 0.5}
    with pytest.raises(ValueError, match=r"settings\.objective\.temperature: 0\.1 there, 0\.5 now"):
        pretrain(tiny_archive, killed, settings.replace(objective=other), progress=False)
    with pytest.raises(ValueError, match=r"patients_digest"):
        pretrain(tiny_archive, killed, settings, holdout=np.array([0]), progress=False)
    with pytest.raises(FileExistsError, match="holds a run already"):
        pretrain(tiny_archive, killed, settings.replace(resume="no"), progress=False)
    assert {path: path.read_bytes() for path in killed.rglob("*") if path.is_file()} == before


def test_a_run_killed_before_its_first_whole_epoch_leaves_nothing_to_continue(
    tiny_archive: Archive, settings: PretrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with stopped_at(PretrainModule, "training_step", 2, monkeypatch):
        pretrain(tiny_archive, tmp_path, settings, progress=False)
    with pytest.raises(FileNotFoundError, match="there is no run to resume"):
        pretrain(tiny_archive, tmp_path, settings.replace(resume="yes"), progress=False)
    pretrain(tiny_archive, tmp_path, settings.replace(resume="no", epochs=1), progress=False)
    assert load_encoder(tmp_path).origin["settings"]["epochs"] == 1


def test_a_moving_average_target_survives_a_kill(
    tiny_archive: Archive, settings: PretrainSettings, steps_per_epoch: int, tmp_path: Path
) -> None:
    options = {"projector_width": 16, "embedding": 8, "predictor_width": 16, "augment": {"gaussian_noise": 0.1}}
    # A momentum at which the target is some steps behind: to start from the network again would be another run.
    byol = settings.replace(objective={"name": "byol", **options, "momentum": 0.8}, epochs=2)
    step = steps_per_epoch + 2
    killed_at = ("ssl_ecg.training.pretraining", "PretrainModule", "training_step", step)
    run_until_killed(tiny_archive, tmp_path / "killed", byol, *killed_at)
    assert len(table(tmp_path / "killed")) == 1
    pretrain(tiny_archive, tmp_path / "killed", byol, progress=False)
    pretrain(tiny_archive, tmp_path / "uninterrupted", byol, progress=False)
    assert_same_run(tmp_path / "killed", tmp_path / "uninterrupted")
