"""A probe, and a head that starts as one, begin at what simulated hearts say of the labels."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ssl_ecg
from ssl_ecg import SplitSettings
from ssl_ecg.archive import Archive
from ssl_ecg.tasks import simulated_probe
from ssl_ecg.tasks.simulated_probe import simulated_prior

pytestmark = pytest.mark.slow


def cosines(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    return (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)


def test_few_labels_begin_at_what_simulated_hearts_say(
    named_conditions: tuple[Archive, pd.DataFrame], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(simulated_probe, "RECORDS", 1000)
    archive, table = named_conditions
    known = {"meanings": {"wide": ["right_bundle_branch_block"]}}
    few = {"split": SplitSettings(validation=0.15, test=0.8)}
    parts = ("synthetic", archive, table)

    probed = ssl_ecg.probe(*parts, tmp_path / "probe", **known, **few)
    plain = ssl_ecg.probe(*parts, prior="zero", **few)
    without = simulated_prior(probed.model.task, ssl_ecg.load_encoder("synthetic"), known["meanings"])
    assert without is not None
    near, far = (cosines(made.model.head.weight.detach().numpy(), without.coef) for made in (probed, plain))
    assert (near > 0.9).all()
    assert (near > far + 0.1).all()
    assert "pulled to what simulated hearts say" in (tmp_path / "probe" / "README.md").read_text(encoding="utf-8")
    half = ssl_ecg.probe(*parts, **few).model.head.weight
    assert not np.allclose(half[1].detach(), probed.model.head.weight[1].detach(), atol=1e-3), "wide has no meaning"

    training = {"steps": 1, "learning_rate": 1e-9, "evaluations": 1, "precision": "32-true"}
    tuned = ssl_ecg.finetune(*parts, tmp_path / "tuned", training=training, progress=False, **known, **few)
    first = pd.read_csv(tmp_path / "tuned" / "curve.csv").iloc[0]
    assert first["validation_macro_auroc"] == pytest.approx(probed.metrics["validation_macro_auroc"], abs=1e-4)
    np.testing.assert_allclose(
        tuned.model.head.weight.detach(), probed.model.head.weight.detach(), rtol=1e-4, atol=1e-6
    )
    attended = ssl_ecg.finetune(
        *parts, tmp_path / "attended", training={**training, "attention_heads": 1}, progress=False, **known, **few
    )
    np.testing.assert_allclose(
        attended.model.head.weight.detach(), plain.model.head.weight.detach(), rtol=1e-3, atol=1e-5
    )
