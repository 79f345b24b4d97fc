"""The classical arm: gradient boosting on named features."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ssl_ecg
from ssl_ecg.tasks import create_task
from ssl_ecg.tasks.boosted import Boosted
from ssl_ecg.verbs.boost import importances


def test_trees_find_what_is_missing_too_and_permutation_says_which_feature_it_was() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(400, 4))
    label = (x[:, 0] > 0).astype(float)
    missing = rng.random(400) < 0.3
    x[missing, 1] = np.nan
    targets = np.column_stack([label, missing, np.zeros(400)])
    targets[:50, 0] = np.nan
    boosted = Boosted(trees=20, learning_rate=0.3, seed=0)
    boosted.fit(x[:200], targets[:200], x[200:], targets[200:])
    scores = boosted.scores(x[200:])
    task = create_task("arrhythmia", ("high", "missing", "never"))
    assert task.evaluate(targets[200:], scores)["macro_auroc"] > 0.99
    assert np.allclose(scores[:, 2], 0.5 / 201)  # a base rate
    drops = importances(boosted, task, x[200:], targets[200:], {"a": [0], "b": [1], "others": [2, 3]}, 3, 0)
    fall = drops.set_index("feature")["importance"]
    assert fall["a"] == pytest.approx(0.25, abs=0.08)  # one of two classes falls from 1 to .5
    assert fall["b"] == pytest.approx(0.25, abs=0.08)
    assert abs(fall["others"]) < 0.01


@pytest.mark.slow
def test_named_features_columns_and_an_encoder_go_together(tmp_path: Path) -> None:
    archive = ssl_ecg.synthesize(tmp_path / "archive", records=150, seed=5, duration=10, workers=1)
    table = pd.read_csv(archive.folder / "labels" / "conditions.csv")[["record_id", "sinus_bradycardia"]]
    options = {"trees": 15, "repeats": 2, "split": {"validation": 0.3, "test": 0.3}}
    alone = ssl_ecg.boost(None, archive, table, tmp_path / "alone", columns=["age", "sex"], **options)
    assert alone["macro_auroc"] > 0.9
    drops = pd.read_csv(tmp_path / "alone" / "importances.csv")
    assert drops["feature"][0] in ("heart_rate", "rr_mean", "rr_min", "rr_max")
    features = pd.read_csv(tmp_path / "alone" / "features.csv")
    assert {"record_id", "age", "sex", "qtc"} <= set(features)
    with pytest.raises(ValueError, match=r"there is nothing to learn from"):
        ssl_ecg.boost(None, archive, table, tmp_path / "none", rhythm=False, **options)
