from __future__ import annotations

import numpy as np
import pytest

from ssl_ecg.comparison.summary import _differences
from ssl_ecg.evaluation import Bootstrap, holm, paired_difference


def test_differences_are_paired_by_seed_and_corrected_over_the_judged_ones() -> None:
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(80), 2)
    labels = (patient < 25).astype(float)[:, None]
    scores = {
        (arm, fraction): {seed: gain * labels + rng.normal(size=labels.shape) for seed in seeds}
        for fraction in (0.1, 1.0)
        for arm, gain, seeds in (("a", 1.5, (0, 1, 2)), ("b", 0.8, (2, 1)), ("c", 1.0, (1, 2, 5)))
    }
    bootstrap = Bootstrap(labels, patient, 200)
    drawn = {key: {seed: bootstrap.score(run) for seed, run in runs.items()} for key, runs in scores.items()}
    rows = _differences("label", bootstrap, drawn, [("a", "b"), ("c", "b"), ("a", "not there")])
    shown = {(row["arm"], row["fraction"]): row for row in rows if row["metric"] == "macro_auroc"}
    assert len(shown) == 4
    alone = {}
    for key, row in shown.items():
        a, b = ([scores[arm, key[1]][seed] for seed in (1, 2)] for arm in key[0].split(" - "))
        found = paired_difference(labels, np.stack(a), np.stack(b), patient, 200)["macro_auroc"]
        alone[key] = found.p_value
        assert (row["seeds"], row["positives"], row["negatives"]) == (2, 25, 55)
        assert [row[name] for name in ("mean", "low", "high")] == pytest.approx(found[:3])
        assert row["detectable"] == pytest.approx(found.detectable)
    assert [row["p_value"] for row in shown.values()] == pytest.approx(holm(list(alone.values())))
    assert max(row["p_value"] - alone[key] for key, row in shown.items()) > 0
