"""How much a handful of labelled patients tells with a frozen encoder."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pandas as pd
import rich.table
from annotated_types import Ge, Gt, MinLen

from ssl_ecg.backbones.foreign import describe
from ssl_ecg.backbones.registry import BACKBONES
from ssl_ecg.comparison import check_unseen
from ssl_ecg.labels import read_labels
from ssl_ecg.runs import lock, whole_folder, write_csv
from ssl_ecg.settings import chosen
from ssl_ecg.tasks.few_shots import few_shots as measure
from ssl_ecg.tasks.few_shots import single_class, usable_classes
from ssl_ecg.training import extract_features
from ssl_ecg.verbs._given import ArchiveLike, TableLike, opened, opened_for
from ssl_ecg.verbs._learning import EncoderLike, LabelSettings, encoder_for, imply_network
from ssl_ecg.verbs.verb import console, verb

logger = logging.getLogger(__name__)


class VerbSettings(LabelSettings):
    """Which episodes are drawn."""

    shots: Annotated[tuple[Annotated[int, Gt(0)], ...], MinLen(1)] = (1, 5, 10)
    """labelled training patients of a class"""
    ways: Annotated[int, Ge(2)] | None = None
    """classes of an episode, drawn anew for each; null: all that have enough patients for the most shots"""
    episodes: Annotated[int, Gt(0)] = 200
    """draws of training patients"""
    replicates: Annotated[int, Ge(1)] = 1000
    """bootstrap draws of test patients for the intervals"""
    seed: Annotated[int, Ge(0)] = 0
    """of all draws"""
    backbone: chosen("backbone", BACKBONES, optional=True, describe=describe) = None  # type: ignore[valid-type]
    """the new network, where there is no encoder; that of pretrain by default"""
    seen_patients: Literal["refuse", "test"] = "refuse"
    """where the encoder has learned from test patients of the same id: refuse, or test on them, since they are other
    people"""


def show(table: pd.DataFrame, encoder: str, archive: str, labels: str, out: str | None = None) -> None:
    """Print the accuracies."""
    printed = rich.table.Table("method", "shots", "accuracy", "95 % interval", "chance")
    for row in table.itertuples(index=False):
        interval = f"{row.low:.3f} to {row.high:.3f}"
        printed.add_row(str(row.method), str(row.shots), f"{row.accuracy:.3f}", interval, f"{row.chance:.3f}")
    console.print(printed)
    if out is not None:
        console.print(f"the table lies in {out}")


@verb(VerbSettings, show, imply_network)
def few_shots(
    encoder: EncoderLike | None,
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path | None = None,
    *,
    settings: VerbSettings,
) -> pd.DataFrame:
    """Classify test records by a few labelled patients of each class, on frozen features.

    Args:
        encoder: the encoder, or its folder; none (None in Python): random weights of seed 0, what features must beat.
        archive: the archive, or its folder.
        labels: label table; records with exactly one of its classes count.
        out: folder for ``few_shots.csv``, if wanted.
        settings: all settings at once, in place of single ones by name.

    Returns:
        One row per method and number of shots, see ``ssl_ecg.tasks.few_shots``.
    """
    archive = opened(archive)
    encoder = encoder_for(archive, encoder, settings.backbone, seed=0)
    archive = opened_for(encoder, archive)
    table = read_labels(labels, archive, settings.classes)
    splits = settings.split.split(table, encoder.origin.get("split"))
    check_unseen(encoder, archive, table.rows[splits.test], settings.seen_patients)
    features = extract_features(encoder, archive, table.rows).astype(np.float64)
    of_one = single_class(table.targets)
    train, test = ((features[index], of_one[index], table.patient[index]) for index in (splits.train, splits.test))
    usable = usable_classes(train, test, max(settings.shots))
    if left_out := [name for number, name in enumerate(table.classes) if number not in usable]:
        logger.warning("left out, for too few patients that have no other class: %s", ", ".join(left_out))
    train, test = ((x, np.where(np.isin(y, usable), y, -1), who) for x, y, who in (train, test))
    ways = len(usable) if settings.ways is None else settings.ways
    found = pd.concat(
        [measure(train, test, k, ways, settings.episodes, settings.replicates, settings.seed) for k in settings.shots],
        ignore_index=True,
    )
    if out is not None:
        folder = Path(out)
        if other := [name for name in ("archive.json", "config.json", "metrics.json") if (folder / name).exists()]:
            raise ValueError(f"out={str(out)!r}: holds {other[0]} of another command; choose another folder")
        with lock(folder), whole_folder(folder, last="few_shots.csv") as part:
            write_csv(part / "few_shots.csv", found, float_format="%.6g")
    return found
