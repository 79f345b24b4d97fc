"""What somebody else made, as an arm: judged by the same rules as ours."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

from ssl_ecg.backbones import Encoder, save_encoder

pytestmark = pytest.mark.slow

RULE = """
import numpy as np

def score(signal, sampling_rate, leads):
    assert sampling_rate == 100 and leads[0] == "I" and signal.shape[1:] == (len(leads), 500)
    return signal[:, [0, 6, 11]].std(axis=2)

def narrow(signal, sampling_rate, leads):
    return np.zeros((len(signal), 2))

def nothing(signal, sampling_rate, leads):
    return np.full((len(signal), 3), np.nan)
"""


@pytest.fixture(autouse=True)
def rule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "outside_rule.py").write_text(RULE)
    monkeypatch.chdir(tmp_path)
    yield
    sys.modules.pop("outside_rule", None)


def test_a_function_is_scored_on_the_same_test_records(study, small: Callable, tmp_path: Path) -> None:
    settings = small(arms=("pretrained_probe",), external="outside_rule:score")
    summary = replace(study, settings=settings).run(tmp_path / "out")
    test = study.splits.test
    scores = study.archive.read(study.labels.rows[test]).signal[:, [0, 6, 11]].std(axis=2)
    expected = np.mean([roc_auc_score(study.labels.targets[test, c], scores[:, c]) for c in range(3)])
    rows = summary[(summary["arm"] == "external") & (summary["metric"] == "macro_auroc")]
    assert rows["mean"].to_numpy() == pytest.approx([expected] * 2, abs=1e-5)
    assert (rows["low"] < rows["mean"]).all()
    assert (rows["mean"] < rows["high"]).all()
    assert "pretrained_probe - external" in set(summary["arm"])
    assert not list((tmp_path / "out" / "models").glob("external*"))


def test_an_encoder_of_another_network_is_probed(study, small: Callable, tmp_path: Path) -> None:
    torch.manual_seed(1)
    save_encoder(Encoder("mobilenet1d", {}, study.archive.settings).eval(), tmp_path / "theirs", "")
    settings = small(arms=("pretrained_probe",), external=str(tmp_path / "theirs"))
    summary = replace(study, settings=settings).run(tmp_path / "out")
    assert "pretrained_probe - external_probe" in set(summary["arm"])
    results = pd.read_csv(tmp_path / "out" / "results.csv")
    assert set(results["arm"]) == {"pretrained_probe", "external_probe"}
    assert (tmp_path / "out" / "models" / "external_probe" / "head.safetensors").is_file()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("outside_rule:narrow", r"gave \(\d+, 2\) for .* C = 3: sinus_rhythm"),
        ("outside_rule:nothing", "what is no number"),
        ("outside_rule:absent", "cannot be imported"),
        ("no_such_module:score", "cannot be imported"),
    ],
)
def test_what_cannot_be_an_arm_is_refused(study, small: Callable, tmp_path: Path, given: str, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        replace(study, settings=small(arms=("pretrained_probe",), external=given)).run(tmp_path / "out")
