"""A frozen encoder and labels become linear-probe metrics."""

from __future__ import annotations

import copy
from pathlib import Path

from ssl_ecg.comparison import remember
from ssl_ecg.comparison.arms import FeatureCache, run_probe
from ssl_ecg.runs import Run, locked
from ssl_ecg.tasks import Classifier
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
    print_metrics,
    prior_of,
    read_labels,
    seen_metrics,
)
from ssl_ecg.verbs._model import found, write_model
from ssl_ecg.verbs.verb import console, verb


def show(probed: Fitted, encoder: str, archive: str, labels: str, out: str | None = None) -> None:
    """Print the metrics."""
    print_metrics(probed.metrics)
    if out is not None:
        console.print(f"tables and figures lie in {out}")


@verb(LearnSettings, show, imply_network)
@locked("out")
def probe(
    encoder: EncoderLike | None,
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path | None = None,
    *,
    settings: LearnSettings,
) -> Fitted:
    """Fit a linear probe on frozen features; regularisation is chosen on validation, test is scored once.

    Args:
        encoder: the encoder, or its folder; none (None in Python): random weights of seed 0, what features must beat.
        archive: the archive, or its folder.
        labels: label table.
        out: folder of the model (``ssl_ecg.load_model`` reads it), if wanted, with ``metrics.json``,
            ``predictions.csv``, the other tables of the task, figures and a card; the same call on a finished one
            returns it.
        settings: all settings at once, in place of single ones by name.

    Returns:
        Test metrics with patient-level bootstrap intervals, and the model.
    """
    if settings.subgroups and out is None:
        raise ValueError(f"subgroups={list(settings.subgroups)}, out=None: there is no table; name a folder for it")
    archive = opened(archive)
    encoder = encoder_for(archive, encoder, settings.backbone, seed=0)
    archive = opened_for(encoder, archive)
    task, splits, test = read_labels(encoder, archive, labels, settings)
    seen = seen_metrics(encoder, test, settings.seen_patients)
    clinical = read_clinical(settings.clinical_score, settings.covariates, labels, task, splits, test)
    table, run = test.labels, None if out is None else Run(Path(out))
    about = identity("probe", encoder, archive, table, splits.parts, settings)
    if run is not None and (earlier := found(run, about, encoder)) is not None:
        return earlier
    cache = FeatureCache(archive, table.rows)
    features = cache.get("encoder", encoder)
    prior = prior_of(task, encoder, settings)
    outcome = run_probe(features, table.targets, splits.train, splits.validation, splits.test, task, prior)
    assert outcome.probe is not None
    model = Classifier(copy.deepcopy(encoder), task).eval()
    model.head = outcome.probe.as_layer()
    on_validation = outcome.probe.scores(features[splits.validation])
    validated, scores, told = calibrated(model, settings.temperature, test, splits, on_validation, outcome.scores)
    task = model.task = task.tuned(table.targets[splits.validation], validated)
    metrics = test.metrics(task, scores)
    metrics |= {f"validation_{task.selection}": outcome.validation, "C": outcome.chosen["C"]}
    added, further = ({}, {}) if clinical is None else clinical.combine(task, validated, scores)
    metrics |= added | seen
    remember(model, archive, table, splits)
    if run is not None:
        pulled = "" if prior is None else ", pulled to what simulated hearts say of its labels"
        start = f"as a linear probe on a frozen encoder{pulled}"
        asked = settings.to_dict()
        tables, frozen = {**told, **further}, cache.of("encoder", encoder)
        write_model(run.folder, model, test, scores, metrics, splits, asked, start, tables, verb="probe", frozen=frozen)
    return Fitted(metrics, model)
