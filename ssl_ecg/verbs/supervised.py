"""The verbs that learn with labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.labels.splits import Splits, SplitSettings
from ssl_ecg.verbs.clinical import read_clinical
from ssl_ecg.verbs.results import Tested, tested
from ssl_ecg.verbs.shared import (
    ArchiveLike,
    EncoderLike,
    TableLike,
    encoder_for,
    opened,
    settings_from,
)

if TYPE_CHECKING:
    from ssl_ecg.tasks import Task
    from ssl_ecg.training import FinetuneSettings

RANDOM_START: dict[str, Any] = {"head": "zero", "layer_decay": 1.0}
"""What random weights are trained with where nothing else is asked for, as in ``configs/training/scratch.yaml``."""


def probe(
    encoder: EncoderLike | None,
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path | None = None,
    *,
    backbone: str | None = None,
    backbone_options: Mapping[str, Any] | None = None,
    task: str = "arrhythmia",
    task_options: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    split: SplitSettings | None = None,
    subgroups: Sequence[str] = (),
    clinical_score: str | None = None,
    seen_patients: str = "refuse",
) -> dict[str, float]:
    """Fit a linear probe on frozen features; regularisation is chosen on validation, test is scored once.

    Args:
        encoder: the encoder, or its folder; None: random weights of seed 0, what features must beat.
        archive: the archive, or its folder.
        labels: label table.
        out: folder for ``metrics.json``, ``predictions.csv``, the other tables of the task, and figures, if wanted;
            decisions are tuned on validation.
        backbone: name of the network, where there is no encoder; that of ``pretrain`` by default.
        backbone_options: of the backbone; those not given are those of ``configs/``.
        task: name, see ``ssl_ecg.tasks.list_tasks()``.
        task_options: options of the task.
        classes: columns of the table; all by default, or those that the task names.
        split: which records train, choose and test.
        subgroups: columns of the label table, or of the archive's manifest, for ``subgroups.csv`` in ``out``; they are
            no classes unless ``classes`` names them.
        clinical_score: column of the label table or of the manifest, a risk score; ``clinical_score.csv`` in ``out``
            says what the ECG adds to it. For ``af_survival``.
        seen_patients: what to do where the encoder has learned from test patients of the same id: "refuse", or "test"
            on them, since they are other people; ``metrics.json`` then has ``records_of_seen_patients``.

    Returns:
        The task's test metrics with patient-level bootstrap intervals, and what validation chose.
    """
    from ssl_ecg.comparison.arms import FeatureCache, run_probe

    if subgroups and out is None:
        raise ValueError(f"subgroups={list(subgroups)}, out=None: name a folder for the table")
    encoder = encoder_for(archive, encoder, backbone, backbone_options, seed=0)
    archive = opened(archive)
    encoder.check(archive.settings)
    created, splits, test = _prepare(encoder, archive, labels, task, task_options, classes, split, subgroups)
    seen = _seen(encoder, test, seen_patients)
    clinical = None if clinical_score is None else read_clinical(clinical_score, labels, created, splits, test)
    table = test.labels
    features = FeatureCache(test.archive, table.rows).get("encoder", encoder)
    outcome = run_probe(features, table.targets, splits.train, splits.validation, splits.test, created)
    assert outcome.probe is not None
    validated = outcome.probe.scores(features[splits.validation])
    created = created.tuned(table.targets[splits.validation], validated)
    metrics = test.metrics(created, outcome.scores)
    metrics |= {f"validation_{created.selection}": outcome.validation, "C": outcome.chosen["C"]}
    added, further = ({}, {}) if clinical is None else clinical.combine(created, validated, outcome.scores)
    metrics |= added | seen
    if out is not None:
        test.write(Path(out), created, outcome.scores, metrics, _learned(splits), further)
    return metrics


def finetune(
    encoder: EncoderLike | None,
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path,
    *,
    backbone: str | None = None,
    backbone_options: Mapping[str, Any] | None = None,
    task: str = "arrhythmia",
    task_options: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    settings: FinetuneSettings | None = None,
    scratch: bool = False,
    split: SplitSettings | None = None,
    subgroups: Sequence[str] = (),
    clinical_score: str | None = None,
    seen_patients: str = "refuse",
    progress: bool = True,
    **options: Any,
) -> dict[str, float]:
    """Train an encoder and a head with labels; the best evaluation is chosen on validation, test is scored once.

    Args:
        encoder: the encoder, or its folder; None: a new network, the supervised baseline without any pretraining.
        archive: the archive, or its folder.
        labels: label table.
        out: folder of the model (``ssl_ecg.tasks.load_classifier`` and ``load_encoder`` read it), with
            ``metrics.json``, ``predictions.csv`` (a row a test record), other tables of the task, figures,
            ``curve.csv`` and a model card. The task that it keeps has its decisions tuned on validation.
        backbone: as in ``probe``.
        backbone_options: as in ``probe``.
        task: name, see ``ssl_ecg.tasks.list_tasks()``.
        task_options: options of the task.
        classes: columns of the table; all by default, or those that the task names.
        settings: all settings at once; otherwise give single ones by name. Without an encoder those not given are those
            of ``configs/training/scratch.yaml``.
        scratch: start from random weights instead of the encoder's: the supervised baseline in an encoder's network.
        split: which records train, choose and test.
        subgroups: as in ``probe``.
        clinical_score: as in ``probe``.
        seen_patients: as in ``probe``.
        progress: show a progress bar.
        options: fields of ``ssl_ecg.training.FinetuneSettings``; an unknown one is a TypeError.

    Returns:
        The task's test metrics with patient-level bootstrap intervals, and the chosen step.
    """
    from ssl_ecg.comparison.arms import random_encoder
    from ssl_ecg.tasks import save_classifier
    from ssl_ecg.training import FinetuneSettings, patient_hash, predict_scores
    from ssl_ecg.training import finetune as run
    from ssl_ecg.training.card import finetuning_card

    if encoder is None and settings is None:
        options = {**RANDOM_START, **options}
    settings = settings_from(FinetuneSettings, settings, options)
    if isinstance(encoder, str | Path) and Path(out).resolve() == Path(encoder).resolve():
        raise ValueError(f"out={str(out)!r}: the encoder lies there, and would be replaced; choose another folder")
    new, encoder = encoder is None, encoder_for(archive, encoder, backbone, backbone_options, settings.seed)
    archive, out = opened(archive), Path(out)
    encoder.check(archive.settings)
    starting = [name for name in getattr(encoder.backbone, "starting", ()) if (backbone_options or {}).get(name)]
    random = scratch or (new and not starting)  # a new network may begin with weights from elsewhere
    created, splits, test = _prepare(encoder, archive, labels, task, task_options, classes, split, subgroups)
    seen = _seen(encoder, test, seen_patients)
    clinical = None if clinical_score is None else read_clinical(clinical_score, labels, created, splits, test)
    table = test.labels
    if scratch:
        encoder = random_encoder(encoder, settings.seed)
    train, validation = ((table.rows[index], table.targets[index]) for index in (splits.train, splits.validation))
    finished = run(encoder, created, archive, train, validation, settings, progress)
    # What this encoder has learned from must not test it later, under whatever split.
    learned = archive.manifest["patient_id"].iloc[np.concatenate([train[0], validation[0]])]
    finished.model.encoder.patients |= frozenset(map(patient_hash, learned.unique()))
    finished.model.encoder.origin["split"] = dict(splits.how)
    validated = predict_scores(finished.model, archive, validation[0])
    created = finished.model.task = created.tuned(validation[1], validated)
    scores = predict_scores(finished.model, archive, test.rows)
    metrics = {**test.metrics(created, scores), **finished.best}
    added, further = ({}, {}) if clinical is None else clinical.combine(created, validated, scores)
    metrics |= added | seen
    card = partial(finetuning_card, finished.model, settings, metrics, table, splits, random)
    save_classifier(finished.model, out, card())
    pd.DataFrame(finished.curve).to_csv(out / "curve.csv", index=False)
    figures = test.write(out, created, scores, metrics, _learned(splits), further)
    (out / "README.md").write_text(card(figures), encoding="utf-8")
    return metrics


def _prepare(
    encoder: Encoder,
    archive: Archive,
    labels: TableLike,
    task: str,
    task_options: Mapping[str, Any] | None,
    classes: Sequence[str] | None,
    split: SplitSettings | None,
    subgroups: Sequence[str],
) -> tuple[Task, Splits, Tested]:
    """Read the labels and split them."""
    from ssl_ecg.tasks import read_task

    table, created = read_task(task, labels, archive, classes, task_options, subgroups)
    splits = (split or SplitSettings()).split(table, encoder.origin.get("split"))
    return created, splits, tested(archive, labels, table, splits.test, subgroups)


def _seen(encoder: Encoder, test: Tested, seen_patients: str) -> dict[str, float]:
    """Refuse patients that the encoder has learned from; where they may test, return how many records are of them."""
    from ssl_ecg.comparison import check_unseen, recognised

    check_unseen(encoder, test.archive, test.rows, seen_patients)
    if seen_patients == "refuse":
        return {}
    return {"records_of_seen_patients": float(recognised(encoder, test.archive, test.rows).sum())}


def _learned(splits: Splits) -> dict[str, np.ndarray]:
    return {"train": splits.train, "validation": splits.validation}
