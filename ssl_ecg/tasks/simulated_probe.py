"""A probe that no label is needed for, since it learns from simulated hearts, and what goes on from it with few labels.

    classes -> what they mean -> labels of simulated ECGs [n, C] -> a linear probe on an encoder's features of them

An encoder that learned to tell what simulated hearts show has features in which a real ECG lies where simulated ones
with the same conditions lie (domain randomisation, Tobin et al., IROS 2017), so that a plane between simulated ECGs
divides real ones too. How often a condition is simulated says nothing of a site: scores rank, and are no probabilities.

The plane is also the mean of a prior for few labels: a probe that regularisation pulls to it, instead of to no plane at
all, keeps of it what the labels do not tell better. Of classifiers from text this is known (CLAP, Silva-Rodriguez et
al., CVPR 2024, arXiv:2312.12730).
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from ssl_ecg.backbones import Encoder
from ssl_ecg.backbones.lineage import objectives_of
from ssl_ecg.synthetic.simulator import Meaning, meanings_of, simulate, simulated_labels
from ssl_ecg.tasks.linear_probe import LinearProbe
from ssl_ecg.tasks.probe import Probe
from ssl_ecg.tasks.task import Task

logger = logging.getLogger(__name__)

RECORDS, BATCH = 4000, 250
STRENGTH = 10**-2.5
"""Inverse regularisation strength. There is no label to choose it by, and it matters little: from 1e-4 to 1e-1 macro
AUROC of PTB-XL's superclasses is .842 to .854 (all folds), of CPSC 2018 .895 to .910."""


def simulated_features(encoder: Encoder) -> tuple[NDArray[np.float32], torch.Tensor]:
    """Draw simulated ECGs as an encoder expects them, always the same; torch's own random state stays as it is.

    Returns:
        Its features of them [n, D], and which of ``CONDITIONS`` each shows, bool [n, C'].
    """
    features, conditions = [], []
    was_training, device = encoder.training, next(encoder.parameters()).device
    encoder.eval()
    with torch.random.fork_rng(devices=[]), torch.inference_mode():
        torch.manual_seed(0)
        for _ in range(RECORDS // BATCH):
            ecgs = simulate(BATCH, encoder.signal)
            features.append(encoder(ecgs.signal.to(device)).float().cpu().numpy())
            conditions.append(ecgs.conditions.bool())
    encoder.train(was_training)
    return np.concatenate(features), torch.cat(conditions)


def probe_without_labels(task: Task, encoder: Encoder, meanings: Mapping[str, Meaning]) -> LinearProbe:
    """Fit a linear probe for which nobody labelled an ECG.

    Args:
        task: with classes of labels.
        encoder: whose features it reads; one that learned from simulated hearts.
        meanings: of the classes that have one; the others get a probability of one half.

    Raises:
        ValueError: no class has a meaning.
    """
    if not meanings:
        raise ValueError(
            f"classes={', '.join(task.classes)}: none has a known meaning in what simulated hearts show; name it with "
            "meanings="
        )
    features, conditions = simulated_features(encoder)
    labels = simulated_labels(conditions, task.classes, meanings).numpy()
    return LinearProbe(task, (STRENGTH,)).fit(features, labels, features, labels)


def known_meanings(task: Task, meanings: Mapping[str, Sequence[str]] | None = None) -> dict[str, Meaning]:
    """Return what the labels of a task mean in simulated hearts; nothing where it has none, or a probe of its own.

    Args:
        task: what is learned.
        meanings: of labels, beside those known by name.

    Raises:
        ValueError: a meaning of something that is no label, or of no condition.
    """
    known = meanings_of(task.classes, meanings)
    return known if task.of_labels and type(task).fit_probe is Task.fit_probe else {}


def knows_simulated_hearts(encoder: Encoder) -> bool:
    """Tell whether simulated hearts are among what an encoder, or one that it started from, learned from."""
    return "simulation" in objectives_of(encoder.origin)


def simulated_prior(
    task: Task, encoder: Encoder, meanings: Mapping[str, Sequence[str]] | None = None
) -> LinearProbe | None:
    """Return ``probe_without_labels``, or None where no label has a meaning, or the encoder knows no simulated hearts.

    Args and errors as of ``known_meanings``.
    """
    known = known_meanings(task, meanings)
    if not known or not knows_simulated_hearts(encoder):
        return None
    told = "; ".join(f"{name}: {', '.join(meaning)}" for name, meaning in known.items())
    logger.info("probes begin at what simulated hearts say: %s", told)
    return probe_without_labels(task, encoder, known)


def fit_from(prior: LinearProbe | None, task: Task, *parts: NDArray) -> Probe:
    """Fit the task's probe to labels, or one that is pulled to what is known without them.

    Args:
        prior: the probe of the same features that needs no label; None: there is none.
        task: what is learned.
        parts: features and targets of training and of validation, as ``Probe.fit`` takes them.
    """
    return task.fit_probe(*parts) if prior is None else LinearProbe(task, prior=prior).fit(*parts)
