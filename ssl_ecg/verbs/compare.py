"""Does pretraining pay here?"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path

import pandas as pd
from rich.table import Column, Table

from ssl_ecg.backbones import Encoder, load_encoder
from ssl_ecg.comparison import CompareSettings, rounds_of
from ssl_ecg.comparison import compare as run
from ssl_ecg.tasks import read_task
from ssl_ecg.training.batches import count_incomplete
from ssl_ecg.verbs._given import ArchiveLike, TableLike, opened
from ssl_ecg.verbs._learning import EncoderLike, LabelSettings, with_static
from ssl_ecg.verbs.verb import console, verb


class VerbSettings(LabelSettings, CompareSettings):
    """What is compared, and on whom."""


def show(summary: pd.DataFrame, encoder: str, archive: str, labels: str, out: str) -> None:
    """Print what was found, in words and as one table of arms and label fractions, and where the report lies."""
    from ssl_ecg.evaluation import described
    from ssl_ecg.report import arm_label, findings, headline, is_difference, percent, sentences

    metric = described(Path(out) / "comparison.json")[summary["metric"].iloc[0]]
    found = findings(summary, metric)
    arms = summary[~is_difference(summary["arm"]) & (summary["metric"] == metric.name)]
    shares = sorted(arms["fraction"].unique())
    table = Table(metric.label, *(Column(f"{percent(share)} of labels", justify="right") for share in shares))
    for arm, rows in arms.groupby("arm", sort=False):
        means = rows.set_index("fraction")["mean"]
        table.add_row(arm_label(str(arm)), *(f"{means[share]:.3f}" if share in means else "" for share in shares))
    console.print(headline(found))
    console.print(table)
    for sentence in sentences(found, metric):
        console.print(f"- {sentence}", highlight=False)
    console.print(f"the report lies in {Path(out) / 'report.html'}")


def _encoders(given: EncoderLike | Sequence[Encoder]) -> tuple[list[Encoder], Path | None]:
    """Return encoders, and the folder of the only one."""
    if isinstance(given, Encoder):
        return [given], None
    if not isinstance(given, str | Path):
        return list(given), None
    inner = sorted(path.parent for path in Path(given).glob("*/config.json"))
    if inner and not (Path(given) / "config.json").exists():
        return [load_encoder(path) for path in inner], None
    return [load_encoder(given)], Path(given)


@verb(VerbSettings, show)
def compare(
    encoder: EncoderLike | Sequence[Encoder],
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path,
    settings: VerbSettings,
    progress: bool = True,
    command: str = "ssl_ecg.compare(...)",
) -> pd.DataFrame:
    """Compare pretraining with supervised baselines over label fractions and seeds, and write a report.

    Args:
        encoder: the pretrained encoder, or its folder; or several, or a folder of their folders: pretrainings that
            differ in their seed stand behind the draws of labels in turn, and where they were held out by different
            splits, each of these tests once and metrics are averaged over them, whatever ``split`` says.
        archive: the archive, or its folder.
        labels: label table.
        out: folder for ``report.html``, ``summary.csv``, ``results.csv``, figures and the finished runs; a killed
            comparison continues there.
        settings: all settings at once, in place of single ones by name.
        progress: show a progress bar.
        command: recorded as how it was made.

    Returns:
        The summary: columns task, arm, fraction, seeds, metric, mean, low, high, positives,
            negatives, p_value, detectable (docs/evaluation.md).
    """
    from ssl_ecg.report import write_report

    encoders, folder = _encoders(encoder)
    archive = opened(archive)
    named, static = settings.classes, settings.static
    table, task = read_task(settings.task.name, labels, archive, named, settings.task.options, static)
    archive = with_static(archive, labels, table, task, static, named is None)
    count_incomplete(archive, table.rows)
    rounds = rounds_of(encoders, table, settings.split)
    summary = run(rounds, archive, table, out, settings.part(CompareSettings), progress, command)
    for name in ("pretraining.csv", "reconstruction.svg"):
        if folder is not None and (folder / name).is_file():
            shutil.copyfile(folder / name, Path(out) / name)
    if isinstance(labels, str | Path) and (flow := Path(labels).with_name(f"{Path(labels).stem}_flow.svg")).is_file():
        shutil.copyfile(flow, Path(out) / "cohort.svg")
    write_report(out)
    return summary
