"""The folder of a model that a verb fitted: written whole or not at all, found again by the same call."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ssl_ecg.backbones import Encoder
from ssl_ecg.labels.splits import Splits
from ssl_ecg.runs import Run, read_metrics, whole_folder, write_atomically
from ssl_ecg.tasks import Classifier, load_model, save_classifier
from ssl_ecg.training.card import classifier_card
from ssl_ecg.training.frozen import Features, fit_typicality
from ssl_ecg.verbs._learning import Fitted, learned
from ssl_ecg.verbs.results import Tested

LAST = "config.json"

logger = logging.getLogger(__name__)


def found(run: Run, about: Mapping[str, Any], encoder: Encoder) -> Fitted | None:
    """Return the model that the same call left in a folder, None where it is still to be made.

    Raises:
        ValueError: the folder holds something else.
    """
    if not run.is_finished(about, LAST):
        return None
    logger.info("%s: this model is finished already", run.folder)
    run.clear_checkpoints()  # of a process that was killed right after it had written the model
    return Fitted(read_metrics(run.folder), load_model(run.folder, encoder.backbone if encoder.foreign else None))


def write_model(
    out: Path,
    model: Classifier,
    test: Tested,
    scores: np.ndarray,
    metrics: Mapping[str, float],
    splits: Splits,
    settings: Mapping[str, Any],
    start: str,
    further: Mapping[str, pd.DataFrame],
    curve: pd.DataFrame | None = None,
    verb: str = "finetune",
    frozen: Features | None = None,
) -> None:
    """Write a model with its metrics, tables, figures and card.

    Args:
        out: folder.
        model: with decisions tuned on validation.
        test: records that test.
        scores: of them.
        metrics: of them.
        splits: of the label table.
        settings: how the model was made, for the card.
        start: what it began with, for the card.
        further: tables beside those of the task, by name.
        curve: one row per evaluation, for ``curve.csv``.
        verb: that made it.
        frozen: what the head sees of archive rows; None: it is computed.
    """
    card = partial(classifier_card, model, settings, metrics, test.labels, splits, start)
    rows = test.labels.rows
    # Of an ensemble of folds, records that validated one member trained others.
    trained = np.setdiff1d(splits.train, splits.validation)
    fit_typicality(model, test.archive, rows[trained], rows[splits.validation], frozen)
    with whole_folder(out, last=LAST) as part:
        save_classifier(model, part, card())
        tables = {**further, **({} if curve is None else {"curve": curve})}
        about = {"verb": verb, "start": start, "settings": settings}
        figures = test.write(part, model.task, scores, metrics, learned(splits), tables, about, model)
        write_atomically(part / "README.md", card(figures))
