"""The main job through the command line, on small archives."""

from __future__ import annotations

import errno
import importlib
import json
import logging
import re
import runpy
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from sklearn.metrics import roc_auc_score

import ssl_ecg
from ssl_ecg import SplitSettings
from ssl_ecg.cli import main
from ssl_ecg.labels import read_labels
from ssl_ecg.tasks import load_model
from ssl_ecg.training import patient_hash, predict_scores

pytestmark = pytest.mark.slow

CLASSES = "classes=[sinus_rhythm,sinus_bradycardia]"
SPLIT = ("split.validation=0.25", "split.test=0.3", "split.seed=1")
NETWORK = ("backbone=xresnet1d10", "backbone.width=4")
PRETRAINING = (*NETWORK, "epochs=2", "batch_size=32", "warmup_epochs=1", "precision=32-true", *SPLIT)
STEPS = ("steps=6", "batch_size=16", "evaluations=2")
FINETUNING = (*(f"training.{step}" for step in STEPS), "training.learning_rate=0.01", CLASSES, *SPLIT)
COMPARING = (
    *(f"{arm}.{step}" for arm in ("pretrained_finetune", "scratch") for step in STEPS),
    *("pretrained_candidates=[{}]", "scratch_candidates=[{}]"),
    *("fractions=[0.5,1]", "seeds=[0,1]", "probe_draws=2", "replicates=50", CLASSES, *SPLIT),
)


@dataclass(frozen=True)
class Journey:
    """Where everything lies."""

    folder: Path
    archive: str
    labels: str
    encoder: str

    def split(self, seed: int = 1) -> SplitSettings:
        return SplitSettings(validation=0.25, test=0.3, seed=seed)


@pytest.fixture(scope="module")
def journey(tmp_path_factory: pytest.TempPathFactory) -> Journey:
    """A synthetic archive and an encoder that was pretrained without its test patients."""
    folder = tmp_path_factory.mktemp("journey")
    archive, labels, encoder = (str(folder / name) for name in ("archive", "two.csv", "encoder"))
    assert main(["synthesize", archive, "records=150", "seed=3", "duration=5"]) == 0
    table = pd.read_csv(folder / "archive" / "labels" / "conditions.csv")
    # The split is drawn from the columns of the table, so every verb gets the same two.
    table[["record_id", "sinus_rhythm", "sinus_bradycardia"]].to_csv(labels, index=False)
    assert main(["pretrain", archive, encoder, f"holdout={labels}", *PRETRAINING]) == 0
    return Journey(folder, archive, labels, encoder)


@pytest.fixture(scope="module")
def model(journey: Journey) -> Path:
    out = journey.folder / "model"
    assert main(["finetune", journey.encoder, journey.archive, journey.labels, str(out), *FINETUNING]) == 0
    return out


def refused(capsys: pytest.CaptureFixture, *arguments: str) -> str:
    """Return the one line with which a command line is refused."""
    capsys.readouterr()
    assert main(arguments) == 2
    error = capsys.readouterr().err
    line = error[error.index(f"ssl-ecg {arguments[0]}: ") :]
    assert line.count("\n") == 1
    return line


def test_pretraining_has_not_seen_the_held_out_patients(journey: Journey) -> None:
    archive, encoder = ssl_ecg.open_archive(journey.archive), ssl_ecg.load_encoder(journey.encoder)
    labels = read_labels(journey.labels, archive)
    test = labels.rows[journey.split().split(labels).test]
    held = {patient_hash(patient) for patient in archive.manifest["patient_id"].iloc[test]}
    everyone = {patient_hash(patient) for patient in archive.manifest["patient_id"]}
    assert held
    assert encoder.patients == everyone - held
    assert encoder.origin["held_out_records"] == len(test)
    table = pd.read_csv(Path(journey.encoder) / "pretraining.csv")
    assert table["epoch"].tolist() == [0, 1]
    assert {"train_loss", "validation_loss", "effective_rank", "feature_deviation", "ecg_per_second"} <= set(table)
    assert encoder.origin["epoch"] == 1


def test_finished_pretraining_is_not_run_again(journey: Journey) -> None:
    weights = Path(journey.encoder) / "model.safetensors"
    before = weights.stat().st_mtime_ns
    assert main(["pretrain", journey.archive, journey.encoder, f"holdout={journey.labels}", *PRETRAINING]) == 0
    assert weights.stat().st_mtime_ns == before


