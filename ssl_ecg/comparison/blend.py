"""Several models as one: the mean of their standardised logits, of those that validation chooses.

A linear probe keeps what pretraining knows, a network adds what the labels teach, simulated hearts know what no label
was spent on; their errors differ, so that their mean can beat all. It must be measured against two networks from random
weights, and against one with what simulated hearts know. Finer weights were worse (docs/results/few_labels): what few
records choose is chance.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.comparison.arms import Labelled, Outcome
from ssl_ecg.tasks import Classifier, LinearProbe, Task, fit_combination, join, load_model
from ssl_ecg.tasks.ensemble import Combination
from ssl_ecg.training.frozen import predict_scores, start_as_probe


def weights_of(members: int) -> list[tuple[float, ...]]:
    """Return the weights to choose from: the mean of all models, then of all but one and so on, down to each alone."""
    kept = sorted((kept for kept in product((1, 0), repeat=members) if any(kept)), key=sum, reverse=True)
    return [tuple(part / sum(each) for part in each) for each in kept]


logger = logging.getLogger(__name__)

Scores = NDArray[np.float32]


def blend(
    validation: Sequence[Scores],
    targets: NDArray[np.float32],
    task: Task,
    weights: Sequence[Sequence[float]] | None = None,
) -> tuple[Combination, float]:
    """Return how models are joined, and the validation score of that.

    Args:
        validation: scores [m, S] of each model.
        targets: of validation [m, C], NaN where unknown.
        task: judges them.
        weights: of the models, to choose from, the first of equals; None: those of ``weights_of``.
    """
    tried = []
    for weight in weights or weights_of(len(validation)):
        found = fit_combination(task, validation, targets, weight)
        tried.append((found, task.evaluate(targets, found.scores(validation, task))[task.selection.name]))
    return task.selection.best(tried, key=lambda one: one[1])


def blended_model(folders: Sequence[Path], second: Outcome | None, combination: Combination) -> Classifier | None:
    """Return a blend as one model; None where its members left none, or cannot be one.

    Args:
        folders: of the members' models.
        second: the member that has no folder.
        combination: of the members.
    """
    if not all(folder.is_dir() for folder in folders):
        return None
    try:
        models = [load_model(folder) for folder in folders]
        return join(
            [*models, *([second.model] if second is not None and second.model is not None else [])], combination
        )
    except ValueError as error:  # a network of one's own, or windows of one member alone
        logger.info("the blend is kept as scores and as no model: %s", error)
        return None


def with_probe(
    model: Classifier,
    encoder: Encoder,
    archive: Archive,
    train: Labelled,
    validation: Labelled,
    prior: LinearProbe | None = None,
) -> tuple[Classifier, dict[str, float]]:
    """Join a finetuned network and the linear probe on the encoder that it started from.

    Args:
        model: the network.
        encoder: where it started.
        archive: signals.
        train: archive rows [n] and targets [n, C] that the network learned from.
        validation: the same of those that choose the weight.
        prior: the probe that needs no label, to which this one is pulled.

    Returns:
        The blend without decisions; its validation score and the network's weight.
    """
    probe = Classifier(copy.deepcopy(encoder), model.task, model.windows).eval()
    start_as_probe(probe, archive, train, validation, prior=prior)
    scores = [predict_scores(each, archive, validation[0]) for each in (probe, model)]
    combination, score = blend(scores, validation[1], model.task)
    chosen = {f"validation_{model.task.selection}": score, "blend_weight": float(combination.weight[1])}
    return join((probe, model), combination), chosen
