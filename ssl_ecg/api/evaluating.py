"""The verb that scores a finished model on other data."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ssl_ecg.api.results import tested
from ssl_ecg.api.shared import ArchiveLike, TableLike, opened
from ssl_ecg.archive.splits import lacking

logger = logging.getLogger(__name__)

_SEEN = (
    "leave their records out of the label table. Patients are recognised by their id alone: where the archive is of "
    "another site, whose ids name other people, set allow_seen_patients=true"
)


def evaluate(
    model: str | Path,
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path,
    *,
    subgroups: Sequence[str] = (),
    allow_seen_patients: bool = False,
) -> dict[str, float]:
    """Score a finetuned model on a second archive: every labelled record tests, nothing is tuned or chosen.

    Args:
        model: folder that ``finetune`` wrote; its task, windows and thresholds hold here as well.
        archive: the archive, or its folder, ingested with the settings that the model was trained with.
        labels: label table with the columns that the model was trained with; others are ignored.
        out: folder for ``metrics.json``, ``predictions.csv``, the other tables of the task, and figures.
        subgroups: columns of the label table, or of the archive's manifest, for ``subgroups.csv``.
        allow_seen_patients: test on patients whose id is among those that the model has learned from.

    Returns:
        The task's metrics with patient-level bootstrap intervals.

    Raises:
        FileNotFoundError: no finetuned model, or no archive.
        ValueError: an archive that was prepared otherwise, patients that the model has learned from, a column that is
            missing, or no outcome that has both a positive and a negative record.
    """
    from ssl_ecg.comparison import check_unseen
    from ssl_ecg.tasks import load_classifier, read_task
    from ssl_ecg.training import predict_scores

    classifier, archive, out = load_classifier(model), opened(archive), Path(out)
    if out.resolve() == Path(model).resolve():
        raise ValueError(f"out={str(out)!r}: the model lies there; its own results would be replaced")
    classifier.encoder.check(archive.settings)
    task = classifier.task
    table, _ = read_task(task.name, labels, archive, task.classes, task.options)
    test = tested(archive, labels, table, np.arange(len(table)), subgroups)
    for line in lacking(table, "the label table", test.index):
        logger.warning(line)
    check_unseen(classifier.encoder, archive, test.rows, allow_seen_patients, _SEEN)
    scores = predict_scores(classifier, archive, test.rows)
    metrics = test.metrics(task, scores)
    test.write(out, task, scores, metrics)
    return metrics
