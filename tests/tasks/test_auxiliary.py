"""Age, sex and prevalent AF learned beside survival."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.stats import pearsonr
from sklearn.metrics import log_loss, mean_absolute_error, roc_auc_score

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
    task = create_task("af_survival", COLUMNS, auxiliary=WEIGHTS)
    plain = create_task("af_survival", COLUMNS[:3])
    assert (task.classes, task.columns) == (COLUMNS, COLUMNS)
    logits = torch.tensor(np.random.default_rng(0).normal(size=(5, 28)), requires_grad=True)
    loss = task.loss(logits, torch.from_numpy(TARGETS))
    survival = plain.loss(logits[:, :25], torch.from_numpy(TARGETS[:, :3]))
    age, sex, prevalent = logits.detach().numpy()[:, 25:].T
    chance = 1 / (1 + np.exp(-np.stack([sex, prevalent])))
    expected = 0.5 * np.mean((age[[0, 1, 3]] - (TARGETS[[0, 1, 3], 3] - 60) / 15) ** 2)
    expected += 0.25 * log_loss([1, 0, 1], chance[0, [0, 2, 3]]) + 2 * log_loss([0, 0, 1], chance[1, :3])
    assert float(loss.detach() - survival.detach()) == pytest.approx(expected, rel=1e-5)
    loss.backward()
    assert logits.grad is not None
    assert ((logits.grad != 0).numpy()[:, 25:] == [[1, 1, 1], [1, 0, 1], [0, 1, 1], [1, 1, 0], [0, 0, 0]]).all()
    assert (logits.grad != 0).any(dim=1).tolist() == [True, True, True, True, False]
    assert task.informative(TARGETS).tolist() == [True, True, True, True, False]
    assert plain.informative(TARGETS[:, :3]).tolist() == [True, True, False, False, False]


def test_scores_of_what_is_learned_beside_come_last() -> None:
    task = create_task("af_survival", COLUMNS, auxiliary=WEIGHTS, bins=4)
    assert float(task.loss(torch.full((2, 7), 1e4), torch.full((2, 5), NAN))) == 0
    head = task.head(6)
    assert head.out_features == task.outputs == 7
    logits = head(torch.randn(2, 6))
    logits[:, 4:] += torch.tensor([[-1.0, 0.5, -2.0], [0.4, 3.0, 0.0]])
    scores = task.scores(logits)
    plain = create_task("af_survival", bins=4, classes=COLUMNS[:3])
    assert torch.equal(scores[:, :4], plain.scores(logits[:, :4]))
    expected = [[45, 0.622459, 0.119203], [66, 0.952574, 0.5]]
    np.testing.assert_allclose(scores[:, 4:].detach(), expected, rtol=1e-5)
    np.testing.assert_allclose(task.logits(scores).detach(), logits.detach(), atol=1e-5)
    targets = np.array([[100, 1, 0, 50, 1], [1600, 0, 0, 60, 0]])
    predictions = task.tables(targets, scores.detach().numpy())["predictions"]
    assert list(predictions)[:5] == list(COLUMNS)
    assert list(predictions)[-4:] == ["survival_1825", "auxiliary_age", "auxiliary_sex", "auxiliary_prevalent"]
    np.testing.assert_allclose(predictions.iloc[:, -4:-3], scores[:, 3:4].detach())


@pytest.mark.parametrize("options", [{}, {"encoding": "ecg_ai", "prevalent": "bin"}])
def test_metrics_beside_are_those_of_scikit_learn_and_leave_the_task_its_own(options: dict) -> None:
    rng = np.random.default_rng(0)
    n, draws = 200, rng.integers(0, 3, size=(200, 4))
    event, prevalent, male = rng.random((3, n)) < [[0.5], [0.2], [0.5]]
    y = np.column_stack([rng.integers(1, 3000, n), event, prevalent, rng.uniform(30, 90, n), male]).astype(np.float64)
    y[:20, 3], y[10:40, 4] = NAN, NAN
    task = create_task("af_survival", COLUMNS, auxiliary=WEIGHTS, **options)
    logits = torch.from_numpy(rng.normal(size=(n, task.outputs)))
    scores = task.scores(logits).numpy()
    found = task.weighted_metrics(y, scores, draws)
    assert list(found) == [metric.name for metric in task.metrics]
    assert task.metrics[0].name == "c_index"
    assert {metric.name: metric.lower_is_better for metric in task.metrics[-4:]} == {
        "age_error": True,
        "age_correlation": False,
        "sex_auroc": False,
        "prevalent_auroc": False,
    }
    plain = create_task("af_survival", COLUMNS[:3], **options)
    for name, value in plain.weighted_metrics(y[:, :3], scores[:, :-3], draws).items():
        np.testing.assert_array_equal(found[name], value)
    age, sex, prevalent = scores[:, -3:].T
    for r, drawn in enumerate(draws.T):
        old, sexed = ~np.isnan(y[:, 3]), ~np.isnan(y[:, 4])
        often = np.repeat(y[old, 3], drawn[old]), np.repeat(age[old], drawn[old])
        assert found["age_error"][r] == pytest.approx(mean_absolute_error(*often))
        assert found["age_correlation"][r] == pytest.approx(pearsonr(*often).statistic)
        wanted = roc_auc_score(y[sexed, 4], sex[sexed], sample_weight=drawn[sexed])
        assert found["sex_auroc"][r] == pytest.approx(wanted)
        wanted = roc_auc_score(y[:, 2], prevalent, sample_weight=drawn)  # of all records, unlike those of survival
        assert found["prevalent_auroc"][r] == pytest.approx(wanted)


def test_what_was_not_learned_has_no_metric() -> None:
    rng = np.random.default_rng(0)
    y = np.column_stack([rng.integers(1, 2500, 50), rng.random(50) < 0.5, np.zeros(50), np.full(50, NAN), np.ones(50)])
    task = create_task("af_survival", COLUMNS, auxiliary=WEIGHTS)
    logits = torch.from_numpy(rng.normal(size=(50, 28)))
    assert not {"age_error", "sex_auroc", "prevalent_auroc"} & set(task.evaluate(y, task.scores(logits).numpy()))
    y[:, 3], y[:25, 4] = 50 + 10 * rng.normal(size=50), 0
    scores = task.scores(logits).numpy()
    assert {"age_error", "age_correlation", "sex_auroc"} <= set(task.evaluate(y, scores))
    of_probe = task.scores(logits[:, :25]).numpy()
    assert of_probe.shape == scores.shape
    untrained = task.scores(torch.cat([logits[:, :25], torch.zeros(50, 3)], 1)).numpy()
    for nothing in (of_probe, untrained):
        assert set(task.evaluate(y, nothing)) == {metric.name for metric in task.metrics[:5]}


def test_single_targets_add_only_their_own_columns() -> None:
    for weights, columns in (({"sex": 1}, (*COLUMNS[:3], "sex")), ({"prevalent": 1}, COLUMNS[:3]), ({}, COLUMNS[:3])):
        task = create_task("af_survival", columns, auxiliary=weights)
        assert task.options["auxiliary"] == {"age": 0, "sex": 0, "prevalent": 0, **weights}
        assert task.head(3).out_features == 25 + len(weights)
        assert len(task.metrics) == 5 + len(weights)


def test_probe_of_survival_does_not_look_at_records_that_only_auxiliary_targets_need() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(300, 3)).astype(np.float32)
    time, event = np.ceil(rng.exponential(900 * np.exp(-x[:, 0]))), rng.random(300) < 0.8
    y = np.column_stack([time, event, np.arange(300) < 60, rng.uniform(30, 90, 300), rng.random(300) < 0.5])
    y = y.astype(np.float32)
    plain = create_task("af_survival", COLUMNS[:3]).fit_probe(x[60:], y[60:, :3], x[100:], y[100:, :3])
    beside = create_task("af_survival", COLUMNS, auxiliary=WEIGHTS).fit_probe(x, y, x[100:], y[100:])
    np.testing.assert_array_equal(beside.coef, plain.coef)
    layer = beside.as_layer()
    assert layer.out_features == 28
    np.testing.assert_allclose(layer.weight[:25].detach(), beside.coef, rtol=1e-6)
    assert not layer.weight[25:].any()
    assert not layer.bias[25:].any()


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
