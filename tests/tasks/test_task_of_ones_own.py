"""A task defined outside the package, with a metric of which less is better, from the probe to the report."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from numpy.typing import NDArray

import ssl_ecg
from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.comparison.arms import run_trained
from ssl_ecg.evaluation import Metric
from ssl_ecg.labels import SplitSettings
from ssl_ecg.report import write_report
from ssl_ecg.tasks import Task, create_task, read_task, register
from ssl_ecg.tasks.registry import TASKS
from ssl_ecg.training import FinetuneSettings, finetune

pytestmark = pytest.mark.slow

# What importing an extension registers is for this module alone.
with pytest.MonkeyPatch.context() as _patch:
    _patch.setattr(TASKS, "_things", dict(TASKS._things))
    from own_task import Age, RidgeProbe


TRAINING = FinetuneSettings(steps=12, batch_size=16, evaluations=6, crop=None, head="zero", precision="32-true")
SPLIT = SplitSettings(validation=0.25, test=0.35)


@pytest.fixture(scope="module", autouse=True)
def registered() -> Iterator[None]:
    """Make the task available, here alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TASKS, "_things", dict(TASKS._things))
        register("age", Age)
        yield


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return ssl_ecg.synthesize(tmp_path_factory.mktemp("age") / "archive", records=120, seed=5, duration=5, workers=1)


@pytest.fixture(scope="module")
def ids(archive: Archive) -> pd.DataFrame:
    known = archive.manifest["age"].notna()
    assert known.sum() > 60
    return archive.manifest.loc[known, ["record_id"]]


@pytest.fixture(scope="module")
def encoder(archive: Archive) -> Encoder:
    torch.manual_seed(0)
    return Encoder("xresnet1d10", {"width": 4}, archive.settings).eval()


def labelled(archive: Archive, ids: pd.DataFrame) -> tuple[tuple[NDArray, NDArray], ...]:
    table, _ = read_task("age", ids, archive)
    splits = SPLIT.split(table)
    return tuple((table.rows[part], table.targets[part]) for part in (splits.train, splits.validation, splits.test))


def test_the_step_with_the_smallest_error_is_kept(archive: Archive, ids: pd.DataFrame, encoder: Encoder) -> None:
    train, validation, test = labelled(archive, ids)
    found = finetune(encoder, Age(), archive, train, validation, TRAINING.replace(learning_rate=0.3))
    errors = [row["validation_mae"] for row in found.curve]
    assert len(set(errors)) > 2
    assert found.best["validation_mae"] == min(errors)
    tried = [TRAINING.replace(learning_rate=rate) for rate in (1e-2, 1e-5)]
    outcome, index = run_trained(encoder, Age(), archive, train, validation, test[0], tried)
    each = outcome.chosen["candidate_validation"]
    assert each[0] != each[1]
    assert index == int(np.argmin(each))
    assert outcome.validation == min(each)


def test_the_probe_takes_the_strength_with_the_smallest_error() -> None:
    rng = np.random.default_rng(0)
    x, years = rng.normal(size=(120, 40)), rng.uniform(20, 90, (120, 1)).astype(np.float32)
    x[:, :1] += (years - 50) / 20
    parts = x[:60], years[:60], x[60:], years[60:]
    probe = Age().fit_probe(*parts)
    alone = [RidgeProbe(Age(), grid=[strength]).fit(*parts).validation_score for strength in probe.grid]
    assert probe.grid[int(np.argmin(alone))] == probe.C
    assert probe.validation_score == min(alone) < max(alone)


def test_verdicts_and_choices_of_a_comparison(
    archive: Archive, ids: pd.DataFrame, encoder: Encoder, tmp_path: Path
) -> None:
    given = {"fractions": (1.0,), "seeds": (3,), "replicates": 50, "task": "age", "progress": False, "split": SPLIT}
    arms = {
        "pretrained_finetune": TRAINING.replace(head="probe"),
        "scratch": TRAINING,
        "pretrained_candidates": ({"learning_rate": 1e-5}, {"learning_rate": 1e-2}),
        "scratch_candidates": ({"learning_rate": 1e-2}, {"learning_rate": 1e-5}),
    }
    ssl_ecg.compare(encoder, archive, ids, tmp_path, **given, **arms)
    said = json.loads((tmp_path / "comparison.json").read_text())
    assert said["metrics"] == [
        {
            "name": "mae",
            "label": "mean absolute error",
            "meaning": "Mean distance from the age, in years.",
            "lower_is_better": True,
        }
    ]
    curves = pd.read_csv(tmp_path / "curves.csv")
    for arm, curve in curves.groupby("arm"):
        run = json.loads((tmp_path / "runs" / f"{arm}-1-3" / "result.json").read_text())
        assert run["candidate"] == int(np.argmin(run["candidate_validation"]))
        assert run["step"] == curve["step"].iloc[int(np.argmin(curve["validation_mae"]))]
    assert not (tmp_path / "per_class.csv").exists()

    summary = pd.read_csv(tmp_path / "summary.csv")
    difference = summary["arm"] == "pretrained_finetune - scratch"
    for sign, answer in ((1, "Pretraining does not pay here: it is worse"), (-1, "Pretraining pays here")):
        ends = sorted((sign * 1.0, sign * 3.0))
        summary.loc[difference, ["mean", "low", "high", "p_value"]] = [sign * 2.0, *ends, 0.01]
        summary.to_csv(tmp_path / "summary.csv", index=False)
        page = write_report(tmp_path).read_text()
        assert answer in page
        assert "Below 0 the first of the pair is better" in page
        assert "Mean absolute error for each number of labels" in page


def test_probe_writes_what_there_is(archive: Archive, ids: pd.DataFrame, encoder: Encoder, tmp_path: Path) -> None:
    found = ssl_ecg.probe(encoder, archive, ids, tmp_path, task="age", split=SPLIT, subgroups=["sex"]).metrics
    assert found["mae_low"] <= found["mae"] <= found["mae_high"]
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    assert found["mae"] == pytest.approx((predictions["age"] - predictions["age_score"]).abs().mean(), rel=1e-4)
    assert {path.name for path in tmp_path.iterdir()} == {
        *("metrics.json", "meanings.json", "predictions.csv", "subgroups.csv", "subgroups.svg"),
        *("leakage.csv", "plane.csv", "plane.svg", "typicality.safetensors"),
        *("model.safetensors", "head.safetensors", "config.json", "task.json", "run.json", "README.md"),
        *("cohort.csv", "report.html"),
    }
    assert "mean absolute error, 95 % interval" in (tmp_path / "subgroups.svg").read_text()


def test_what_a_task_must_say_is_asked_for_by_name() -> None:
    with pytest.raises(ValueError, match=r"classes=\['years'\]: task 'age' needs age"):
        create_task("age", ["years"])
    with pytest.raises(
        ValueError, match="mean absolute error is not defined: no target is known among these 2 records"
    ):
        Age().evaluate(np.full((2, 1), np.nan), np.ones((2, 1)))

    class Undeclared(Age):
        metrics = (Metric("rmse", "root mean squared error", "", lower_is_better=True),)

    with pytest.raises(ValueError, match="metrics: task 'age' does not declare mae"):
        Undeclared().evaluate(np.ones((2, 1)), np.ones((2, 1)))
    with pytest.raises(TypeError, match="weighted_metrics"):
        type("Nothing", (Task,), {"name": "nothing", "loss": Age.loss})(["a"])
