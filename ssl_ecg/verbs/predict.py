"""A finished model scores new ECGs: files of any format, a folder of them, or an archive; no labels."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import numpy as np
import pandas as pd
from annotated_types import Gt

from ssl_ecg.archive import Archive
from ssl_ecg.records import QualityLimits
from ssl_ecg.runs import lock, whole_folder, write_atomically, write_csv
from ssl_ecg.settings import Settings
from ssl_ecg.signals import Signals
from ssl_ecg.verbs.verb import console, verb

if TYPE_CHECKING:
    from ssl_ecg.archive.prepared import Prepared
    from ssl_ecg.tasks import Classifier

BATCH = 64
UNKNOWN = "unknown format"


class VerbSettings(Settings):
    """Which records are scored, and how it is done."""

    quality: QualityLimits = QualityLimits()
    """which recordings are no ECGs that can be scored"""
    partial_leads: bool = False
    """score records that lack some of the model's leads"""
    workers: Annotated[int, Gt(0)] | None = None
    """processes that read; null: one per core"""


def show(table: pd.DataFrame, model: str, source: str, out: str | None = None) -> None:
    """Print how many were scored, and why others were not."""
    abstained = table["abstained"].fillna("")
    console.print(f"{(abstained == '').sum()} records scored, {(abstained != '').sum()} not")
    for kind, count in Counter(reason.split(":")[0] for reason in abstained if reason).most_common(10):
        console.print(f"  {count} {kind}")
    console.print(table.head(10).to_string(index=False) if out is None else f"the predictions lie in {out}")


@verb(VerbSettings, show)
def predict(
    model: str | Path | Classifier,
    source: str | Path | Archive,
    out: str | Path | None = None,
    *,
    settings: VerbSettings,
) -> pd.DataFrame:
    """Score new ECGs with a finished model; what cannot be scored is named with the reason.

    Args:
        model: folder that ``finetune`` or ``probe`` wrote, or the model itself.
        source: a file, a folder of files in any format that ``ingest`` reads, or an archive.
        out: folder for ``predictions.csv`` and ``predictions.json``, if wanted.
        settings: all settings at once, in place of single ones by name.

    Returns:
        One row per record: ``record_id``, ``abstained`` (the reason, blank where it was scored) and the task's columns:
        for each class ``NAME_score`` and, where the model decides, ``NAME_decision``; or survival and risks. They are
        those that ``ingest`` and ``evaluate`` of the same files give. Files of unknown format in a folder are left out.

    Raises:
        FileNotFoundError: no model, no such source, or no recording in it.
        ValueError: an archive that was prepared otherwise, or ``out`` holds something else.
    """
    from ssl_ecg.tasks import load_model

    classifier = load_model(model) if isinstance(model, str | Path) else model
    if isinstance(source, Archive) or (Path(source) / "archive.json").is_file():
        table = _of_archive(classifier, source)
    else:
        table = _of_files(classifier, Path(source), settings)
    if out is not None:
        _write(Path(out), table)
    return table


def _of_archive(model: Classifier, archive: Archive | str | Path) -> pd.DataFrame:
    from ssl_ecg.training import predict_scores
    from ssl_ecg.verbs._given import opened

    archive = opened(archive)
    scores = predict_scores(model, archive, np.arange(len(archive)))
    return _table(model, archive.manifest["record_id"], [""] * len(archive), scores)


def _of_files(model: Classifier, source: Path, settings: VerbSettings) -> pd.DataFrame:
    from ssl_ecg.archive.prepared import prepare_files

    signal, workers = model.encoder.signal, settings.workers or os.cpu_count() or 1
    found = prepare_files(source, signal, settings.quality, settings.partial_leads, workers)
    parts = [_scored(model, batch) for batch in _batches(found)]
    table = pd.concat(parts, ignore_index=True) if parts else _table(model, [], [], np.zeros((0, 1)))
    if source.is_dir():
        table = table[~table["abstained"].str.startswith(UNKNOWN)]
    return table.reset_index(drop=True)


def _batches(found: Iterable[Prepared]) -> Iterator[list[Prepared]]:
    batch: list[Prepared] = []
    for prepared in found:
        batch.append(prepared)
        if len(batch) == BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _scored(model: Classifier, batch: list[Prepared]) -> pd.DataFrame:
    usable = [prepared.signals for prepared in batch if prepared.signals is not None]
    there = np.array([prepared.signals is not None for prepared in batch])
    signals = Signals(*map(np.concatenate, zip(*usable))) if usable else _nothing(model)
    found = model.predict(signals.signal, signals.recorded, signals.leads)
    scores = np.full((len(batch), found.shape[1]), np.nan, dtype=np.float32)
    scores[there] = found
    return _table(model, [p.record_id for p in batch], [p.reason for p in batch], scores)


def _nothing(model: Classifier) -> Signals:
    """Return a batch of no record, which tells how many scores there are."""
    shape = (0, len(model.encoder.leads), model.encoder.samples)
    return Signals(np.zeros(shape, np.float32), np.zeros(0, np.int64), np.zeros(shape[:2], bool))


def _table(model: Classifier, record_ids: Iterable[str], reasons: list[str], scores: np.ndarray) -> pd.DataFrame:
    table = model.task.predictions(scores)
    table.insert(0, "abstained", reasons)
    table.insert(0, "record_id", list(record_ids))
    return table


def _write(out: Path, table: pd.DataFrame) -> None:
    if other := [name for name in ("archive.json", "config.json", "metrics.json") if (out / name).exists()]:
        raise ValueError(f"out={str(out)!r}: holds {other[0]} of another command; choose another folder")
    plain = table.astype(object).where(table.notna(), None)  # JSON has no NaN
    rows = json.dumps(plain.to_dict("records"), indent=1, ensure_ascii=False)
    with lock(out), whole_folder(out, last="predictions.csv") as part:
        write_atomically(part / "predictions.json", rows + "\n")
        write_csv(part / "predictions.csv", table, float_format="%.6g")
