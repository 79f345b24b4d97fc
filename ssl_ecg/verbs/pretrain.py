"""An unlabelled archive becomes an encoder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.labels.splits import Splits
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.settings import chosen
from ssl_ecg.tasks import Task, read_task
from ssl_ecg.tasks.registry import TASKS
from ssl_ecg.training import PretrainSettings
from ssl_ecg.training import pretrain as run
from ssl_ecg.training.engine import is_first
from ssl_ecg.training.monitor import Watched
from ssl_ecg.training.pretraining import kept_split
from ssl_ecg.verbs._given import ArchiveLike, Table, opened
from ssl_ecg.verbs._learning import LabelSettings
from ssl_ecg.verbs.verb import console, verb


class VerbSettings(LabelSettings, PretrainSettings):
    """How to pretrain, and who must not be seen."""

    holdout: Table | None = None
    """label table whose test patients, as task and split draw them, must not be seen. Give the same table, task and
    split to probe, finetune and compare; who tests is kept in the encoder folder"""
    monitor: Table | None = None
    """label table of which a linear probe tells during pretraining what the features are worth, on its validation
    patients, as task and split draw them; who tests has no part in it. Its score is logged every few epochs, so that it
    takes at most a tenth of the time, and changes nothing"""
    task: chosen("task", TASKS) = "arrhythmia"  # type: ignore[valid-type]
    """how holdout and monitor are read"""


def show(encoder: Encoder, archive: str, out: str) -> None:
    """Print which weights were kept, and where they lie; of several processes, the first does."""
    if not is_first():
        return
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in encoder.origin["metrics"].items())
    console.print(f"weights after epoch {encoder.origin['epoch']} kept; the encoder lies in {out}")
    console.print(metrics)


@verb(VerbSettings, show)
def pretrain(archive: ArchiveLike, out: str | Path, settings: VerbSettings, progress: bool = True) -> Encoder:
    """Pretrain a backbone on an unlabelled archive and write an encoder folder.

    Args:
        archive: the archive, or its folder.
        out: encoder folder; a killed run continues there.
        settings: all settings at once, in place of single ones by name.
        progress: show a progress bar.

    Returns:
        The encoder, in eval mode.
    """
    archive = opened(archive)
    rows = how = watched = None
    if settings.holdout is not None:
        labels, _, splits = _read(settings.holdout, settings, archive, kept_split(out))
        rows, how = labels.rows[splits.test], splits.how
    if settings.monitor is not None:
        watched = _watched(settings, archive, rows, how or kept_split(out))
    return run(archive, out, settings.part(PretrainSettings), rows, progress, how, watched)


def _read(
    table: Any, settings: VerbSettings, archive: Archive, kept: Mapping[str, Any] | None
) -> tuple[LabelTable, Task, Splits]:
    labels, task = read_task(settings.task.name, table, archive, settings.classes, settings.task.options)
    return labels, task, settings.split.split(labels, kept)


def _watched(
    settings: VerbSettings, archive: Archive, held: NDArray[np.int64] | None, kept: Mapping[str, Any] | None
) -> Watched:
    """Return the records to watch: those that train and choose, of nobody who tests or is held out."""
    labels, task, splits = _read(settings.monitor, settings, archive, kept)
    testing = archive.patient[np.concatenate([labels.rows[splits.test], [] if held is None else held]).astype(np.int64)]
    others = ~np.isin(archive.patient[labels.rows], testing)
    train, validation = (part[others[part]] for part in (splits.train, splits.validation))
    return Watched(task, *((labels.rows[part], labels.targets[part]) for part in (train, validation)))