def test_other_pretraining_in_the_same_folder_is_refused(journey: Journey, capsys) -> None:
    command = ["pretrain", journey.archive, journey.encoder, f"holdout={journey.labels}", *PRETRAINING]
    assert "settings.seed: 0 there, 9 now" in refused(capsys, *command, "seed=9")


def test_probe_reports_what_its_predictions_say(journey: Journey, tmp_path: Path, capsys) -> None:
    assert main(["probe", journey.encoder, journey.archive, journey.labels, str(tmp_path), CLASSES, *SPLIT]) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    predictions = pd.read_csv(tmp_path / "predictions.csv")
    each = [roc_auc_score(predictions[name], predictions[f"{name}_score"]) for name in CLASSES[9:-1].split(",")]
    assert metrics["macro_auroc"] == pytest.approx(np.mean(each), abs=1e-4)
    assert metrics["macro_auroc_low"] <= metrics["macro_auroc"] <= metrics["macro_auroc_high"]
    assert f"{metrics['macro_auroc']:.4g}" in capsys.readouterr().out


def test_finetuned_model_gives_the_written_predictions(journey: Journey, model: Path) -> None:
    archive, classifier = ssl_ecg.open_archive(journey.archive), load_model(model)
    predictions = pd.read_csv(model / "predictions.csv")
    again = predict_scores(classifier, archive, archive.rows(predictions["record_id"]))
    for c, name in enumerate(classifier.task.classes):
        assert predictions[f"{name}_score"].to_numpy() == pytest.approx(again[:, c], abs=1e-5)
    metrics, curve = json.loads((model / "metrics.json").read_text()), pd.read_csv(model / "curve.csv")
    best = curve.loc[curve["validation_macro_auroc"].idxmax()]
    assert (metrics["step"], metrics["validation_macro_auroc"]) == pytest.approx((best["step"], best.iloc[-2]))
    assert curve["step"].tolist() == [0, 3, 6]
    features = ssl_ecg.load_encoder(model)(torch.from_numpy(archive.read([0]).signal))
    assert torch.equal(features, classifier.encoder(torch.from_numpy(archive.read([0]).signal)))


def test_finetuned_encoder_may_not_be_tested_on_patients_it_learned_from(journey: Journey, model: Path, capsys) -> None:
    command = ["probe", str(model), journey.archive, journey.labels, str(journey.folder / "leak"), CLASSES]
    other = [*SPLIT[:2], "split.seed=2"]
    assert "test patients are among those the encoder learned from" in refused(capsys, *command, *other)
    assert not (journey.folder / "leak").exists()
    archive = ssl_ecg.open_archive(journey.archive)
    labels = read_labels(journey.labels, archive)
    splits = journey.split().split(labels)
    learned = archive.manifest["patient_id"].iloc[labels.rows[np.concatenate([splits.train, splits.validation])]]
    assert {patient_hash(patient) for patient in learned} <= ssl_ecg.load_encoder(model).patients


def test_scratch_starts_from_other_weights_and_ends_in_a_model(journey: Journey, tmp_path: Path) -> None:
    command = ["finetune", journey.encoder, journey.archive, journey.labels, str(tmp_path), *FINETUNING]
    assert main([*command, "scratch=true", "training.head=zero"]) == 0
    pretrained, scratch = ssl_ecg.load_encoder(journey.encoder), ssl_ecg.load_encoder(tmp_path)
    assert scratch.options == pretrained.options
    assert not torch.equal(scratch.backbone.stem[0][0].weight, pretrained.backbone.stem[0][0].weight)


