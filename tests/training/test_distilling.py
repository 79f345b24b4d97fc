"""A finished model teaches a smaller one, from the archive to a folder that other verbs take."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch

import ssl_ecg
from ssl_ecg.archive import Archive
from ssl_ecg.runs import Run
from ssl_ecg.tasks import Classifier
from ssl_ecg.training import FinetuneSettings
from ssl_ecg.training.finetune_module import FinetuneModule

if TYPE_CHECKING:
    from conftest import Labelled

pytestmark = pytest.mark.slow
SMALL = {"name": "xresnet1d10", "width": 4}
STEPS = {"steps": 6, "epochs": None, "batch_size": 32, "evaluations": 3, "precision": "32-true"}


@pytest.fixture(scope="module")
def table(labelled: Labelled, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Labels of two thirds of the archive; the other records have none."""
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    pd.read_csv(labelled.archive.folder / "labels" / "conditions.csv").iloc[:160].to_csv(path, index=False)
    return path


@pytest.fixture(scope="module")
def teacher(
    labelled: Labelled, tiny_finetuning: FinetuneSettings, table: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    out = tmp_path_factory.mktemp("teacher") / "model"
    split = ssl_ecg.SplitSettings(seed=4, validation=0.25, test=0.25)
    options = {"classes": list(labelled.task.classes), "split": split, "training": tiny_finetuning, "progress": False}
    ssl_ecg.finetune(labelled.encoder, labelled.archive, table, out, **options)
    return out


def distil(teacher: Path, archive: Archive, table: Path, out: Path, **options: Any) -> Any:
    options = {"backbone": SMALL, "training": STEPS, **options}
    return ssl_ecg.distil(teacher, archive, table, out, progress=False, **options)


def same(one: Classifier, two: Classifier) -> bool:
    others = two.state_dict()
    return all(torch.equal(value, others[name]) for name, value in one.state_dict().items())


def test_a_student_of_two_leads_is_a_model_like_any_other(
    teacher: Path, labelled: Labelled, table: Path, tmp_path: Path, write_wfdb: Any, heartbeat: Any
) -> None:
    archive, out = labelled.archive, tmp_path / "student"
    distilled = distil(teacher, archive, table, out, leads=["II", "V1"], loggers=["jsonl"])
    logged = pd.read_json(tmp_path / "student.logs" / "metrics.jsonl", lines=True)
    assert logged["step"].tolist() == pd.read_csv(out / "curve.csv")["step"].tolist()
    student, its_teacher = ssl_ecg.load_model(out), ssl_ecg.load_model(teacher)
    assert same(distilled.model, student)
    assert student.encoder.leads == ("II", "V1")
    assert student.task.classes == its_teacher.task.classes
    assert student.head.out_features == 2
    assert "teacher's" not in (out / "task.json").read_text()

    # whom it learned from: the teacher's split, and the records without labels, but for who chooses or tests
    names = pd.read_csv(teacher / "predictions.csv")["record_id"]
    assert pd.read_csv(out / "predictions.csv")["record_id"].tolist() == names.tolist()
    assert student.encoder.patients > its_teacher.encoder.patients
    assert student.encoder.origin["split"] == its_teacher.encoder.origin["split"]

    # what it says of itself
    card, metrics = (out / "README.md").read_text(), json.loads((out / "metrics.json").read_text())
    weights = student.encoder.origin["teacher"]["weights"]
    assert f"taught by a teacher (xresnet1d10 of 12 leads, weights {weights})" in card
    above, own, theirs = (
        metrics[f"{name}"] for name in ("macro_auroc_above_teacher", "macro_auroc", "teacher_macro_auroc")
    )
    assert above == pytest.approx(own - theirs, abs=0.02)  # means over draws, and of all records
    others = pd.read_csv(archive.folder / "labels" / "conditions.csv").iloc[160:]["record_id"]
    assert 0 < metrics["unlabelled_records"] <= len(others)
    assert metrics["parameters"] == sum(part.numel() for part in student.parameters())
    assert 0 < metrics["multiplications"] < metrics["teacher_multiplications"] / 2

    # other verbs: an archive and a file of 12 leads, of which it takes its own
    evaluated = ssl_ecg.evaluate(out, archive.folder, table, tmp_path / "evaluated", seen_patients="leave_out")
    assert evaluated["macro_auroc"] == pytest.approx(metrics["macro_auroc"])
    signal = heartbeat(500, 6)
    write_wfdb(tmp_path, "ecg", signal)
    scored = ssl_ecg.predict(out, tmp_path / "ecg.hea", workers=1).filter(like="_score").to_numpy()
    of_two = student.predict(signal[[1, 6]], sampling_rate=500, leads=("II", "V1"))
    assert np.allclose(scored, of_two, atol=1e-4)  # a file holds whole microvolts
    bundle = ssl_ecg.export(out, tmp_path / "program", format="torch")
    assert bundle.signal.leads == ("II", "V1")
    assert bundle.largest_difference < 1e-4


@pytest.mark.parametrize("student", ["new", "channels", "weights"])
def test_a_distillation_that_was_stopped_goes_on_to_the_same_weights(
    student: str, teacher: Path, labelled: Labelled, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = {"student": student} if student != "new" else {"backbone": SMALL}
    options |= {"keep": 0.5, "leads": ["I", "II"], "training": {**STEPS, "augment": {"gaussian_noise": 0.1}}}

    def run(out: Path) -> Any:
        return ssl_ecg.distil(teacher, labelled.archive, table, out, progress=False, **options)

    original, steps = FinetuneModule.training_step, []

    def step(self: FinetuneModule, batch: dict[str, torch.Tensor], batch_index: int) -> torch.Tensor:
        steps.append(1)
        if len(steps) == 5:
            raise KeyboardInterrupt
        return original(self, batch, batch_index)

    with monkeypatch.context() as patch:
        patch.setattr(FinetuneModule, "training_step", step)
        with pytest.raises((KeyboardInterrupt, SystemExit)):
            run(tmp_path / "out")
    assert Run(tmp_path / "out").begun
    gone_on, straight = run(tmp_path / "out").model, run(tmp_path / "straight").model
    assert same(straight, gone_on)
    assert same(run(tmp_path / "out").model, gone_on)  # found, not made again
    network = gone_on.encoder.backbone
    if student == "channels":
        assert gone_on.encoder.options["width"] == 4
    if student == "weights":
        layers = torch.cat([part.weight.flatten() for part in network.modules() if isinstance(part, torch.nn.Conv1d)])
        assert (layers != 0).float().mean() == pytest.approx(0.5, abs=1e-3)


def test_without_a_teacher_the_labels_alone_are_learned(
    teacher: Path, labelled: Labelled, table: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the teacher was asked")

    monkeypatch.setattr("ssl_ecg.verbs.distil.teacher_says", never)
    distilled = distil(teacher, labelled.archive, table, tmp_path / "control", soft=0, features=0)
    assert "taught by labels alone" in (tmp_path / "control" / "README.md").read_text()
    assert distilled.model.encoder.patients == ssl_ecg.load_model(teacher).encoder.patients


def test_what_cannot_be_distilled_is_refused(teacher: Path, labelled: Labelled, table: Path, tmp_path: Path) -> None:
    archive, out = labelled.archive, tmp_path / "out"
    with pytest.raises(ValueError, match="V9"):
        distil(teacher, archive, table, out, leads=["V9"])
    with pytest.raises(ValueError, match="student='channels' is the teacher's network; leave out one"):
        distil(teacher, archive, table, out, student="channels")
    with pytest.raises(ValueError, match="the teacher lies there"):
        distil(teacher, archive, table, teacher)
    other = ssl_ecg.load_model(teacher)
    other.encoder.origin["split"] = {**other.encoder.origin["split"], "key": "another"}
    with pytest.raises(ValueError, match="test patients are among those the encoder learned from"):
        distil(other, archive, table, out)
    assert not out.exists()
