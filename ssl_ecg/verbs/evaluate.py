"""A finished model is scored on other data."""

from __future__ import annotations

import hashlib
import logging
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Ge

from ssl_ecg.runs import Run, folder_of, locked, read_metrics, sha256, write_json
from ssl_ecg.verbs._given import ArchiveLike, TableLike, opened_for
from ssl_ecg.verbs._learning import print_metrics
from ssl_ecg.verbs._testing import TestSettings, records_that_test
from ssl_ecg.verbs.results import Tested, tested
from ssl_ecg.verbs.verb import console, verb

logger = logging.getLogger(__name__)

_LAST = "evaluation.json"


class VerbSettings(TestSettings):
    """Which records test, and how they are grouped."""

    subgroups: tuple[str, ...] = ()
    """columns of the label table, or of the archive's manifest, for ``subgroups.csv``"""
    recalibrate: Literal["prior"] | Annotated[int, Ge(10)] | None = None
    """fit probabilities and decisions to how common findings are here: "prior", by the scores alone; or by the labels
    of so many records, which then do not test"""


def show(metrics: dict[str, float], model: str, archive: str, labels: str, out: str) -> None:
    """Print the metrics, and where the figures lie."""
    print_metrics(metrics)
    console.print(f"tables and figures lie in {out}")


@verb(VerbSettings, show)
@locked("out")
def evaluate(
    model: str | Path, archive: ArchiveLike, labels: TableLike, out: str | Path, settings: VerbSettings
) -> dict[str, float]:
    """Score a finetuned model on a second archive: labelled records test, nothing is tuned or chosen on them.

    Args:
        model: folder that ``finetune`` wrote; its task, windows and thresholds hold here as well.
        archive: the archive, or its folder, ingested with the settings that the model was trained with.
        labels: label table with the columns that the model was trained with; others are ignored, but for static inputs
            that the manifest does not know.
        out: folder for ``metrics.json``, ``predictions.csv``, the other tables of the task, figures, with
            ``recalibrate`` prevalences and thresholds of both sites (``recalibration.csv``), and
            ``evaluation.json``: which model was tested on what, and how.
        settings: all settings at once, in place of single ones by name.

    Returns:
        The task's metrics with patient-level bootstrap intervals.

    Raises:
        FileNotFoundError: no finetuned model, or no archive.
        ValueError: an archive that was prepared otherwise, patients that the model has learned from, a column that is
            missing, or no outcome that has both a positive and a negative record.
    """
    from ssl_ecg.evaluation.recalibration import shifted
    from ssl_ecg.tasks import load_model
    from ssl_ecg.tasks.static_inputs import static_identity, tell_unknown, with_columns, with_rhythm
    from ssl_ecg.training import predict_scores
    from ssl_ecg.verbs._recalibration import local_records, recalibrate

    classifier, out = load_model(model), Path(out)
    if (out / "config.json").exists():
        raise ValueError(f"out={str(out)!r}: a model or encoder lies there; choose another folder")
    archive = with_columns(opened_for(classifier.encoder, archive), labels, classifier.static)
    task = classifier.task
    table, index, seen = records_that_test(classifier, archive, labels, settings)
    tell_unknown(classifier.static, archive.manifest)
    archive = with_rhythm(archive, classifier.static, table.rows)
    local = np.empty(0, dtype=np.int64)
    if isinstance(settings.recalibrate, int):
        chosen, left = local_records(settings.recalibrate, table, index)
        local, index = index[chosen], index[left]
    test = tested(archive, labels, table, index, settings.subgroups)
    about = {"model": _model(folder_of(model)), **_data(test), **static_identity(classifier.static, archive, test.rows)}
    run = Run(out)
    if run.is_finished({"verb": "evaluate", "settings": settings.to_dict(), **about}, _LAST):
        logger.info("%s: this evaluation is finished already", out)
        return read_metrics(out)
    scores = predict_scores(classifier, archive, test.rows)
    further = {}
    if settings.recalibrate is not None:
        known = predict_scores(classifier, archive, table.rows[local]) if len(local) else scores
        given = classifier.encoder.origin.get("prevalence")
        task, shift, further["recalibration"] = recalibrate(
            settings.recalibrate, task, known, table.targets[local], given
        )
        scores = shifted(scores, shift).astype(np.float32)
    metrics = test.metrics(task, scores)
    told = {**about, "settings": settings.to_dict()}
    test.write(out, task, scores, metrics, further=further, about=told, model=classifier)
    how: dict[str, Any] = {"records": settings.records, "seen_patients": settings.seen_patients}
    how["records_of_seen_patients"] = int(seen.sum())
    write_json(out / _LAST, {**about, **how, "ssl_ecg": version("ssl_ecg")})
    return metrics


def _model(folder: Path) -> dict[str, Any]:
    """Name a finished model by its folder and by what its files hold; a path would tell of the machine."""
    files = ("model.safetensors", "head.safetensors", "config.json", "task.json")
    return {"folder": folder.resolve().name, "sha256": {name: sha256(folder / name) for name in files}}


def _data(test: Tested) -> dict[str, Any]:
    """Tell archive and labels from any others; ``archive.json`` holds the hashes of all parts of the archive."""
    archive, labels = test.archive, test.labels
    digest = hashlib.sha256(np.ascontiguousarray(labels.targets[test.index]).tobytes() + test.rows.tobytes())
    return {
        "archive": {
            "folder": archive.folder.resolve().name,
            "sources": sorted(map(str, archive.manifest["source"].iloc[test.rows].unique())),
            "records": len(archive),
            "sha256": sha256(archive.folder / "archive.json"),
        },
        "labels": {"sha256": digest.hexdigest(), "simulated": labels.simulated},
        "tested": {
            "records": len(test.index),
            "patients": len(np.unique(labels.patient[test.index])),
            "patients_unknown": int(np.count_nonzero(~archive.patient_known[test.rows])),
        },
    }
