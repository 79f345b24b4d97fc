"""A finished model scores new ECGs: files of any format, a folder of them, or an archive; no labels."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import pandas as pd
from annotated_types import Ge, Lt

from ssl_ecg.archive import Archive
from ssl_ecg.runs import lock, whole_folder, write_atomically, write_csv
from ssl_ecg.verbs._records import Batch, RecordSettings, batches, computed, inputs_of, refuse_other
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


class VerbSettings(RecordSettings):
    """Which records are taken and scored, and how files are read."""

    atypical: Annotated[float, Ge(0), Lt(1)] = 0.01
    """abstain from a record where no more than this share of the records that chose the model lie as far from those
    that it learned from; 0: from none"""


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
        model: folder that ``finetune`` or ``probe`` wrote, or the model itself; or "synthetic", the model that ships,
            for which no label was needed: its scores rank records by what simulated hearts show, and decide nothing.
        source: a file, a folder of files in any format that ``ingest`` reads, or an archive.
        out: folder for ``predictions.csv``, ``predictions.json`` and ``report.html``, if wanted.
        settings: all settings at once, in place of single ones by name.

    Returns:
        One row per record: ``record_id``, ``abstained`` (the reason, blank where it was scored), where the model
        knows it ``typicality`` (the share of validation records that are no more usual, see
        ``ssl_ecg.tasks.typicality``), and the task's columns:
        for each class ``NAME_score``, of an ensemble ``NAME_spread`` (the standard deviation of its members' scores)
        and, where the model decides, ``NAME_decision``; or survival and risks. They are those that ``ingest`` and
        ``evaluate`` of the same files give. Static inputs are those of the files' headers, or of the archive's
        manifest; the others are unknown. Files of unknown format in a folder are left out.

    Raises:
        FileNotFoundError: no model, no such source, or no recording in it.
        ValueError: an archive that was prepared otherwise, or ``out`` holds something else.
    """
    from ssl_ecg.tasks import load_model
    from ssl_ecg.tasks.static_inputs import tell_unknown

    classifier = load_model(model) if isinstance(model, str | Path) else model
    parts, told = [], []
    for batch in batches(classifier.encoder, source, settings):
        parts.append(_scored(classifier, batch, settings.atypical))
        told.append(batch.described.filter(items=classifier.static))
    tell_unknown(classifier.static, pd.concat(told))
    table = pd.concat(parts, ignore_index=True)
    if out is not None:
        about = {"task": classifier.task.name, "classes": classifier.task.classes, "settings": settings.to_dict()}
        _write(Path(out), table, about)
    return table


def _scored(model: Classifier, batch: Batch, atypical: float) -> pd.DataFrame:
    from ssl_ecg.tasks.ensemble import EnsembleHead

    found = computed(model, model.judged, inputs_of(model, batch.signals, batch.described))
    typical = np.full(len(batch.record_ids), np.nan, dtype=np.float32)
    count = found.shape[1] // 2
    scores, spread = (np.full((len(batch.record_ids), count), np.nan, dtype=np.float32) for _ in range(2))
    scores[batch.usable], typical[batch.usable], spread[batch.usable] = (
        found[:, :count],
        found[:, count],
        found[:, count + 1 :],
    )
    strange = typical <= atypical
    scores[strange] = np.nan
    table = model.task.predictions(scores)
    if isinstance(model.head, EnsembleHead) and model.task.of_labels:
        for name, column in zip(model.task.classes, spread.T):
            table.insert(table.columns.tolist().index(f"{name}_score") + 1, f"{name}_spread", column)
    reason = f"unlike what the model learned from: typicality at most {atypical:g}"
    if model.typicality is not None:
        table.insert(0, "typicality", typical)
    table.insert(0, "abstained", np.where(strange, reason, batch.reasons))
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