def test_comparison_ends_in_a_report_that_needs_nothing_else(journey: Journey, tmp_path: Path, capsys) -> None:
    command = ["compare", journey.encoder, journey.archive, journey.labels, str(tmp_path), *COMPARING]
    assert main(command) == 0
    assert f"the report lies in {tmp_path / 'report.html'}" in "".join(capsys.readouterr().out.splitlines())
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert "Does pretraining on our own ECGs pay?" in page
    assert "ssl-ecg compare" in page
    assert not re.search(r'(src|href)="(?!#)', page)  # nothing is loaded
    assert "Pretraining" in page.split("What was run")[0]
    summary, results = pd.read_csv(tmp_path / "summary.csv"), pd.read_csv(tmp_path / "results.csv")
    assert len(results) == 5 * 2 * 2  # the encoder that ships does not read archives of this length
    for row in summary[(summary["metric"] == "macro_auroc") & ~summary["arm"].str.contains(" - ")].itertuples():
        assert f"{row.mean:.3f}" in page
    assert (tmp_path / "pretraining.csv").read_bytes() == (Path(journey.encoder) / "pretraining.csv").read_bytes()
    finished = {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/*")}
    assert main(command) == 0
    assert {path: path.stat().st_mtime_ns for path in tmp_path.glob("runs/*/*")} == finished


def test_encoder_that_saw_everyone_is_refused(journey: Journey, tmp_path: Path, capsys) -> None:
    assert main(["pretrain", journey.archive, str(tmp_path / "seen"), *PRETRAINING, "epochs=1"]) == 0
    for verb, options in (("probe", ()), ("finetune", FINETUNING[:-4]), ("compare", COMPARING[:-4])):
        arguments = [verb, str(tmp_path / "seen"), journey.archive, journey.labels, str(tmp_path / "out")]
        error = refused(capsys, *arguments, *options, CLASSES, *SPLIT)
        assert "test patients are among those the encoder learned from" in error
        assert "holdout" in error
    assert not (tmp_path / "out").exists()


def test_archive_prepared_otherwise_is_refused_naming_both_sides(journey: Journey, tmp_path: Path, capsys) -> None:
    other = str(tmp_path / "other")
    assert main(["synthesize", other, "records=60", "sampling_rate=200", "duration=5"]) == 0
    labels = f"{other}/labels/conditions.csv"
    for verb, options in (("probe", ()), ("finetune", FINETUNING[:4]), ("compare", COMPARING[:8])):
        error = refused(capsys, verb, journey.encoder, other, labels, str(tmp_path / "out"), *options)
        assert "sampling_rate: 100.0 against 200.0" in error


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.assign(record_id=t["record_id"].replace(t["record_id"][0], "nobody/v0")), "nobody/v0"),
        (lambda t: t.assign(sinus_rhythm=2), "column 'sinus_rhythm'.*must hold 1, 0 or blank, got '2'"),
        (lambda t: t.assign(sinus_rhythm=0, sinus_bradycardia=0), "no class has both positive and negative records"),
        (lambda t: t.drop(columns="record_id"), "has no column record_id"),
        (lambda t: t.drop(columns="sinus_rhythm"), "has no column sinus_rhythm"),
        (lambda t: pd.concat([t, t[:1]]), "1 record ids more than once"),
        (lambda t: t[:2], r"nobody of 1 patients is in validation and test; choose another split\.seed"),
    ],
)
@pytest.mark.parametrize("verb", ["probe", "compare"])
def test_bad_label_tables_are_refused(journey: Journey, tmp_path: Path, capsys, verb, change, message) -> None:
    change(pd.read_csv(journey.labels)).to_csv(tmp_path / "bad.csv", index=False)
    paths = (journey.encoder, journey.archive, str(tmp_path / "bad.csv"), str(tmp_path / "out"))
    options = COMPARING if verb == "compare" else (CLASSES, *SPLIT)
    assert re.search(message, refused(capsys, verb, *paths, *options))
    assert not (tmp_path / "out").exists()


def test_class_that_the_test_patients_lack_is_a_warning_and_a_blank(journey: Journey, tmp_path: Path, caplog) -> None:
    archive = ssl_ecg.open_archive(journey.archive)
    labels = read_labels(journey.labels, archive)
    table = pd.read_csv(journey.labels)
    # Folds fix the split, so that a class can be emptied in one part of it.
    splits = journey.split().split(labels)
    table["fold"] = 0
    table.loc[splits.validation, "fold"], table.loc[splits.test, "fold"] = 1, 2
    table.loc[splits.test, "sinus_bradycardia"] = 0
    table.to_csv(tmp_path / "folds.csv", index=False)
    paths = (journey.encoder, journey.archive, str(tmp_path / "folds.csv"), str(tmp_path / "out"))
    folds = ("split.validation_folds=[1]", "split.test_folds=[2]")
    with caplog.at_level(logging.WARNING):
        assert main(["compare", *paths, *COMPARING[:-4], *folds, "arms=[pretrained_probe]"]) == 0
    warning = "test has no positive record of 1 classes: sinus_bradycardia"
    assert warning in caplog.text
    assert warning in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    per_class = pd.read_csv(tmp_path / "out" / "per_class.csv").set_index("class")
    assert per_class.loc["sinus_bradycardia", "auroc"].isna().all()
    assert per_class.loc["sinus_rhythm", "auroc"].notna().all()


