"""An encoder and labels become a model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd

from ssl_ecg.comparison import remember
from ssl_ecg.comparison.arms import random_encoder
from ssl_ecg.comparison.blend import with_probe
from ssl_ecg.runs import Run, locked
from ssl_ecg.settings import recipe
from ssl_ecg.tasks.static_inputs import static_identity
from ssl_ecg.training import FinetuneSettings, predict_scores
from ssl_ecg.training import finetune as train_model
from ssl_ecg.training.loggers import finish, make_loggers
from ssl_ecg.training.pretrain_settings import LoggerName
from ssl_ecg.verbs._clinical import read_clinical
from ssl_ecg.verbs._folder import identity
from ssl_ecg.verbs._given import ArchiveLike, TableLike, opened, opened_for
from ssl_ecg.verbs._learning import (
    EncoderLike,
    Fitted,
    LearnSettings,
    calibrated,
    encoder_for,
    imply_network,
    named,
    no_encoder,
    print_metrics,
    prior_of,
    read_labels,
    seen_metrics,
)
from ssl_ecg.verbs._model import found, write_model
from ssl_ecg.verbs.verb import console, verb


class VerbSettings(LearnSettings):
    """What is learned, and how."""

    training: recipe("training", FinetuneSettings) = "pretrained"  # type: ignore[valid-type]
    """how; without an encoder the recipe scratch is where it starts from"""
    scratch: bool = False
    """random weights in the encoder's network: the supervised baseline; add training=scratch"""
    blend: bool = False
    """keep, as one model, the mean of the network and of the linear probe on the encoder that it started from; its
    weight, 0, .5 or 1, is chosen on validation"""
    loggers: tuple[LoggerName, ...] = ()
    """where to log every evaluation beside ``curve.csv``, which is always written: into the folder OUT.logs"""


def imply(options: dict[str, Any], encoder: Any = "", *_: Any) -> dict[str, Any]:
    """Choose network and training of random weights where there is no encoder and nothing else is chosen."""
    if not no_encoder(encoder):
        return options
    return {**imply_network(options, encoder), "training": named(options.get("training"), "scratch")}


def show(finetuned: Fitted, encoder: str, archive: str, labels: str, out: str) -> None:
    """Print the metrics, and where the model lies."""
    print_metrics(finetuned.metrics)
    console.print(f"the model lies in {out}")


@verb(VerbSettings, show, imply)
@locked("out")
def finetune(
    encoder: EncoderLike | None,
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path,
    settings: VerbSettings,
    progress: bool = True,
) -> Fitted:
    """Train an encoder and a head with labels; the best evaluation is chosen on validation, test is scored once.

    Args:
        encoder: the encoder, or its folder; none (None in Python): a new network, the supervised baseline.
        archive: the archive, or its folder.
        labels: label table.
        out: folder of the model (``ssl_ecg.load_model`` and ``ssl_ecg.load_encoder`` read it), with ``metrics.json``,
            ``predictions.csv`` (one row per test record), other tables of the task, figures, ``curve.csv`` and a model
            card. The task that it keeps has its decisions tuned on validation. A killed run goes on from its last
            evaluation; the same call on a finished model returns it.
        settings: all settings at once, in place of single ones by name.
        progress: show a progress bar.

    Returns:
        Test metrics with patient-level bootstrap intervals and the chosen step, and the model.
    """
    training = settings.training
    if isinstance(encoder, str | Path) and Path(out).resolve() == Path(encoder).resolve():
        raise ValueError(f"out={str(out)!r}: the encoder lies there, and would be replaced; choose another folder")
    archive, out, new = opened(archive), Path(out), no_encoder(encoder)
    encoder = encoder_for(archive, encoder, settings.backbone, training.seed)
    archive = opened_for(encoder, archive)
    if settings.blend and (new or settings.scratch or encoder.foreign):
        raise ValueError("blend=True: needs a pretrained encoder, of a registered backbone; leave it out")
    if settings.blend and settings.temperature is not None:
        raise ValueError("blend=True, temperature: a blend's probabilities are calibrated on validation; leave one out")
    if settings.blend and training.static:
        raise ValueError(f"blend=True, static={list(training.static)}: a blend has no static inputs; leave one out")
    # A new network may begin with weights from elsewhere.
    starting = [name for name in getattr(encoder.backbone, "starting", ()) if new and encoder.options.get(name)]
    task, splits, test = read_labels(encoder, archive, labels, settings, training.static)
    archive = test.archive
    seen = seen_metrics(encoder, test, settings.seen_patients)
    clinical = read_clinical(settings.clinical_score, settings.covariates, labels, task, splits, test)
    table, run = test.labels, Run(out)
    about = identity("finetune", encoder, archive, table, splits.parts, settings)
    about |= static_identity(training.static, archive, table.rows)
    if (earlier := found(run, about, encoder)) is not None:
        return earlier
    if settings.scratch:
        encoder = random_encoder(encoder, training.seed)
    train, validation = ((table.rows[index], table.targets[index]) for index in (splits.train, splits.validation))
    loggers = make_loggers(settings.loggers, out, about["settings"])
    probed = (training.head == "probe" or settings.blend) and not settings.scratch
    prior = prior_of(task, encoder, settings) if probed else None
    finished = train_model(
        encoder, task, archive, train, validation, training, progress, run, loggers=loggers, prior=prior
    )
    finish(loggers)
    model, best = finished.model, finished.best
    if settings.blend:
        model, chosen = with_probe(model, encoder, archive, train, validation, prior)
        best = {**best, **chosen}
    remember(model, archive, table, splits)
    validated, scores = (predict_scores(model, archive, rows) for rows in (validation[0], test.rows))
    validated, scores, told = calibrated(model, settings.temperature, test, splits, validated, scores)
    task = model.task = task.tuned(validation[1], validated)
    metrics = {**test.metrics(task, scores), **best}
    added, further = ({}, {}) if clinical is None else clinical.combine(task, validated, scores)
    metrics |= added | seen
    further = {**told, **further}
    random = settings.scratch or (new and not starting)
    start = "from random weights" if random else "from a pretrained encoder"
    curve = pd.DataFrame(finished.curve)
    write_model(out, model, test, scores, metrics, splits, training.to_dict(), start, further, curve)
    run.clear_checkpoints()
    return Fitted(metrics, model)
