"""Does pretraining pay here?"""

from __future__ import annotations

import math
import shutil
from pathlib import Path

import pandas as pd
from rich.table import Column, Table

from ssl_ecg.backbones import Encoder, load_encoder
from ssl_ecg.comparison import CompareSettings
from ssl_ecg.comparison import compare as run
from ssl_ecg.tasks import read_task
from ssl_ecg.verbs._given import ArchiveLike, TableLike, opened
from ssl_ecg.verbs._learning import EncoderLike, LabelSettings
from ssl_ecg.verbs.verb import console, verb


class VerbSettings(LabelSettings, CompareSettings):
    """What is compared, and on whom."""


def show(summary: pd.DataFrame, encoder: str, archive: str, labels: str, out: str) -> None:
    """Print the arms, and where the report lies."""
    from ssl_ecg.evaluation import described

    metric = summary["metric"].iloc[0]
    label = described(Path(out) / "comparison.json")[metric].label
    table = Table(Column("arm", no_wrap=True), "labels", label, "95 % interval")
    for row in summary[summary["metric"] == metric].to_dict("records"):
        sign = "+" if " - " in row["arm"] else ""
        mean, low, high = (f"{row[name]:{sign}.3f}" for name in ("mean", "low", "high"))
        interval = "\N{EN DASH}" if math.isnan(row["low"]) else f"{low} to {high}"
        table.add_row(row["arm"], f"{100 * row['fraction']:g} %", mean, interval)
    console.print(table)
    console.print(f"the report lies in {Path(out) / 'report.html'}")


@verb(VerbSettings, show)
def compare(
    encoder: EncoderLike,
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path,
    settings: VerbSettings,
    progress: bool = True,
    command: str = "ssl_ecg.compare(...)",
) -> pd.DataFrame:
    """Compare pretraining with supervised baselines over label fractions and seeds, and write a report.

    Args:
        encoder: the pretrained encoder, or its folder.
        archive: the archive, or its folder.
        labels: label table.
        out: folder for ``report.html``, ``summary.csv``, ``results.csv``, figures and the finished runs; a killed
            comparison continues there.
        settings: all settings at once, in place of single ones by name.
        progress: show a progress bar.
        command: recorded as how it was made.

    Returns:
        The summary: columns task, arm, fraction, seeds, metric, mean, low, high.
    """
    from ssl_ecg.report import write_report

    folder = None if isinstance(encoder, Encoder) else Path(encoder)
    encoder, archive = load_encoder(encoder) if not isinstance(encoder, Encoder) else encoder, opened(archive)
    table, _ = read_task(settings.task.name, labels, archive, settings.classes, settings.task.options)
    splits = settings.split.split(table, encoder.origin.get("split"))
    summary = run(encoder, archive, table, splits, out, settings.part(CompareSettings), progress, command)
    for name in ("pretraining.csv", "reconstruction.svg"):
        if folder is not None and (folder / name).is_file():
            shutil.copyfile(folder / name, Path(out) / name)
    write_report(out)
    return summary
