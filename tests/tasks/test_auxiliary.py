"""Age, sex and prevalent AF learned beside survival."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import log_loss

from ssl_ecg.archive import Archive, ArchiveWriter
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import create_task, read_task

WEIGHTS = {"age": 0.5, "sex": 0.25, "prevalent": 2.0}
COLUMNS = ("time_days", "event", "prevalent", "age", "sex")
NAN = float("nan")
TARGETS = np.array(
    [
        [400, 1, 0, 50, 1],
        [900, 0, 0, 70, NAN],
        [0, 1, 1, NAN, 0],  # prevalent: nothing of survival, but of the auxiliary target
        [NAN, NAN, NAN, 62, 1],
        [NAN, 0, NAN, NAN, NAN],
    ],
    np.float32,
)


def test_loss_is_that_of_survival_and_weighted_means_over_known_targets() -> None:
    task = create_task("af_survival", COLUMNS, auxiliary=WEIGHTS).for_training(TARGETS)
    plain = create_task("af_survival", COLUMNS[:3])
    assert (task.classes, task.columns) == (COLUMNS, COLUMNS)
    logits = torch.tensor(np.random.default_rng(0).normal(size=(5, 28)), requires_grad=True)
    loss = task.loss(logits, torch.from_numpy(TARGETS))
    survival = plain.loss(logits[:, :25], torch.from_numpy(TARGETS[:, :3]))
    age, sex, prevalent = logits.detach().numpy()[:, 25:].T
    known = TARGETS[[0, 1, 3], 3]
    chance = 1 / (1 + np.exp(-np.stack([sex, prevalent])))
    expected = 0.5 * np.mean((age[[0, 1, 3]] - (known - known.mean()) / known.std()) ** 2)
    expected += 0.25 * log_loss([1, 0, 1], chance[0, [0, 2, 3]]) + 2 * log_loss([0, 0, 1], chance[1, :3])
    assert float(loss.detach() - survival.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert ((logits.grad != 0).numpy()[:, 25:] == [[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 0]]).all()
    assert (logits.grad != 0).any(dim=1).tolist() == [True, True, True, True, False]
    assert task.informative(TARGETS).tolist() == [True, True, True, True, False]
    assert plain.informative(TARGETS[:, :3]).tolist() == [True, True, False, False, False]


def test_nothing_known_gives_no_loss_and_scores_are_of_survival_alone() -> None:
    task = create_task("af_survival", COLUMNS, auxiliary=WEIGHTS, bins=4).for_training(np.full((3, 5), np.nan))
    logits = torch.full((2, 7), 1e4)
    assert float(task.loss(logits, torch.full((2, 5), NAN))) == 0
    head = task.head(6)
    assert head.out_features == 7
    scores = task.scores(head(torch.randn(2, 6)))
    assert torch.equal(
        scores, create_task("af_survival", bins=4, classes=COLUMNS[:3]).scores(head(torch.zeros(2, 6))[:, :4])
    )
    targets = np.array([[100, 1, 0, 50, 1], [1600, 0, 0, 60, 0]])
    assert list(task.tables(targets, scores.detach().numpy())["predictions"])[:5] == list(COLUMNS)


def test_single_targets_add_only_their_own_columns() -> None:
    for weights, columns in (({"sex": 1}, (*COLUMNS[:3], "sex")), ({"prevalent": 1}, COLUMNS[:3]), ({}, COLUMNS[:3])):
        task = create_task("af_survival", columns, auxiliary=weights)
        assert task.options["auxiliary"] == {"age": 0, "sex": 0, "prevalent": 0, **weights}
        assert task.head(3).out_features == 25 + len(weights)
    with pytest.raises(ValueError, match="age: its scale in training is not known"):
        create_task("af_survival", COLUMNS, auxiliary=WEIGHTS).loss(torch.zeros(5, 28), torch.from_numpy(TARGETS))


def test_probe_of_survival_does_not_look_at_records_that_only_auxiliary_targets_need() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)).astype(np.float32)
    time, event = np.ceil(rng.exponential(900 * np.exp(-x[:, 0]))), rng.random(300) < 0.8
    y = np.column_stack([time, event, np.arange(300) < 60, rng.uniform(30, 90, 300), rng.random(300) < 0.5])
    y = y.astype(np.float32)
    plain = create_task("af_survival", COLUMNS[:3]).fit_probe(x[60:], y[60:, :3], x[100:], y[100:, :3])
    beside = create_task("af_survival", COLUMNS, auxiliary=WEIGHTS).fit_probe(x, y, x[100:], y[100:])
    np.testing.assert_array_equal(beside.coef, plain.coef)


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Four records, whose manifest knows some ages and sexes."""
    settings = SignalSettings(leads=("I",), duration=1, min_duration=1)
    manifest = pd.DataFrame(
        {
            "record_id": [f"r{i}" for i in range(4)],
            "patient_id": [f"p{i}" for i in range(4)],
            "source": "clinic",
            "age": [50.0, 60.0, np.nan, 80.0],
            "sex": ["male", "female", "female", None],
            "recorded_at": pd.NaT,
            "original_rate": 100.0,
            "original_duration": 1.0,
            "calibrated": True,
        }
    )
    writer = ArchiveWriter(tmp_path_factory.mktemp("archive"), settings)
    writer.write_part(np.zeros((4, 1, 100), np.float32), manifest, [("r9.hea", "flat lead: I")])
    return writer.finish()


def follow_up(**columns: object) -> pd.DataFrame:
    table = pd.DataFrame({"record_id": ["r3", "r9", "r0", "r2", "r1"], "time_days": 100.0, "event": 0, "prevalent": 0})
    return table.assign(**columns)


def test_age_and_sex_come_from_the_table_or_else_from_the_manifest(archive: Archive, tmp_path: Path) -> None:
    options = {"auxiliary": WEIGHTS}
    labels, task = read_task("af_survival", follow_up(), archive, options=options)
    assert labels.classes == task.classes == COLUMNS
    np.testing.assert_array_equal(labels.targets[:, 3:], [[80, NAN], [50, 1], [NAN, 0], [60, 0]])
    own = follow_up(sex=["female", None, "female", "male", None], age=[1, 2, 3, 4, None])
    own.to_csv(tmp_path / "own.csv", index=False)
    for table in (own, tmp_path / "own.csv", own.assign(sex=[0, None, 0, 1, None])):
        labels, _ = read_task("af_survival", table, archive, options=options)
        np.testing.assert_array_equal(labels.targets[:, 3:], [[1, 0], [3, 0], [4, 1], [NAN, NAN]])
    assert read_task("af_survival", follow_up(), archive)[0].classes == COLUMNS[:3]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"age": [50, 50, 300, 50, 50]}, "age=300: must be between 0 and 130 years, or blank"),
        ({"sex": [0, 0, 0, 2, 0]}, "sex=2: must be 0 or 1, or blank"),
        ({"sex": ["female", "male", "f", None, "x"]}, "column 'sex' .* got text for r0"),
    ],
)
def test_impossible_ages_and_sexes_are_named(archive: Archive, columns: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_task("af_survival", follow_up(**columns), archive, options={"auxiliary": WEIGHTS})
