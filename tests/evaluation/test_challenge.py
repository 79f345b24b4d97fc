from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.evaluation import challenge_metric, challenge_metrics, macro_auprc, macro_auroc


def test_challenge_oracle(read_oracle):
    oracle = read_oracle("cinc2021_challenge_metric")
    weights = pd.read_csv(Path(__file__).parents[1] / "oracles" / "cinc2021_weights.csv", index_col=0)
    for number in range(3):
        case = {name.split("/")[1]: value for name, value in oracle.items() if name.startswith(f"{number}/")}
        for classes in (oracle["classes"].tolist(), list(weights.columns)):
            value = challenge_metric(case["labels"], case["outputs"], classes, weights.to_numpy())
            assert value == pytest.approx(float(case["challenge_metric"]), abs=1e-12)
        assert macro_auroc(case["labels"], case["scores"]) == pytest.approx(float(case["macro_auroc"]), abs=1e-9)
        assert macro_auprc(case["labels"], case["scores"]) == pytest.approx(float(case["macro_auprc"]), abs=1e-9)


def test_challenge_scale():
    classes, weights = ["426783006", "164889003|164890007", "270492004"], np.eye(3) * 0.5 + 0.5
    labels = np.array([[1, 0, 0], [0, 1, 1], [0, 0, 1]])
    assert challenge_metric(labels, labels, classes, weights) == 1
    assert challenge_metric(labels, np.tile([1, 0, 0], (3, 1)), classes, weights) == 0
    assert challenge_metric(labels, np.tile([0, 1, 0], (3, 1)), classes, weights, normal_class="164890007") == 0


@pytest.mark.parametrize(
    ("labels", "classes", "normal", "message"),
    [
        ([[1, 0]], ["a", "b"], "c", "'c' is not among"),
        ([[1, 0]], ["a", "b", "c"], "a", "must agree"),
        ([[1, np.nan]], ["a", "b"], "a", "0 or 1"),
    ],
)
def test_challenge_refuses(labels, classes, normal, message):
    with pytest.raises(ValueError, match=message):
        challenge_metric(labels, [[1, 0]], classes, np.eye(2), normal)


def test_challenge_under_weights_counts_records_repeatedly():
    rng = np.random.default_rng(0)
    labels, outputs = (rng.random((2, 30, 3)) < 0.4).astype(float)
    classes, rewards = ["426783006", "a", "b"], np.array([[1, 0.5, 0.3], [0.5, 1, 0.4], [0.3, 0.4, 1]])
    drawn = rng.poisson(1, (30, 4))
    found = challenge_metrics(labels, outputs, classes, rewards, drawn)
    for r in range(4):
        repeated = np.repeat(np.arange(30), drawn[:, r])
        assert found[r] == pytest.approx(challenge_metric(labels[repeated], outputs[repeated], classes, rewards))
    assert challenge_metrics(labels, outputs, classes, rewards, np.zeros((30, 1))).tolist() == [0]
