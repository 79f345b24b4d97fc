import json

import pytest

from ssl_ecg.evaluation import MACRO_AUROC, Metric, describe, described
from ssl_ecg.tasks import create_task

ERROR = Metric("mae", "mean absolute error", "Mean distance, in years.", lower_is_better=True)


def test_better_and_best_follow_the_direction():
    assert MACRO_AUROC.better(0.8, 0.7)
    assert not MACRO_AUROC.better(0.7, 0.7)
    assert ERROR.better(3.0, 4.0)
    assert not ERROR.better(4.0, 3.0)
    rows = [("a", 2.0), ("b", 1.0), ("c", 1.0), ("d", 2.0)]
    assert MACRO_AUROC.best(rows, key=lambda row: row[1]) == ("a", 2.0)  # the first of equals
    assert ERROR.best(rows, key=lambda row: row[1]) == ("b", 1.0)


def test_declarations_travel_through_json(tmp_path):
    said = json.dumps(describe((ERROR, MACRO_AUROC), (MACRO_AUROC,)))
    assert list(described(json.loads(said)).values()) == [ERROR, MACRO_AUROC]
    (tmp_path / "a.json").write_text(said)
    assert described(tmp_path / "a.json", "class_metrics") == {"macro_auroc": MACRO_AUROC}
    assert described(tmp_path / "b.json") == {}


@pytest.mark.parametrize("name", ["arrhythmia", "cardiomyopathy", "af_survival"])
def test_every_declared_metric_says_what_it_is(name):
    task = create_task(name, {"arrhythmia": ["a"], "cardiomyopathy": ["low_lvef"]}.get(name))
    metrics = (*task.metrics, *task.class_metrics)
    assert all(metric.label and metric.meaning.endswith(".") for metric in metrics)
    assert {metric.name for metric in metrics if metric.lower_is_better} == {
        metric.name for metric in metrics if "brier" in metric.name
    }