def test_full_disk_at_the_end_of_pretraining_loses_nothing(
    journey: Journey, tmp_path: Path, capsys, monkeypatch
) -> None:
    module = importlib.import_module("ssl_ecg.training.pretraining")
    command = ["pretrain", journey.archive, str(tmp_path), f"holdout={journey.labels}", *PRETRAINING]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(module, "save_encoder", full)
        assert "No space left on device" in refused(capsys, *command)
    with pytest.raises(FileNotFoundError):
        ssl_ecg.load_encoder(tmp_path)  # a half-written encoder does not open
    assert main(command) == 0
    ours, theirs = (ssl_ecg.load_encoder(folder).state_dict() for folder in (tmp_path, journey.encoder))
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_ingest_counts_what_it_rejects(tmp_path: Path, heartbeat, write_wfdb, capsys) -> None:
    for number in range(3):
        write_wfdb(tmp_path / "ecgs" / "2020", f"{number:03d}", heartbeat(seed=number))
    flat = heartbeat(seed=9)
    flat[6] = 0
    write_wfdb(tmp_path / "ecgs" / "2021", "flat", flat)
    (tmp_path / "ecgs" / "2021" / "torn.hea").write_text("torn 12\n")
    assert main(["ingest", str(tmp_path / "ecgs"), str(tmp_path / "archive"), "workers=1"]) == 0
    shown = capsys.readouterr().out
    assert "3 records accepted, 2 rejected" in shown
    assert "flat lead" in shown
    archive = ssl_ecg.open_archive(tmp_path / "archive")
    assert archive.manifest["record_id"].tolist() == ["2020/000", "2020/001", "2020/002"]
    assert set(archive.rejected["path"]) == {"2021/flat.hea", "2021/torn.hea"}
    assert archive[0]["signal"].shape == (12, 1000)


def test_two_hundred_real_ecgs(ecg_data: Path, tmp_path: Path) -> None:
    real = ecg_data / "ptbxl"
    table = pd.read_csv(real / "ptbxl_database.csv", dtype=str)
    few = table.groupby("strat_fold").head(22)
    source = tmp_path / "ptbxl"
    for name in few["filename_lr"]:
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        for suffix in (".hea", ".dat"):
            (source / f"{name}{suffix}").symlink_to(real / f"{name}{suffix}")
    few.to_csv(source / "ptbxl_database.csv", index=False)
    (source / "scp_statements.csv").symlink_to(real / "scp_statements.csv")
    archive, encoder, out = (str(tmp_path / name) for name in ("archive", "encoder", "out"))
    labels = f"{archive}/labels/ptbxl_superdiagnostic.csv"
    folds = ("split.validation_folds=[8]", "split.test_folds=[9]")
    assert main(["ingest", str(source), archive]) == 0
    opened = ssl_ecg.open_archive(archive)
    assert 0.9 * len(few) < len(opened) == len(few) - len(opened.rejected)
    assert main(["pretrain", archive, encoder, f"holdout={labels}", *PRETRAINING[:-3], *folds]) == 0
    assert ssl_ecg.load_encoder(encoder).origin["held_out_records"] >= 15
    assert main(["probe", encoder, archive, labels, out, *folds]) == 0
    predictions = pd.read_csv(Path(out) / "predictions.csv")
    fold = table.set_index("filename_lr")["strat_fold"]
    assert set(fold[predictions["record_id"]]) == {"9"}
    assert {"NORM", "MI", "STTC", "CD", "HYP"} <= set(predictions)
    # Chance is .5; even this small an encoder tells normal from ischaemic ECGs.
    assert json.loads((Path(out) / "metrics.json").read_text())["macro_auroc"] > 0.55


def test_package_runs_as_its_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["ssl-ecg", "--help"])
    with pytest.raises(SystemExit) as stopped:
        runpy.run_module("ssl_ecg", run_name="__main__")
    assert stopped.value.code == 0
    assert "pretrain" in capsys.readouterr().out
