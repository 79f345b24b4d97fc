"""The verbs that compare: arms, and variants of pretraining."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from ssl_ecg.backbones import Encoder, load_encoder
from ssl_ecg.labels import SplitSettings
from ssl_ecg.verbs.shared import ArchiveLike, EncoderLike, TableLike, opened, settings_from

if TYPE_CHECKING:
    from ssl_ecg.comparison import AblateSettings, CompareSettings, Variant


def compare(
    encoder: EncoderLike,
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path,
    *,
    classes: Sequence[str] | None = None,
    settings: CompareSettings | None = None,
    split: SplitSettings | None = None,
    progress: bool = True,
    command: str = "ssl_ecg.compare(...)",
    **options: Any,
) -> pd.DataFrame:
    """Compare pretraining with supervised baselines over label fractions and seeds, and write a report.

    Args:
        encoder: the pretrained encoder, or its folder.
        archive: the archive, or its folder.
        labels: label table.
        out: folder for ``report.html``, ``summary.csv``, ``results.csv``, figures and the finished runs; a killed
            comparison continues there.
        classes: columns of the table; all by default, or those that the task names.
        settings: all settings at once; otherwise give single ones by name.
        split: which records train, choose and test.
        progress: show a progress bar.
        command: recorded in the report as how it was made.
        options: fields of ``ssl_ecg.comparison.CompareSettings``; an unknown one is a TypeError.

    Returns:
        The summary: columns task, arm, fraction, seeds, metric, mean, low, high.
    """
    import shutil

    from ssl_ecg.comparison import CompareSettings
    from ssl_ecg.comparison import compare as run
    from ssl_ecg.report import write_report
    from ssl_ecg.tasks import read_task

    folder = None if isinstance(encoder, Encoder) else Path(encoder)
    encoder, archive = load_encoder(encoder) if not isinstance(encoder, Encoder) else encoder, opened(archive)
    settings = settings_from(CompareSettings, settings, options)
    table, _ = read_task(settings.task, labels, archive, classes, settings.task_options)
    splits = (split or SplitSettings()).split(table, encoder.origin.get("split"))
    summary = run(encoder, archive, table, splits, out, settings, progress, command)
    for name in ("pretraining.csv", "reconstruction.svg"):
        if folder is not None and (folder / name).is_file():
            shutil.copyfile(folder / name, Path(out) / name)
    write_report(out)
    return summary


def ablate(
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path,
    variants: Sequence[Variant],
    *,
    classes: Sequence[str] | None = None,
    settings: AblateSettings | None = None,
    split: SplitSettings | None = None,
    command: str = "ssl_ecg.ablate(...)",
    **options: Any,
) -> pd.DataFrame:
    """Pretrain many variants with many seeds, probe and finetune each, and write what differs.

    Args:
        archive: the archive, or its folder; the test patients of ``labels`` are held out of pretraining.
        labels: label table.
        out: folder for ``ablation.md``, ``summary.csv``, ``results.csv``, figures and the finished runs; a killed
            ablation continues there, and several processes may share it.
        variants: what to compare; the first one is the reference unless ``reference`` names another.
        classes: columns of the table; all by default.
        settings: all settings at once; otherwise give single ones by name.
        split: which records train, choose and test.
        command: recorded as how it was made.
        options: fields of ``ssl_ecg.comparison.AblateSettings``; an unknown one is a TypeError.

    Returns:
        The summary: columns task, arm, fraction, seeds, metric, mean, low, high, p_value.
    """
    from ssl_ecg.comparison import AblateSettings
    from ssl_ecg.comparison import ablate as run
    from ssl_ecg.report import draw_ablation
    from ssl_ecg.tasks import read_task

    archive = opened(archive)
    settings = settings_from(AblateSettings, settings, options)
    table, _ = read_task(settings.task, labels, archive, classes, settings.task_options)
    splits = (split or SplitSettings()).split(table)
    summary = run(variants, archive, table, splits, out, settings, command)
    draw_ablation(out)
    return summary
