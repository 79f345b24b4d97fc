from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from sklearn.ensemble import HistGradientBoostingClassifier

from ssl_ecg.comparison.arms import run_boosted
from ssl_ecg.tasks import create_task
from ssl_ecg.training import extract_features

if TYPE_CHECKING:
    from conftest import Study


@pytest.mark.slow
def test_trees_on_frozen_features_are_an_arm(study: Study, tmp_path: Path) -> None:
    arms = ("random_probe", "pretrained_probe", "pretrained_boost")
    settings = study.settings.replace(arms=arms, fractions=(1.0,), probe_draws=1, seeds=(3,))
    summary = study.run(tmp_path, settings=settings)
    assert {"pretrained_boost", "pretrained_probe - pretrained_boost"} <= set(summary["arm"])
    folder = tmp_path / "runs" / "pretrained_boost-1-3"
    trees = json.loads((folder / "result.json").read_text(encoding="utf-8"))["trees"]
    features = extract_features(study.encoder, study.archive, study.labels.rows)
    found, splits = np.load(folder / "test_scores.npy"), study.splits
    for c, count in enumerate(trees):
        label = study.labels.targets[splits.train, c]
        known = ~np.isnan(label)
        model = HistGradientBoostingClassifier(max_iter=count, early_stopping=False, random_state=0)
        model.fit(features[splits.train][known], label[known])
        np.testing.assert_allclose(found[:, c], model.predict_proba(features[splits.test])[:, 1], atol=1e-6)
    assert sorted(path.name for path in (tmp_path / "models").iterdir()) == ["pretrained_probe", "random_probe"]


def test_trees_need_labels() -> None:
    rows, task = np.arange(3), create_task("af_survival", None, bins=2)
    with pytest.raises(ValueError, match="pretrained_boost classifies, and task 'af_survival' has no labels"):
        run_boosted(np.zeros((3, 2), np.float32), np.zeros((3, 3), np.float32), rows, rows, rows, task)
