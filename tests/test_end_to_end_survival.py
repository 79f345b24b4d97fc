"""AF-free survival through the command line, on a small synthetic archive with known hazards."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import save_file
from sklearn.metrics import roc_auc_score

import ssl_ecg
from ssl_ecg import SplitSettings
from ssl_ecg.cli import main
from ssl_ecg.evaluation import auroc_at, brier_at, concordance_index
from ssl_ecg.tasks import load_model, read_task
from ssl_ecg.training import predict_scores
from ssl_ecg.verbs import results
from ssl_ecg.verbs._clinical import read_clinical

pytestmark = pytest.mark.slow

SPLIT = ("split.validation=0.3", "split.test=0.35", "split.seed=1")
DRAWN = SplitSettings(validation=0.3, test=0.35, seed=1)
TASK = ("task=af_survival", "task.horizon_days=1460", "task.bins=10")
STEPS = ("steps=6", "batch_size=16", "evaluations=2")
NETWORK = ("backbone=xresnet1d10", "backbone.width=4", "precision=32-true")


@pytest.fixture(scope="module")
def paths(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str, str]:
    """An encoder that has not seen the test patients of the survival table, the archive, and that table."""
    folder = tmp_path_factory.mktemp("survival")
    archive, encoder = str(folder / "archive"), str(folder / "encoder")
    labels = f"{archive}/labels/af_survival.csv"
    assert main(["synthesize", archive, "records=300", "seed=3", "duration=5"]) == 0
    pretraining = ("epochs=1", "batch_size=32", "warmup_epochs=0", f"holdout={labels}", *NETWORK, *TASK, *SPLIT)
    assert main(["pretrain", archive, encoder, *pretraining]) == 0
    return encoder, archive, labels


def test_probe_reports_what_its_predictions_say(paths: tuple[str, str, str], tmp_path: Path, capsys) -> None:
    assert main(["probe", *paths, str(tmp_path), *TASK, *SPLIT]) == 0
    assert "c_index" in capsys.readouterr().out
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    truth = pd.read_csv(paths[2]).set_index("record_id").loc[predictions["record_id"]]
    np.testing.assert_array_equal(predictions["time_days"], truth["time_days"])
    known = (truth["prevalent"] == 0).to_numpy()
    time, event = truth["time_days"].to_numpy()[known], truth["event"].to_numpy()[known]
    risk = predictions["risk_at_horizon"].to_numpy()[known]
    assert metrics["c_index"] == pytest.approx(concordance_index(time, event, risk, None, 1460)[0], abs=0.01)
    curve = predictions[["survival_1460"]].to_numpy()[known]
    assert metrics["brier_at_horizon"] == pytest.approx(brier_at(time, event, curve, [1460])[0, 0], abs=1e-4)
    for name in ("c_index", "c_index_ipcw", "auroc_at_horizon", "brier_at_horizon", "integrated_brier"):
        assert metrics[f"{name}_low"] <= metrics[name] <= metrics[f"{name}_high"]
    best = concordance_index(time, event, truth["log_hazard"].to_numpy()[known], None, 1460)[0]
    assert best > 0.6  # the true hazard ranks patients; nothing learned from 20 of them can be held against it
    assert metrics["c_index"] < best + 0.1
    assert pd.read_csv(tmp_path / "calibration.csv")["records"].sum() == known.sum()
    assert set(pd.read_csv(tmp_path / "kaplan_meier.csv")["group"]) == {0, 1, 2, 3}
    years = pd.read_csv(tmp_path / "per_class.csv").set_index("class")
    two = auroc_at(time, event, 1 - predictions["survival_730"].to_numpy()[known], 730)[0]
    assert list(years.index) == ["AF within 365 days", "AF within 730 days"]
    # As of the C-index above: tables have six digits, which ties risks that hardly differ.
    assert years.loc["AF within 730 days", "auroc"] == pytest.approx(two, abs=0.01)
    assert years.loc["AF within 730 days", "positives_test"] == (event * (time <= 730)).sum()
    assert not (tmp_path / "per_class.svg").exists()


def test_finetuned_model_gives_the_written_predictions(paths: tuple[str, str, str], tmp_path: Path) -> None:
    options = ("task.encoding=ecg_ai", "task.prevalent=bin", "training.one_per_patient=true", "training.head=zero")
    options += ("task.auxiliary.age=.1", "task.auxiliary.sex=.1")
    steps = [f"training.{step}" for step in STEPS]
    assert main(["finetune", *paths, str(tmp_path), *TASK, *options, *steps, *SPLIT]) == 0
    archive, model = ssl_ecg.open_archive(paths[1]), load_model(tmp_path)
    auxiliary = {"age": 0.1, "sex": 0.1, "prevalent": 0.0}
    given = {"horizon_days": 1460.0, "bins": 10, "encoding": "ecg_ai", "prevalent": "bin", "auxiliary": auxiliary}
    assert model.task.options == given
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    again = predict_scores(model, archive, archive.rows(predictions["record_id"]))
    np.testing.assert_allclose(predictions["survival_1460"], again[:, 10], atol=1e-5)
    np.testing.assert_allclose(predictions["prevalent_score"], 1 - again[:, 0], atol=1e-5)
    np.testing.assert_allclose(predictions["auxiliary_age"], again[:, 11], rtol=1e-5)
    np.testing.assert_allclose(predictions["auxiliary_sex"], again[:, 12], atol=1e-5)
    manifest = archive.manifest.set_index("record_id").loc[predictions["record_id"]]
    np.testing.assert_allclose(predictions["age"], manifest["age"], rtol=1e-6)
    np.testing.assert_array_equal(predictions["sex"], manifest["sex"] == "male")
    curve = pd.read_csv(tmp_path / "curve.csv")
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["step"] == curve.loc[curve["validation_c_index"].idxmax(), "step"]
    assert "| af_by_horizon |" in (tmp_path / "README.md").read_text()
    assert {"step", "age_error"} & metrics.keys() == {"step"}  # the start was chosen, whose head says nothing
    with torch.no_grad():
        model.head.weight[-2:] = torch.randn(2, model.encoder.width, generator=torch.Generator().manual_seed(0))
    save_file(model.head.state_dict(), tmp_path / "head.safetensors")
    out = tmp_path.parent / f"{tmp_path.name}_evaluated"
    metrics = ssl_ecg.evaluate(tmp_path, archive, paths[2], out, seen_patients="test")
    assert metrics == json.loads((out / "metrics.json").read_text())
    predictions, page = pd.read_csv(out / "predictions.csv"), (out / "report.html").read_text("utf-8").lower()
    known = predictions["age"].notna()
    error = np.abs(predictions["age"] - predictions["auxiliary_age"])[known].mean()
    assert metrics["age_error"] == pytest.approx(error, rel=1e-4)
    male = roc_auc_score(predictions["sex"], predictions["auxiliary_sex"])
    assert metrics["sex_auroc"] == pytest.approx(male, abs=1e-3)
    for name, label in (("age_error", "error of age"), ("age_correlation", "correlation of age"), ("sex_auroc", "sex")):
        assert metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"]
        assert label in page


def test_the_last_ecg_of_each_patient_chooses_and_tests(paths: tuple[str, str, str], tmp_path: Path) -> None:
    last, steps = "split.records=last", [f"training.{step}" for step in STEPS]
    assert main(["probe", *paths, str(tmp_path / "all"), *TASK, *SPLIT]) == 0
    assert main(["probe", *paths, str(tmp_path / "last"), *TASK, *SPLIT, last]) == 0
    assert main(["finetune", *paths, str(tmp_path / "model"), *TASK, *SPLIT, last, *steps]) == 0
    table = pd.read_csv(paths[2])
    manifest = ssl_ecg.open_archive(paths[1]).manifest
    table = table.assign(recorded_at=manifest.set_index("record_id").loc[table["record_id"], "recorded_at"].to_numpy())
    newest = table.sort_values("recorded_at").drop_duplicates("patient_id", keep="last")
    scored = set(pd.read_csv(tmp_path / "all" / "predictions.csv")["record_id"])
    expected = set(newest["record_id"]) & scored
    assert 20 < len(expected) < len(scored) / 2
    for name in ("last", "model"):
        predictions = pd.read_csv(tmp_path / name / "predictions.csv")
        assert set(predictions["record_id"]) == expected
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())
        incident = predictions[(predictions["prevalent"] == 0) & predictions["time_days"].notna()]
        time, event, risk = (incident[column] for column in ("time_days", "event", "risk_at_horizon"))
        assert metrics["c_index"] == pytest.approx(concordance_index(time, event, risk, None, 1460)[0], abs=0.01)
    arguments = [str(tmp_path / "model"), *paths[1:], str(tmp_path / "elsewhere"), "seen_patients=test"]
    assert main(["evaluate", *arguments, "records=last"]) == 0
    assert set(pd.read_csv(tmp_path / "elsewhere" / "predictions.csv")["record_id"]) == set(newest["record_id"])
    assert main(["evaluate", *arguments, "records=first"]) == 2


def test_a_clinical_score_is_combined_with_the_predicted_risk(paths: tuple[str, str, str], tmp_path: Path) -> None:
    table = pd.read_csv(paths[2])
    rng = np.random.default_rng(0)
    table["charge"] = (table["log_hazard"] + rng.normal(size=len(table))).where(rng.random(len(table)) < 0.9)
    table.to_csv(tmp_path / "scored.csv", index=False)
    data = [*paths[:2], str(tmp_path / "scored.csv")]
    assert main(["probe", *data, str(tmp_path / "probe"), *TASK, *SPLIT, "clinical_score=charge"]) == 0
    steps = [f"training.{step}" for step in STEPS]
    assert main(["finetune", *data, str(tmp_path / "model"), *TASK, *SPLIT, *steps, "clinical_score=age"]) == 0
    for name, of in (("probe", "charge"), ("model", "age")):
        found = pd.read_csv(tmp_path / name / "clinical_score.csv").set_index("model")
        metrics = json.loads((tmp_path / name / "metrics.json").read_text())
        predictions = pd.read_csv(tmp_path / name / "predictions.csv").set_index("record_id")
        merged = table.set_index("record_id").loc[predictions.index]
        manifest = ssl_ecg.open_archive(paths[1]).manifest.set_index("record_id")
        score = merged["charge"] if of == "charge" else manifest["age"].loc[predictions.index]
        known = ((merged["prevalent"] == 0) & score.notna()).to_numpy()
        assert (found["records_test"] == known.sum()).all()
        weighed = pd.read_csv(tmp_path / name / "clinical_covariates.csv")
        direction = np.sign(weighed["coefficient"][0])  # of the score alone
        alone = concordance_index(
            merged["time_days"][known], merged["event"][known], direction * score[known], None, 1460
        )[0]
        assert found.loc["score", "c_index"] == pytest.approx(alone, abs=1e-5)
        assert metrics["clinical_c_index"] == pytest.approx(alone)
        assert metrics["c_index_gain"] == pytest.approx(metrics["combined_c_index"] - metrics["clinical_c_index"])
        assert metrics["c_index_gain_low"] <= metrics["c_index_gain"] <= metrics["c_index_gain_high"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({}, "no column 'charge' in the label table"),
        ({"charge": "high"}, "clinical_score='charge': must hold finite numbers or blanks, got 'high'"),
        ({"charge": np.inf}, "clinical_score='charge': must hold finite numbers or blanks, got 'inf'"),
        ({"charge": np.nan}, "clinical_score='charge': validation lacks records with a score"),
    ],
)
def test_a_clinical_score_that_cannot_be_used_is_refused_before_training(
    paths: tuple[str, str, str], change: dict, message: str, tmp_path: Path
) -> None:
    table = pd.read_csv(paths[2]).assign(**change)
    drawn = {
        "task": {"name": "af_survival", "horizon_days": 1460, "bins": 10},
        "split": DRAWN,
    }
    with pytest.raises(ValueError, match=message):
        ssl_ecg.finetune(*paths[:2], table, tmp_path / "out", clinical_score="charge", **drawn)


def test_a_clinical_score_needs_a_task_that_predicts_survival(paths: tuple[str, str, str]) -> None:
    labels, task = read_task("arrhythmia", f"{paths[1]}/labels/conditions.csv", ssl_ecg.open_archive(paths[1]))
    splits = DRAWN.split(labels)
    test = results.Tested(ssl_ecg.open_archive(paths[1]), labels, splits.test)
    with pytest.raises(ValueError, match="clinical_score='age': task 'arrhythmia' predicts no survival"):
        read_clinical("age", (), paths[2], task, splits, test)


def test_comparison_ends_in_a_report_of_survival_metrics(
    paths: tuple[str, str, str], tmp_path: Path, capsys, caplog
) -> None:
    settings = (
        *(f"{arm}.{step}" for arm in ("pretrained_finetune", "scratch") for step in STEPS),
        *("pretrained_candidates=[{}]", "scratch_candidates=[{}]"),
        *("fractions=[1]", "seeds=[0]", "probe_draws=1", "replicates=50"),
    )
    table = pd.read_csv(paths[2])  # the midpoint of the first interval of 146 days is day 73
    silent = ((table["prevalent"] == 1) | ((table["event"] == 0) & (table["time_days"] < 73))).sum()
    assert silent > 5
    assert main(["compare", *paths, str(tmp_path), *TASK, *SPLIT, *settings]) == 0
    assert "C-index" in capsys.readouterr().out
    assert f"{silent} of 300 records carry no information that af_survival could learn from" in caplog.text
    summary = pd.read_csv(tmp_path / "summary.csv")
    assert set(summary["task"]) == {"af_survival"}
    single = summary[~summary["arm"].str.contains(" - ")]
    assert set(single["metric"]) >= {"c_index", "c_index_ipcw", "auroc_at_horizon", "brier_at_horizon"}
    assert ((single["low"] <= single["mean"]) & (single["mean"] <= single["high"])).all()
    assert len(summary[(summary["metric"] == "c_index") & summary["arm"].str.contains(" - ")]) == 6
    results = pd.read_csv(tmp_path / "results.csv").set_index("arm")
    for row in single[single["metric"] == "c_index"].itertuples():
        assert results.loc[row.arm, "c_index"] == pytest.approx(row.mean, abs=1e-4)
    per_class = pd.read_csv(tmp_path / "per_class.csv")
    assert set(per_class["class"]) == {"AF within 365 days", "AF within 730 days"}
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    for text in ("C-index", "Brier score at the horizon", "Below 0 the first of the pair is better"):
        assert text in page


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.drop(columns="prevalent"), "has no column prevalent"),
        (lambda t: t.assign(time_days=-t["time_days"] - 1), "time_days=-.* before the first break"),
        (lambda t: t.assign(event=2), "event=2: must be 0, 1 or NaN"),
        (lambda t: t.assign(event=0), "no class has both positive and negative records"),
    ],
)
def test_bad_follow_up_is_refused(paths: tuple[str, str, str], tmp_path: Path, capsys, change, message: str) -> None:
    change(pd.read_csv(paths[2])).to_csv(tmp_path / "bad.csv", index=False)
    arguments = [*paths[:2], str(tmp_path / "bad.csv"), str(tmp_path / "out")]
    assert main(["probe", *arguments, *TASK, *SPLIT]) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert not (tmp_path / "out").exists()


def test_a_task_with_columns_of_its_own_takes_no_classes(paths: tuple[str, str, str], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"classes=\['event'\]: task 'af_survival' reads the columns time_days, event"):
        ssl_ecg.probe(*paths, task="af_survival", classes=["event"])
    drawn = {
        "task": {"name": "af_survival", "horizon_days": 1460, "bins": 10},
        "split": DRAWN,
    }
    with pytest.raises(ValueError, match=r"supervised_contrastive=0.1: task 'af_survival' has no labels"):
        ssl_ecg.finetune(*paths, tmp_path / "out", training={"supervised_contrastive": 0.1}, **drawn)
