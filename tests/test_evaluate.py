"""Subgroups, figures and the model card of finetuning; external validation of what it leaves."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.special import logit
from sklearn.metrics import f1_score, roc_auc_score

import ssl_ecg
from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.cli import main
from ssl_ecg.tasks import load_model
from ssl_ecg.training import patient_hash, predict_scores

pytestmark = pytest.mark.slow

CLASSES = ["sinus_rhythm", "sinus_bradycardia"]


@dataclass(frozen=True)
class Site:
    """An archive and its label table, with a column that is no class."""

    archive: Archive
    labels: Path

    @property
    def table(self) -> pd.DataFrame:
        return pd.read_csv(self.labels)


def site(folder: Path, **settings: float) -> Site:
    archive = ssl_ecg.synthesize(folder, duration=5, workers=1, **settings)
    table = pd.read_csv(folder / "labels" / "conditions.csv")[["record_id", *CLASSES]]
    device = np.array(["old", "new", None], dtype=object)[np.arange(len(table)) % 3]
    table.assign(device=device).to_csv(folder / "two.csv", index=False)
    return Site(archive, folder / "two.csv")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Site:
    return site(tmp_path_factory.mktemp("home"), records=150, seed=3)


@pytest.fixture(scope="module")
def abroad(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """Other people, of whom the first ones have the ids of patients at home."""
    return site(tmp_path_factory.mktemp("abroad"), records=210, seed=9)


@pytest.fixture(scope="module")
def model(home: Site, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    encoder = Encoder("xresnet1d10", {"width": 4}, home.archive.settings)
    out = tmp_path_factory.mktemp("model")
    settings = {"steps": 2, "batch_size": 16, "evaluations": 1, "crop": None, "precision": "32-true"}
    ssl_ecg.finetune(
        encoder, home.archive, home.labels, out, subgroups=["age", "device"], training=settings, progress=False
    )
    return out


def test_what_was_fitted_predicts_what_is_written(home: Site, abroad: Site, model: Path, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = Encoder("xresnet1d10", {"width": 4}, home.archive.settings)
    probed = ssl_ecg.probe(encoder, home.archive, home.labels, tmp_path, subgroups=["device"])
    assert probed.metrics == json.loads((tmp_path / "metrics.json").read_text())
    written = pd.read_csv(tmp_path / "predictions.csv")
    scores = probed.predict(home.archive, home.archive.rows(written["record_id"]))
    parts = [f"{name}_{part}" for name in CLASSES for part in ("score", "decision")]
    assert scores.columns.tolist() == ["record_id", *parts]
    scores = scores[["record_id", *(f"{name}_score" for name in CLASSES)]]
    pd.testing.assert_frame_equal(scores, written[scores.columns], atol=1e-5, check_dtype=False)
    other = probed.predict(str(abroad.archive.folder))
    assert other["record_id"].tolist() == abroad.archive.manifest["record_id"].tolist()
    signal = abroad.archive.read([0, 5]).signal
    np.testing.assert_allclose(probed.model.predict(signal), other.loc[[0, 5], scores.columns[1:]], atol=1e-5)
    written = pd.read_csv(model / "predictions.csv")
    kept = ssl_ecg.load_model(model).predict(home.archive.read(home.archive.rows(written["record_id"])).signal)
    np.testing.assert_allclose(kept, written[scores.columns[1:]], atol=1e-5)


def refused(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    capsys.readouterr()
    assert main(arguments) == 2
    return capsys.readouterr().err


def test_finetuning_reports_groups_and_takes_no_class_from_them(model: Path, home: Site) -> None:
    assert list(load_model(model).task.classes) == CLASSES
    predictions, table = pd.read_csv(model / "predictions.csv"), pd.read_csv(model / "subgroups.csv")
    first = table[table["metric"] == "macro_auroc"]
    assert first.groupby("column")["records"].sum().tolist() == [len(predictions)] * 2
    assert first.loc[first["column"] == "device", "group"].tolist() == ["new", "old", "unknown"]
    device = home.table.set_index("record_id")["device"].reindex(predictions["record_id"]).to_numpy()
    old = predictions[device == "old"]
    row = first[first["group"] == "old"].iloc[0]
    assert row["records"] == len(old)
    assert [row[f"positives_{name}"] for name in CLASSES] == [old[name].sum() for name in CLASSES]
    aurocs = [roc_auc_score(old[name], old[f"{name}_score"]) for name in CLASSES if old[name].nunique() == 2]
    assert row["mean"] == pytest.approx(np.mean(aurocs), abs=1e-5)
    patients = home.archive.manifest.set_index("record_id").loc[old["record_id"], "patient_id"]
    assert row["patients"] == patients.nunique()


def test_the_card_names_counts_metrics_and_figures(model: Path, home: Site) -> None:
    card = (model / "README.md").read_text(encoding="utf-8")
    for name in re.findall(r"\]\((\w+\.svg)\)", card):
        assert (model / name).is_file()
    assert set(re.findall(r"\]\((\w+\.svg)\)", card)) == {path.name for path in model.glob("*.svg")}
    drawn = {"calibration", "decision_curve", "operating_curves", "plane", "per_class", "subgroups", "training"}
    assert {path.stem for path in model.glob("*.svg")} == drawn
    per_class = pd.read_csv(model / "per_class.csv")
    for row in per_class.itertuples():
        counts = (row.positives_train, row.positives_validation, row.positives_test)
        assert f"| {row[1]} | {' | '.join(map(str, counts))} |" in card
    metrics = json.loads((model / "metrics.json").read_text())
    for name in ("macro_auroc", "macro_auprc", "macro_f1", "subset_accuracy"):
        value, low, high = (metrics[name + end] for end in ("", "_low", "_high"))
        assert f"| {name} | {value:.3f} | {low:.3f} to {high:.3f} |" in card


def test_ids_that_coincide_are_refused_with_two_ways_out(
    model: Path, abroad: Site, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    paths = (str(model), str(abroad.archive.folder), str(abroad.labels))
    error = refused(capsys, "evaluate", *paths, str(tmp_path / "out"))
    learned = ssl_ecg.load_encoder(model).patients
    ids = abroad.archive.manifest["patient_id"]
    seen = {name for name in ids if patient_hash(name) in learned}
    assert 0 < len(seen) < ids.nunique()
    assert f"{len(seen)} of {ids.nunique()} test patients" in error
    assert {"seen_patients=leave_out", "seen_patients=test"} <= set(re.findall(r"seen_patients=\w+", error))
    assert not any(name in error for name in seen)
    assert not (tmp_path / "out").exists()

    assert main(["evaluate", *paths, str(tmp_path / "others"), "seen_patients=leave_out"]) == 0
    scored = abroad.archive.rows(pd.read_csv(tmp_path / "others" / "predictions.csv")["record_id"])
    assert set(ids.iloc[scored]) == set(ids) - seen
    said = json.loads((tmp_path / "others" / "evaluation.json").read_text())
    assert (said["seen_patients"], said["records_of_seen_patients"]) == ("leave_out", ids.isin(seen).sum())
    tested = {"records": len(scored), "patients": ids.nunique() - len(seen), "patients_unknown": 0}
    assert said["tested"] == tested


def test_every_record_tests_and_nothing_is_tuned(model: Path, abroad: Site, tmp_path: Path) -> None:
    arguments = {"seen_patients": "test", "subgroups": ["sex"]}
    metrics = ssl_ecg.evaluate(model, abroad.archive, abroad.labels, tmp_path / "a", **arguments)
    predictions = pd.read_csv(tmp_path / "a" / "predictions.csv")
    assert predictions["record_id"].tolist() == abroad.table["record_id"].tolist()
    kept = load_model(model)
    rows = abroad.archive.rows(predictions["record_id"])
    scores = predict_scores(kept, abroad.archive, rows)
    np.testing.assert_allclose(predictions[[f"{name}_score" for name in CLASSES]], scores, atol=1e-5)
    targets = abroad.table[CLASSES].to_numpy()
    assert metrics["macro_auroc"] == pytest.approx(roc_auc_score(targets, scores, average="macro"))
    assert metrics["macro_f1"] == pytest.approx(f1_score(targets, kept.task.decide(scores), average="macro"))
    assert metrics == pytest.approx(json.loads((tmp_path / "a" / "metrics.json").read_text()))
    assert metrics["macro_auroc_low"] < metrics["macro_auroc"] < metrics["macro_auroc_high"]
    written = {path.name for path in (tmp_path / "a").iterdir()}
    assert {"per_class.csv", "calibration.csv", "subgroups.csv", "calibration.svg", "subgroups.svg"} <= written

    flipped = abroad.table.assign(**{name: 1 - abroad.table[name] for name in CLASSES})
    ssl_ecg.evaluate(model, abroad.archive, flipped, tmp_path / "b", **arguments)
    again = pd.read_csv(tmp_path / "b" / "predictions.csv")
    assert all(again[f"{name}_score"].equals(predictions[f"{name}_score"]) for name in CLASSES)
    said = [json.loads((tmp_path / name / "evaluation.json").read_text()) for name in "ab"]
    assert [name for name in said[0] if said[0][name] != said[1][name]] == ["labels"]
    assert said[0]["model"]["folder"] == model.name
    for name, digest in said[0]["model"]["sha256"].items():
        assert hashlib.sha256((model / name).read_bytes()).hexdigest() == digest
    assert (
        said[0]["archive"]["sha256"]
        == hashlib.sha256((abroad.archive.folder / "archive.json").read_bytes()).hexdigest()
    )
    assert (said[0]["seen_patients"], said[0]["records"]) == ("test", "all")
    assert str(model.parent) not in json.dumps(said)
    threshold = [pd.read_csv(tmp_path / name / "per_class.csv")["threshold"] for name in "ab"]
    np.testing.assert_allclose(threshold, [kept.task.thresholds] * 2, atol=1e-5)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda t: t.drop(columns="sinus_rhythm"), (), "no column sinus_rhythm; a column may be blank"),
        (lambda t: t.assign(sinus_rhythm=1, sinus_bradycardia=0), (), "no class has both positive and negative"),
        (lambda t: t, ("seen_patients=perhaps",), "seen_patients='perhaps': must be 'refuse', 'leave_out' or 'test'"),
        (lambda t: t, ("subgroups=[patient_id]",), "subgroups='patient_id'"),
        (lambda t: t, ("subgroups=[sx]",), "no column 'sx'"),
        (lambda t: t, ("subgroups=age",), "subgroups='age': must be a list; give [age]"),
    ],
)
def test_what_cannot_be_evaluated_is_refused(
    model: Path, abroad: Site, tmp_path: Path, capsys: pytest.CaptureFixture, change, options, message: str
) -> None:
    change(abroad.table).to_csv(tmp_path / "table.csv", index=False)
    paths = (str(model), str(abroad.archive.folder), str(tmp_path / "table.csv"), str(tmp_path / "out"))
    assert message in " ".join(refused(capsys, "evaluate", *paths, "seen_patients=test", *options).split())
    assert not (tmp_path / "out").exists()


def test_simulated_outcomes_are_declared_wherever_they_are_reported(
    model: Path, home: Site, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made_up = home.table.drop(columns="device").assign(simulated=1)
    encoder = Encoder("xresnet1d10", {"width": 4}, home.archive.settings)
    settings = {"steps": 1, "batch_size": 16, "evaluations": 1, "head": "zero", "precision": "32-true"}
    ssl_ecg.finetune(encoder, home.archive, made_up, tmp_path, training=settings, progress=False)
    assert list(load_model(tmp_path).task.classes) == CLASSES
    assert (pd.read_csv(tmp_path / "predictions.csv")["simulated"] == 1).all()
    assert "the outcomes of the label table are simulated" in caplog.text
    assert "**The outcomes are simulated**" in (tmp_path / "README.md").read_text()
    ssl_ecg.evaluate(tmp_path, home.archive, made_up, tmp_path / "again", seen_patients="test")
    assert json.loads((tmp_path / "again" / "evaluation.json").read_text())["labels"]["simulated"]
    assert "simulated" not in pd.read_csv(model / "predictions.csv")
    assert "simulated" not in (model / "README.md").read_text()


def test_nothing_of_an_earlier_result_stays_in_the_folder(model: Path, abroad: Site, tmp_path: Path) -> None:
    (tmp_path / "notes.csv").write_text('"not a table')
    for name in ("kaplan_meier.csv", "kaplan_meier.svg", "clinical_score.csv"):  # of another task, killed half-way
        (tmp_path / name).write_text("group,time\n")
    first = ssl_ecg.evaluate(model, abroad.archive, abroad.labels, tmp_path, seen_patients="test")
    assert ssl_ecg.evaluate(model, abroad.archive, abroad.labels, tmp_path, seen_patients="test") == first
    with pytest.raises(ValueError, match=r"settings\.subgroups: \[\] there, \['sex'\] now"):
        ssl_ecg.evaluate(model, abroad.archive, abroad.labels, tmp_path, seen_patients="test", subgroups=["sex"])
    assert {path.name for path in tmp_path.iterdir()} == {
        *(
            "metrics.json",
            "meanings.json",
            "evaluation.json",
            "run.json",
            "predictions.csv",
            "per_class.csv",
            "calibration.csv",
            "notes.csv",
        ),
        *("per_class.svg", "calibration.svg", "cohort.csv", "thresholds.csv", "report.html"),
        *("operating_curves.csv", "operating_curves.svg", "decision_curve.csv", "decision_curve.svg"),
        *("leakage.csv", "plane.csv", "plane.svg"),
    }


def test_a_class_unknown_abroad_is_blank_not_half(model: Path, abroad: Site, tmp_path: Path) -> None:
    table = abroad.table.assign(sinus_bradycardia=np.nan)
    metrics = ssl_ecg.evaluate(model, abroad.archive, table, tmp_path, seen_patients="test")
    per_class = pd.read_csv(tmp_path / "per_class.csv").set_index("class")
    assert np.isnan(per_class.loc["sinus_bradycardia", "auroc"])
    assert metrics["macro_auroc"] == pytest.approx(per_class.loc["sinus_rhythm", "auroc"], abs=1e-5)


def test_signals_prepared_otherwise_and_the_models_own_folder_are_refused(
    model: Path, home: Site, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    faster = site(tmp_path / "faster", records=30, sampling_rate=200, seed=1)
    error = refused(capsys, "evaluate", str(model), str(faster.archive.folder), str(faster.labels), str(tmp_path / "o"))
    assert "sampling_rate: 100.0 against 200.0" in error
    with pytest.raises(ValueError, match="a model or encoder lies there"):
        ssl_ecg.evaluate(model, home.archive, home.labels, model)
    with pytest.raises(FileNotFoundError, match="this is not a finetuned model"):
        ssl_ecg.evaluate(home.archive.folder, home.archive, home.labels, tmp_path / "o")


def test_the_encoder_that_finetuning_starts_from_is_not_replaced(model: Path, home: Site) -> None:
    before = (model / "model.safetensors").read_bytes()
    with pytest.raises(ValueError, match="the encoder lies there"):
        ssl_ecg.finetune(model, home.archive, home.labels, model / ".." / model.name, progress=False)
    assert (model / "model.safetensors").read_bytes() == before


def test_groups_need_a_folder_and_a_column_before_anything_is_trained(home: Site, tmp_path: Path) -> None:
    encoder = Encoder("xresnet1d10", {"width": 4}, home.archive.settings)
    with pytest.raises(ValueError, match="out=None"):
        ssl_ecg.probe(encoder, home.archive, home.labels, subgroups=["age"])
    for columns, message in ((["weight"], "no column 'weight'"), ("age", r"must be a list; give \[age\]")):
        with pytest.raises(ValueError, match=message):
            ssl_ecg.finetune(encoder, home.archive, home.table, tmp_path / "o", classes=CLASSES, subgroups=columns)
    assert not (tmp_path / "o").exists()


@pytest.mark.parametrize("how", ["prior", 60])
def test_decisions_can_be_fitted_to_another_site(how: str | int, model: Path, abroad: Site, tmp_path: Path) -> None:
    given = {"seen_patients": "test"}
    plain = ssl_ecg.evaluate(model, abroad.archive, abroad.labels, tmp_path / "plain", **given)
    fitted = ssl_ecg.evaluate(model, abroad.archive, abroad.labels, tmp_path / "fitted", recalibrate=how, **given)
    before, after = (pd.read_csv(tmp_path / name / "predictions.csv") for name in ("plain", "fitted"))
    table = pd.read_csv(tmp_path / "fitted" / "recalibration.csv").set_index("class")
    assert list(table.index) == CLASSES
    assert len(after) == len(before) if how == "prior" else len(before) - 63 <= len(after) <= len(before) - 60
    if how == "prior":
        assert fitted["macro_auroc"] == pytest.approx(plain["macro_auroc"], abs=1e-3)
    known = before.set_index("record_id").loc[after["record_id"]]
    for name in CLASSES:
        own, moved = known[f"{name}_score"].to_numpy(), after[f"{name}_score"].to_numpy()
        inner = (np.minimum(own, moved) > 0.01) & (np.maximum(own, moved) < 0.99)  # where six digits tell a logit
        assert np.ptp(logit(moved[inner]) - logit(own[inner])) < 0.02  # one number for all records
        there = json.loads((model / "config.json").read_text())["origin"]["prevalence"][name]
        assert table.loc[name, "prevalence_trained"] == pytest.approx(there, abs=1e-4)
        if how == "prior":  # the same decision, in the model's own scores
            row, shift = table.loc[name], np.median(logit(moved[inner]) - logit(own[inner]))
            assert logit(row["threshold_trained"]) - logit(row["threshold_here"]) == pytest.approx(shift, abs=0.05)


def test_nobody_is_left_where_all_labels_recalibrate(model: Path, abroad: Site, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"recalibrate=210: nobody of .* patients is left to test"):
        ssl_ecg.evaluate(model, abroad.archive, abroad.labels, tmp_path, recalibrate=210, seen_patients="test")
