"""Finetuning and probing that were killed go on; finished ones are found; others are refused."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch

import ssl_ecg
from ssl_ecg.runs import Run
from ssl_ecg.tasks import Classifier
from ssl_ecg.training import FinetuneSettings
from ssl_ecg.training.checkpoints import read_state
from ssl_ecg.training.finetune_module import FinetuneModule

if TYPE_CHECKING:
    from conftest import Labelled

pytestmark = pytest.mark.slow

CODE = """
import sys, ssl_ecg, torch
torch.set_num_threads(1)
encoder, archive, labels, out = sys.argv[1:5]
split = ssl_ecg.SplitSettings(seed=4, validation=0.25, test=0.25)
training = {training!r}
ssl_ecg.finetune(encoder, archive, labels, out, split=split, training=training, classes={classes!r}, progress=False)
"""


def given(labelled: Labelled) -> dict[str, Any]:
    split = ssl_ecg.SplitSettings(seed=4, validation=0.25, test=0.25)
    return {"classes": list(labelled.task.classes), "split": split}


@pytest.fixture
def training(tiny_finetuning: FinetuneSettings) -> FinetuneSettings:
    augment = {"gaussian_noise": 0.1, "lead_masking": 0.3}
    return tiny_finetuning.replace(steps=13, evaluations=6, learning_rate=0.02, augment=augment)


def same(one: Classifier, two: Classifier) -> bool:
    others = two.state_dict()
    return all(torch.equal(value, others[name]) for name, value in one.state_dict().items())


class PowerCutError(Exception):
    """Raised where a process is to end."""


@pytest.mark.parametrize("stopped_at", [1, 3, 6, 11])
@pytest.mark.parametrize("schedule", ["cosine", "onecycle"])
def test_a_stopped_finetuning_goes_on_as_if_nothing_had_been(
    schedule: str,
    stopped_at: int,
    labelled: Labelled,
    training: FinetuneSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    training = training.replace(schedule=schedule, one_per_patient=stopped_at == 6)
    if stopped_at == 3:
        training = training.replace(static=("age", "sex", "rhythm"))
    if stopped_at == 11:  # when labels have been corrected
        training = training.replace(label_correction=0.5)
    table = labelled.archive.folder / "labels" / "conditions.csv"
    call = (labelled.encoder, labelled.archive, table)
    options = {**given(labelled), "training": training, "progress": False}
    straight = ssl_ecg.finetune(*call, tmp_path / "straight", **options)
    original, steps = FinetuneModule.training_step, []

    def step(self: FinetuneModule, batch: dict[str, torch.Tensor], batch_index: int) -> torch.Tensor:
        steps.append(1)
        if len(steps) == stopped_at:
            raise PowerCutError
        return original(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(FinetuneModule, "training_step", step)
        with pytest.raises(PowerCutError):
            ssl_ecg.finetune(*call, tmp_path / "out", **options)
    run = Run(tmp_path / "out")
    done = (stopped_at - 1) // 2 * 2
    assert run.begun == (done > 0)
    if run.begun:
        assert read_state(run.last)["step"] == done
        with pytest.raises(ValueError, match=r"training\.learning_rate: 0\.02 there, 0\.01 now"):
            ssl_ecg.finetune(*call, run.folder, **{**options, "training": training.replace(learning_rate=0.01)})
    gone_on = ssl_ecg.finetune(*call, run.folder, **options)
    assert same(straight.model, gone_on.model)
    assert straight.metrics == pytest.approx(gone_on.metrics, rel=0, abs=0, nan_ok=True)
    names = [sorted(path.name for path in (tmp_path / name).iterdir()) for name in ("straight", "out")]
    assert names[0] == names[1]
    for name in ("curve.csv", "predictions.csv"):
        one, two = (pd.read_csv(tmp_path / folder / name) for folder in ("straight", "out"))
        pd.testing.assert_frame_equal(one, two, check_exact=True)


@pytest.mark.process
def test_a_finetuning_that_is_killed_at_random_ends_with_the_same_weights(
    labelled: Labelled, training: FinetuneSettings, tmp_path: Path
) -> None:
    from ssl_ecg.backbones import save_encoder

    encoder = save_encoder(labelled.encoder, tmp_path / "encoder", "card")
    table = labelled.archive.folder / "labels" / "conditions.csv"
    code = CODE.format(training=training.to_dict(), classes=list(labelled.task.classes))
    command = [sys.executable, "-c", code, str(encoder), str(labelled.archive.folder), str(table)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run([*command, str(tmp_path / "straight")], env=environment, check=True, capture_output=True)
    rng, kills = random.Random(0), 0
    for _ in range(3):
        process = subprocess.Popen([*command, str(tmp_path / "out")], env=environment, stderr=subprocess.DEVNULL)
        while not Run(tmp_path / "out").begun and process.poll() is None:
            time.sleep(0.01)
        time.sleep(kills * rng.uniform(0, 0.5))  # the first one as soon as there is something to go on with
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    subprocess.run([*command, str(tmp_path / "out")], env=environment, check=True, capture_output=True)
    assert kills > 0
    one, two = (ssl_ecg.load_model(tmp_path / name) for name in ("straight", "out"))
    assert same(one, two)


def test_a_finished_result_is_found_and_another_call_is_refused(
    labelled: Labelled, training: FinetuneSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = labelled.archive.folder / "labels" / "conditions.csv"
    call = (labelled.encoder, labelled.archive, table)
    for name, options in (("probe", {}), ("finetune", {"training": training, "progress": False})):
        verb, out = getattr(ssl_ecg, name), tmp_path / name
        options = {**given(labelled), **options}
        first = verb(*call, out, **options)
        before = {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.iterdir()}
        again = verb(*call, out, **options)
        assert again.metrics == pytest.approx(first.metrics, rel=0, abs=0, nan_ok=True)
        assert same(first.model, again.model)
        rows = labelled.test[0]
        pd.testing.assert_frame_equal(first.predict(labelled.archive, rows), again.predict(labelled.archive, rows))
        with pytest.raises(ValueError, match="holds a run with other settings"):
            verb(*call, out, **{**options, "classes": list(labelled.task.classes)[:1]})
        other = pd.read_csv(table)
        other[labelled.task.classes[0]] = 1 - other[labelled.task.classes[0]]
        with pytest.raises(ValueError, match="labels: "):
            verb(labelled.encoder, labelled.archive, other, out, **options)
        assert {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in out.iterdir()} == before
        with pytest.raises(ValueError, match="holds an archive"):
            verb(*call, labelled.archive.folder, **options)
        encoder = ssl_ecg.backbones.save_encoder(labelled.encoder, tmp_path / f"encoder_{name}", "card")
        with pytest.raises(ValueError, match="holds a result of another command"):
            verb(*call, encoder, **options)


def test_a_probe_is_a_model_that_evaluate_takes(labelled: Labelled, tmp_path: Path) -> None:
    table = labelled.archive.folder / "labels" / "conditions.csv"
    fitted = ssl_ecg.probe(labelled.encoder, labelled.archive, table, tmp_path / "probe", **given(labelled))
    assert not labelled.encoder.patients  # what is given stays as it is
    loaded = ssl_ecg.load_model(tmp_path / "probe")
    assert same(fitted.model, loaded)
    with pytest.raises(ValueError, match="seen_patients"):
        ssl_ecg.evaluate(tmp_path / "probe", labelled.archive, table, tmp_path / "refused")
    ssl_ecg.evaluate(tmp_path / "probe", labelled.archive, table, tmp_path / "out", seen_patients="leave_out")
    scored = pd.read_csv(tmp_path / "out" / "predictions.csv").set_index("record_id")
    probed = pd.read_csv(tmp_path / "probe" / "predictions.csv").set_index("record_id")
    assert np.isfinite(scored.select_dtypes("number")).all(axis=None)
    pd.testing.assert_frame_equal(scored.loc[probed.index], probed, atol=1e-5, rtol=0)
