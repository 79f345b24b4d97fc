"""A finished model scores new ECGs: files of any format, a folder of them, or an archive; no labels."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from ssl_ecg.archive import Archive
from ssl_ecg.runs import lock, whole_folder, write_atomically, write_csv
from ssl_ecg.verbs._records import Batch, RecordSettings, batches, computed, refuse_other
from ssl_ecg.verbs.verb import console, verb

if TYPE_CHECKING:
    from ssl_ecg.tasks import Classifier


def show(table: pd.DataFrame, model: str, source: str, out: str | None = None) -> None:
    """Print how many were scored, and why others were not."""
    abstained = table["abstained"].fillna("")
    console.print(f"{(abstained == '').sum()} records scored, {(abstained != '').sum()} not")
    for kind, count in Counter(reason.split(":")[0] for reason in abstained if reason).most_common(10):
        console.print(f"  {count} {kind}")
    console.print(table.head(10).to_string(index=False) if out is None else f"the predictions lie in {out}")


@verb(RecordSettings, show)
def predict(
    model: str | Path | Classifier,
    source: str | Path | Archive,
    out: str | Path | None = None,
    *,
    settings: RecordSettings,
) -> pd.DataFrame:
    """Score new ECGs with a finished model; what cannot be scored is named with the reason.

    Args:
        model: folder that ``finetune`` or ``probe`` wrote, or the model itself.
        source: a file, a folder of files in any format that ``ingest`` reads, or an archive.
        out: folder for ``predictions.csv``, ``predictions.json`` and ``report.html``, if wanted.
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
    parts = [_scored(classifier, batch) for batch in batches(classifier.encoder, source, settings)]
    table = pd.concat(parts, ignore_index=True)
    if out is not None:
        about = {"task": classifier.task.name, "classes": classifier.task.classes, "settings": settings.to_dict()}
        _write(Path(out), table, about)
    return table


def _scored(model: Classifier, batch: Batch) -> pd.DataFrame:
    found = computed(model, model.scores, batch.signals)
    scores = np.full((len(batch.record_ids), found.shape[1]), np.nan, dtype=np.float32)
    scores[batch.usable] = found
    table = model.task.predictions(scores)
    table.insert(0, "abstained", batch.reasons)
    table.insert(0, "record_id", batch.record_ids)
    return table


def _write(out: Path, table: pd.DataFrame, about: dict[str, Any]) -> None:
    from ssl_ecg.report import write_prediction_page

    refuse_other(out)
    plain = table.astype(object).where(table.notna(), None)  # JSON has no NaN
    rows = json.dumps(plain.to_dict("records"), indent=1, ensure_ascii=False)
    with lock(out), whole_folder(out, last="predictions.csv") as part:
        write_atomically(part / "predictions.json", rows + "\n")
        write_csv(part / "predictions.csv", table, float_format="%.6g")
        write_prediction_page(part, table, about)
