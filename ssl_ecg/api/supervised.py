"""The verbs that learn with labels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ssl_ecg.api.results import tested_metrics, write_tables
from ssl_ecg.api.shared import ArchiveLike, EncoderLike, SplitSettings, TableLike, opened, settings_from
from ssl_ecg.archive import Archive
from ssl_ecg.archive.labels import LabelTable
from ssl_ecg.archive.splits import Splits
from ssl_ecg.backbones import Encoder, load_encoder

if TYPE_CHECKING:
    from ssl_ecg.tasks import Task
    from ssl_ecg.training import FinetuneSettings, WindowSettings


def probe(
    encoder: EncoderLike,
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path | None = None,
    *,
    task: str = "arrhythmia",
    task_options: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    split: SplitSettings | None = None,
) -> dict[str, float]:
    """Fit a linear probe on frozen features; regularisation is chosen on validation, test is scored once.

    Args:
        encoder: the encoder, or its folder.
        archive: the archive, or its folder.
        labels: label table.
        out: folder for ``metrics.json``, ``predictions.csv`` and the other tables of the task, if wanted; decisions
            are tuned on validation.
        task: name, see ``ssl_ecg.tasks.list_tasks()``.
        task_options: options of the task.
        classes: columns of the table; all by default, or those that the task names.
        split: which records train, choose and test.

    Returns:
        The task's test metrics with patient-level bootstrap intervals, and what validation chose.
    """
    from ssl_ecg.comparison.arms import FeatureCache, run_probe

    encoder, archive, table, created, splits = _prepare(encoder, archive, labels, task, task_options, classes, split)
    features = FeatureCache(archive, table.rows).get("encoder", encoder)
    outcome = run_probe(features, table.targets, splits.train, splits.validation, splits.test, created)
    assert outcome.probe is not None
    created = created.tuned(table.targets[splits.validation], outcome.probe.scores(features[splits.validation]))
    metrics = tested_metrics(created, table, splits, outcome.scores)
    metrics |= {f"validation_{created.selection}": outcome.validation, "C": outcome.chosen["C"]}
    if out is not None:
        write_tables(Path(out), archive, created, table, splits, outcome.scores, metrics)
    return metrics


def finetune(
    encoder: EncoderLike,
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path,
    *,
    task: str = "arrhythmia",
    task_options: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    settings: FinetuneSettings | None = None,
    scratch: bool = False,
    windows: WindowSettings | None = None,
    split: SplitSettings | None = None,
    progress: bool = True,
    **options: Any,
) -> dict[str, float]:
    """Train an encoder and a head with labels; the best evaluation is chosen on validation, test is scored once.

    Args:
        encoder: the encoder, or its folder.
        archive: the archive, or its folder.
        labels: label table.
        out: folder of the model (``ssl_ecg.tasks.load_classifier`` and ``load_encoder`` read it), with
            ``metrics.json``, ``predictions.csv`` (a row a test record), other tables of the task, ``curve.csv`` and a
            model card. The task that it keeps has its decisions tuned on validation.
        task: name, see ``ssl_ecg.tasks.list_tasks()``.
        task_options: options of the task.
        classes: columns of the table; all by default, or those that the task names.
        settings: all settings at once; otherwise give single ones by name.
        scratch: start from random weights instead of the encoder's: the supervised baseline.
        windows: cut records into windows for the test scores, and for those that decisions are tuned on; the best
            evaluation is chosen on whole records all the same.
        split: which records train, choose and test.
        progress: show a progress bar.
        options: fields of ``ssl_ecg.training.FinetuneSettings``; an unknown one is a TypeError.

    Returns:
        The task's test metrics with patient-level bootstrap intervals, and the chosen step.
    """
    from ssl_ecg.comparison.arms import random_encoder
    from ssl_ecg.tasks import save_classifier
    from ssl_ecg.training import FinetuneSettings, WindowSettings, patient_hash, predict_scores, predict_windows
    from ssl_ecg.training import finetune as run
    from ssl_ecg.training.card import finetuning_card

    settings, windows = settings_from(FinetuneSettings, settings, options), windows or WindowSettings()
    encoder, archive, table, created, splits = _prepare(encoder, archive, labels, task, task_options, classes, split)
    if scratch:
        encoder = random_encoder(encoder, settings.seed)
    train, validation = ((table.rows[index], table.targets[index]) for index in (splits.train, splits.validation))
    finished = run(encoder, created, archive, train, validation, settings, progress)
    # What this encoder has learned from must not test it later, under whatever split.
    learned = archive.manifest["patient_id"].iloc[np.concatenate([train[0], validation[0]])]
    finished.model.encoder.patients |= frozenset(map(patient_hash, learned.unique()))

    def scores_of(rows: np.ndarray) -> np.ndarray:
        if windows.seconds is None:
            return predict_scores(finished.model, archive, rows)
        return predict_windows(finished.model, archive, rows, windows)

    created = finished.model.task = created.tuned(validation[1], scores_of(validation[0]))
    scores = scores_of(table.rows[splits.test])
    metrics = {**tested_metrics(created, table, splits, scores), **finished.best}
    out = Path(out)
    card = finetuning_card(finished.model, settings, metrics, table, splits, scratch, windows)
    save_classifier(finished.model, out, card)
    pd.DataFrame(finished.curve).to_csv(out / "curve.csv", index=False)
    write_tables(out, archive, created, table, splits, scores, metrics)
    return metrics


def _prepare(
    encoder: EncoderLike,
    archive: ArchiveLike,
    labels: TableLike,
    task: str,
    task_options: Mapping[str, Any] | None,
    classes: Sequence[str] | None,
    split: SplitSettings | None,
) -> tuple[Encoder, Archive, LabelTable, Task, Splits]:
    """Open everything, and refuse data that the encoder does not fit or was pretrained on."""
    from ssl_ecg.comparison import check_unseen
    from ssl_ecg.tasks import read_task

    encoder = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
    archive = opened(archive)
    encoder.check(archive.settings)
    table, created = read_task(task, labels, archive, classes, task_options)
    splits = (split or SplitSettings()).split(table)
    check_unseen(encoder, archive, table.rows[splits.test])
    return encoder, archive, table, created, splits
