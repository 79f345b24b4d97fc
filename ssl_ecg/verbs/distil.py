"""A finished model teaches a smaller one, of other leads where wanted."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
from annotated_types import Gt, Lt
from numpy.typing import NDArray
from pydantic import AfterValidator

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.backbones.foreign import describe
from ssl_ecg.backbones.pruning import narrowed, without_smallest
from ssl_ecg.backbones.registry import BACKBONES
from ssl_ecg.comparison import check_unseen, remember
from ssl_ecg.deploy.program import multiplications
from ssl_ecg.evaluation import paired_difference
from ssl_ecg.labels.splits import Splits, SplitSettings
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.records import canonical_lead
from ssl_ecg.runs import Run, locked
from ssl_ecg.settings import chosen, recipe
from ssl_ecg.tasks import Classifier, Task, load_model, read_task
from ssl_ecg.tasks.distillation import DistilSettings, Taught
from ssl_ecg.training import FinetuneSettings, predict_scores, teacher_says
from ssl_ecg.training import finetune as train_model
from ssl_ecg.training.batches import count_incomplete
from ssl_ecg.training.engine import seed_step
from ssl_ecg.training.loggers import finish, make_loggers
from ssl_ecg.training.pretrain_settings import LoggerName
from ssl_ecg.verbs._folder import identity, weights_of
from ssl_ecg.verbs._given import ArchiveLike, TableLike, opened_for
from ssl_ecg.verbs._learning import Fitted, print_metrics
from ssl_ecg.verbs._model import found, write_model
from ssl_ecg.verbs.results import Tested, tested
from ssl_ecg.verbs.verb import console, verb

REMEDY = "give the archive and the label table by which the teacher was trained, whose split holds them out"


class VerbSettings(DistilSettings):
    """Who learns, what, and how."""

    student: Literal["new", "channels", "weights"] = "new"
    """what learns: a "new" network, ``backbone``; or the teacher's own, with its strongest "channels" alone, which
    makes it narrower (xresnet1d), or its largest "weights" and 0 for the others, which makes it no faster"""
    backbone: chosen("backbone", BACKBONES, describe=describe) = "xresnet1d10_narrow"  # type: ignore[valid-type]
    """the new network"""
    keep: Annotated[float, Gt(0), Lt(1)] = 0.25
    """share of the teacher's channels of each layer, or of its weights, that a student of these keeps"""
    leads: tuple[Annotated[str, AfterValidator(canonical_lead)], ...] | None = None
    """leads that the student sees, of those of the teacher, which sees all of its own; null: the same"""
    unlabelled: bool = True
    """learn from the teacher what it says of the archive's other records too, but for those of patients who choose or
    test"""
    training: recipe("training", FinetuneSettings) = "distilled"  # type: ignore[valid-type]
    """how"""
    loggers: tuple[LoggerName, ...] = ()
    """where to log every evaluation beside ``curve.csv``, which is always written: into the folder OUT.logs"""


def show(distilled: Fitted, teacher: str, archive: str, labels: str, out: str) -> None:
    """Print the metrics, and where the model lies."""
    print_metrics(distilled.metrics)
    console.print(f"the model lies in {out}")


@verb(VerbSettings, show)
@locked("out")
def distil(
    teacher: str | Path | Classifier,
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path,
    settings: VerbSettings,
    progress: bool = True,
) -> Fitted:
    """Train a small model with labels and with what a finished model says; chosen on validation, test is scored once.

    Args:
        teacher: folder that ``finetune``, ``probe`` or ``compare`` wrote, or the model itself. Its task, classes and
            split hold here as well.
        archive: the archive, or its folder, with the teacher's leads.
        labels: label table of the teacher's classes.
        out: folder of the model, as ``finetune`` writes it. A killed run goes on from its last evaluation; the same
            call on a finished model returns it.
        settings: all settings at once, in place of single ones by name.
        progress: show a progress bar.

    Returns:
        Test metrics with patient-level bootstrap intervals, the teacher's and the difference on the same records,
        parameters and multiplications of both; and the model.
    """
    if isinstance(teacher, str | Path) and Path(out).resolve() == Path(teacher).resolve():
        raise ValueError(f"out={str(out)!r}: the teacher lies there, and would be replaced; choose another folder")
    teacher = load_model(teacher) if isinstance(teacher, str | Path) else teacher
    if static := teacher.static or settings.training.static:
        raise ValueError(f"static={list(static)}: both models of distilling see signals alone; leave it out")
    whole, encoder, run = opened_for(teacher.encoder, archive), _student(teacher.encoder, settings), Run(Path(out))
    archive = opened_for(encoder, whole)
    task, table, splits = _labelled(teacher, whole, labels)
    test = tested(archive, labels, table, splits.test, ())
    about = identity("distil", teacher.encoder, whole, table, splits.parts, settings)
    about |= {"teacher_head": weights_of(teacher.head, task.name)}
    if (earlier := found(run, about, encoder)) is not None:
        return earlier
    taught = Taught(task, settings, teacher.encoder.width)
    train, further = _lessons(taught, teacher, whole, table, splits, settings)
    validation = table.rows[splits.validation], table.targets[splits.validation]
    chosen_by = validation[0], taught.targets(validation[1], None)
    loggers = make_loggers(settings.loggers, run.folder, about["settings"])
    zeros_stay = settings.student == "weights"
    finished = train_model(
        encoder, taught, archive, train, chosen_by, settings.training, progress, run, None, loggers, zeros_stay
    )
    finish(loggers)
    model = finished.model
    task = taught.untaught(model.head)
    remember(model, archive, table, splits, further)
    task = model.task = task.tuned(validation[1], predict_scores(model, archive, validation[0]))
    scores = predict_scores(model, archive, test.rows)
    metrics = {**test.metrics(task, scores), **finished.best, **_compared(teacher, model, task, whole, test, scores)}
    metrics["unlabelled_records"] = float(len(further))
    start, curve, asked = f"from {_told(teacher, settings)}", pd.DataFrame(finished.curve), settings.to_dict()
    write_model(run.folder, model, test, scores, metrics, splits, asked, start, {}, curve, "distil")
    run.clear_checkpoints()
    return Fitted(metrics, model)


