"""Labels that a model doubts, for a person to look at."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from annotated_types import Ge

from ssl_ecg.archive import Archive
from ssl_ecg.backbones.foreign import describe
from ssl_ecg.backbones.registry import BACKBONES
from ssl_ecg.labels import read_labels
from ssl_ecg.runs import lock, whole_folder, write_csv
from ssl_ecg.settings import Settings, chosen
from ssl_ecg.tasks import create_task
from ssl_ecg.tasks.label_review import review_labels as review
from ssl_ecg.training import extract_features
from ssl_ecg.verbs._given import ArchiveLike, TableLike, opened, opened_for
from ssl_ecg.verbs._learning import EncoderLike, encoder_for, imply_network
from ssl_ecg.verbs.verb import console, verb

TABLE = "label_review.csv"


class VerbSettings(Settings):
    """Which labels are reviewed."""

    classes: tuple[str, ...] | None = None
    """columns of the label table; null: all"""
    folds: Annotated[int, Ge(3)] = 5
    """parts of the patients; each is judged by what was learned from the others"""
    pictures: Annotated[int, Ge(0)] = 20
    """ECGs of the worst doubts that are drawn on paper"""
    seed: Annotated[int, Ge(0)] = 0
    """of the parts"""
    backbone: chosen("backbone", BACKBONES, optional=True, describe=describe) = None  # type: ignore[valid-type]
    """the new network, where there is no encoder; that of pretrain by default"""


def show(table: pd.DataFrame, encoder: str, archive: str, labels: str, out: str | None = None) -> None:
    """Print how many are doubted, and the worst."""
    records, sure = table["record_id"].nunique(), int(table["confident"].sum())
    console.print(f"{len(table)} labels of {records} records are doubted, {sure} of them confidently")
    console.print(table.head(10).to_string(index=False))
    if out is not None:
        console.print(f"the table and the ECGs lie in {out}")


@verb(VerbSettings, show, imply_network)
def review_labels(
    encoder: EncoderLike | None,
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path | None = None,
    *,
    settings: VerbSettings,
) -> pd.DataFrame:
    """List the labels that linear probes on other patients doubt, worst first; nothing is changed, look at them.

    Args:
        encoder: the encoder, or its folder; none (None in Python): random weights of seed 0.
        archive: the archive, or its folder.
        labels: label table; every record of it is reviewed.
        out: folder for ``label_review.csv`` and the ECGs of the worst, if wanted.
        settings: all settings at once, in place of single ones by name.

    Returns:
        One row per doubted label: ``record_id``, ``class``, ``label``, ``probability`` of the class, ``doubt``,
        whether it is ``confident`` (``ssl_ecg.tasks.label_review``) and ``picture``, the file of its ECG, blank where
        it was not drawn.
    """
    archive = opened(archive)
    encoder = encoder_for(archive, encoder, settings.backbone, seed=0)
    archive = opened_for(encoder, archive)
    table = read_labels(labels, archive, settings.classes)
    features = extract_features(encoder, archive, table.rows)
    task = create_task("arrhythmia", table.classes)
    found = review(task, features, table.targets, table.patient, settings.folds, settings.seed)
    row, column = np.nonzero(found.doubted)
    worst = np.argsort(-found.doubt[row, column], kind="stable")
    row, column = row[worst], column[worst]
    result = pd.DataFrame(
        {
            "record_id": archive.manifest["record_id"].iloc[table.rows[row]].to_numpy(),
            "class": np.array(table.classes, object)[column],
            "label": table.targets[row, column].astype(int),
            "probability": found.probability[row, column],
            "doubt": found.doubt[row, column],
            "confident": found.confident[row, column],
            "picture": "",
        }
    )
    if out is not None:
        _write(Path(out), result, archive, table.rows[row], settings.pictures)
    return result


def _write(folder: Path, table: pd.DataFrame, archive: Archive, rows: np.ndarray, pictures: int) -> None:
    """Write the table, and the ECGs of its first labels: one picture a record, named by its place, not by its id."""
    if other := [name for name in ("archive.json", "config.json", "metrics.json") if (folder / name).exists()]:
        raise ValueError(f"out={str(folder)!r}: holds {other[0]} of another command; choose another folder")
    first: dict[int, str] = {}
    for row in rows.tolist():
        if row not in first and len(first) < pictures:
            first[row] = f"doubt_{len(first) + 1:03d}.svg"
    table["picture"] = [first.get(row, "") for row in rows.tolist()]
    earlier = [path.name for path in folder.glob("doubt_*.svg")]
    with lock(folder), whole_folder(folder, last=TABLE, clear=earlier) as part:
        for row, name in first.items():
            _draw(part / name, archive, row, table.iloc[np.flatnonzero(rows == row)])
        write_csv(part / TABLE, table, float_format="%.6g")


def _draw(path: Path, archive: Archive, row: int, doubts: pd.DataFrame) -> None:
    from ssl_ecg.explain import ecg_figure
    from ssl_ecg.explain.style import save_figure

    signals: Any = archive.read(np.array([row]))
    count, there = int(signals.recorded[0]), signals.leads[0]
    names = [name for name, known in zip(archive.settings.leads, there) if known]
    said = ", ".join(f"{name} = {label} (probability {p:.2f})" for name, label, p in doubts.iloc[:, 1:4].to_numpy())
    calibrated = bool(archive.manifest["calibrated"].iloc[row])
    figure = ecg_figure(signals.signal[0][there, :count], names, archive.sampling_rate, None, calibrated, said)
    save_figure(figure, path)
