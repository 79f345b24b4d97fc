"""An unlabelled archive becomes an encoder."""

from __future__ import annotations

from pathlib import Path

from ssl_ecg.backbones import Encoder
from ssl_ecg.settings import chosen
from ssl_ecg.tasks import read_task
from ssl_ecg.tasks.registry import TASKS
from ssl_ecg.training import PretrainSettings
from ssl_ecg.training import pretrain as run
from ssl_ecg.training.pretrain import kept_split
from ssl_ecg.verbs._given import ArchiveLike, Table, opened
from ssl_ecg.verbs._learning import LabelSettings
from ssl_ecg.verbs.verb import console, verb


class VerbSettings(LabelSettings, PretrainSettings):
    """How to pretrain, and who must not be seen."""

    holdout: Table | None = None
    """label table whose test patients, as task and split draw them, must not be seen. Give the same table, task and
    split to probe, finetune and compare; who tests is kept in the encoder folder"""
    task: chosen("task", TASKS) = "arrhythmia"  # type: ignore[valid-type]
    """how holdout is read"""


def show(encoder: Encoder, archive: str, out: str) -> None:
    """Print which weights were kept, and where they lie."""
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in encoder.origin["metrics"].items())
    console.print(f"weights after epoch {encoder.origin['epoch']} kept ({metrics}); the encoder lies in {out}")


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
    rows = how = None
    if settings.holdout is not None:
        task = settings.task
        labels, _ = read_task(task.name, settings.holdout, archive, settings.classes, task.options)
        splits = settings.split.split(labels, kept_split(out))
        rows, how = labels.rows[splits.test], splits.how
    return run(archive, out, settings.part(PretrainSettings), rows, progress, how)