def _labelled(teacher: Classifier, archive: Archive, labels: TableLike) -> tuple[Task, LabelTable, Splits]:
    """Return the teacher's task without decisions, the labels, and their split.

    Raises:
        ValueError: a task without labels, or a teacher that has seen patients who test.
    """
    task = teacher.task
    if not task.of_labels:
        raise ValueError(f"teacher: task {task.name!r} has no labels to distil; finetune the small network itself")
    options = {name: value for name, value in task.options.items() if name != "thresholds"}
    table, task = read_task(task.name, labels, archive, task.classes, options)
    count_incomplete(archive, table.rows)
    splits = SplitSettings(**(teacher.encoder.origin.get("split") or {})).split(table)
    check_unseen(teacher.encoder, archive, table.rows[splits.test], remedy=REMEDY)
    return task, table, splits


def _student(teacher: Encoder, settings: VerbSettings) -> Encoder:
    """Return the network that learns, with what it remembers of its teacher.

    Raises:
        ValueError: leads that the teacher does not know, or a backbone that would not be used.
    """
    leads = settings.leads or teacher.leads
    if unknown := sorted(set(leads) - set(teacher.leads)):
        raise ValueError(f"leads={unknown}: the teacher has {', '.join(teacher.leads)}; choose of these")
    if settings.student == "new":
        seed_step(settings.training.seed, 0, stream=2)
        backbone, signal = settings.backbone, teacher.signal.replace(leads=leads)
        encoder = Encoder(backbone.given, backbone.options, signal)
    elif settings.backbone != VerbSettings().backbone:
        raise ValueError(
            f"backbone={settings.backbone.name!r}: student={settings.student!r} is the teacher's network; leave out one"
        )
    elif settings.student == "channels":
        encoder = narrowed(teacher, settings.keep, leads)
    else:
        of_leads = teacher if leads == teacher.leads else narrowed(teacher, leads=leads)
        encoder = without_smallest(of_leads, settings.keep)
    encoder.origin["teacher"] = {
        "backbone": teacher.name,
        "leads": list(teacher.leads),
        "weights": weights_of(teacher, teacher.name),
    }
    encoder.patients, encoder.ecgs = teacher.patients, teacher.ecgs
    return encoder


def _lessons(
    taught: Taught, teacher: Classifier, archive: Archive, table: LabelTable, splits: Splits, settings: VerbSettings
) -> tuple[tuple[NDArray[np.int64], NDArray[np.float32]], NDArray[np.int64]]:
    """Return rows and targets that train, labelled ones first, and the rows of those without labels."""
    rows, targets = table.rows[splits.train], table.targets[splits.train]
    further = np.empty(0, np.int64)
    if not (settings.soft or settings.features):
        return (rows, taught.targets(targets, None)), further
    if settings.unlabelled:
        held = archive.patient[table.rows[np.r_[splits.validation, splits.test]]]
        further = np.setdiff1d(np.flatnonzero(~np.isin(archive.patient, held)), rows)
    rows = np.r_[rows, further]
    targets = np.vstack([targets, np.full((len(further), targets.shape[1]), np.nan, np.float32)])
    logits, features = teacher_says(teacher, archive, rows)
    features = (features - features.mean(0)) / np.maximum(features.std(0), 1e-6)
    return (rows, taught.targets(targets, (logits, features))), further


def _compared(
    teacher: Classifier, model: Classifier, task: Task, archive: Archive, test: Tested, scores: NDArray[Any]
) -> dict[str, float]:
    """Return the teacher's score on the same records, what the student's is above it, and what each costs."""
    name, labels, index = task.selection.name, test.labels, test.index
    targets, theirs = labels.targets[index], predict_scores(teacher, archive, test.rows)
    found = paired_difference(
        targets,
        scores,
        theirs,
        labels.patient[index],
        metrics=task.weighted_metrics,
        outcome=labels.outcome[index],
    )[name]
    costs: dict[str, float] = {}
    for who, each in (("", model), ("teacher_", teacher)):
        costs |= {
            f"{who}parameters": float(sum(part.numel() for part in each.parameters())),
            f"{who}multiplications": float(multiplications(each)),
        }
    return {
        f"teacher_{name}": task.evaluate(targets, theirs)[name],
        f"{name}_above_teacher": found.mean,
        f"{name}_above_teacher_low": found.low,
        f"{name}_above_teacher_high": found.high,
        **costs,
    }


def _told(teacher: Classifier, settings: VerbSettings) -> str:
    """Say in the card where the model comes from."""
    encoder = teacher.encoder
    named = f"a teacher ({encoder.name} of {len(encoder.leads)} leads, weights {weights_of(encoder, encoder.name)})"
    taught = bool(settings.soft or settings.features)
    if settings.student == "new":
        return f"random weights, taught by {named if taught else 'labels alone'}"
    return f"the largest {settings.student} of {named}, taught by {'it' if taught else 'labels alone'}"
