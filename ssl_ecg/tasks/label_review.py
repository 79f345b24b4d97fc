"""Which labels a model doubts, class by class, in the manner of confident learning.

Every record gets its probabilities from probes that learned from other patients. What is usual for a label is the mean
probability that records with it have of it (Northcutt, Jiang, Chuang, J Artif Intell Res 2021); so a rare class, whose
probabilities are all low, is judged by what is usual for it. A label is doubted where the probability of the class is
nearer to what is usual for the opposite label, and confidently where it is at least that. Doubts are ordered by how
much less the probability of the record's own label is than usual.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from ssl_ecg.evaluation import undefined_classes
from ssl_ecg.tasks.linear_probe import LinearProbe
from ssl_ecg.tasks.task import Task

Floats = NDArray[np.floating]


class Review(NamedTuple):
    """What is thought of the labels of n records and C classes.

    Attributes:
        probability: [n, C] of the class, by models that have not seen the patient; NaN where none could be made.
        doubt: [n, C], mean probability of their own label among records with this label, less that of the record; NaN
            where label or probability are not known.
        doubted: bool [n, C], labels whose probability is nearer to what is usual for the opposite.
        confident: bool [n, C], those of them for which the opposite is at least as probable as is usual for it.
    """

    probability: NDArray[np.float64]
    doubt: NDArray[np.float64]
    doubted: NDArray[np.bool_]
    confident: NDArray[np.bool_]


def review_labels(
    task: Task, features: Floats, targets: Floats, patient: NDArray[np.int64], folds: int = 5, seed: int = 0
) -> Review:
    """Review labels by linear probes on frozen features.

    Args:
        task: of labels.
        features: [n, D].
        targets: [n, C], 1, 0 or NaN.
        patient: [n], codes; whole patients make a fold.
        folds: parts of the patients; of the others, one chooses the strength of each probe and the rest train.
        seed: of the folds.

    Raises:
        ValueError: fewer than 3 folds or patients than folds, or no class that probes could learn in any fold.
    """
    probability = out_of_fold(task, features, targets, patient, folds, seed)
    given = np.asarray(targets, np.float64)
    own = np.where(given == 1, probability, 1 - probability)  # of the label that is given
    known = ~np.isnan(probability)
    usual = {label: _means(own, (given == label) & known) for label in (0, 1)}
    shape = given.shape
    doubt, doubted, confident = np.full(shape, np.nan), np.zeros(shape, bool), np.zeros(shape, bool)
    for label in (0, 1):
        here = (given == label) & known
        doubt = np.where(here, usual[label] - own, doubt)
        # Where no record has the opposite label nothing is usual for it: comparisons with NaN are False.
        doubted |= here & (own < (usual[label] + 1 - usual[1 - label]) / 2)
        confident |= here & (1 - own >= usual[1 - label])
    return Review(probability, doubt, doubted, confident & doubted)


def out_of_fold(
    task: Task, features: Floats, targets: Floats, patient: NDArray[np.int64], folds: int, seed: int
) -> NDArray[np.float64]:
    """Return probabilities [n, C] by probes that learned from other patients, args as of ``review_labels``."""
    from sklearn.preprocessing import StandardScaler  # a second, of which pretraining needs nothing

    people = np.unique(patient)
    if not 3 <= folds <= len(people):
        raise ValueError(f"folds={folds}: choose between 3 and the {len(people)} patients")
    order = np.random.default_rng([seed, 1]).permutation(len(people))
    fold = (np.argsort(order) % folds)[np.searchsorted(people, patient)]
    scores = np.full(targets.shape, np.nan)
    for left_out in range(folds):
        test, validation = fold == left_out, fold == (left_out + 1) % folds
        train = ~(test | validation)
        scaler = StandardScaler().fit(features[train])
        x, judging, judged = (scaler.transform(features[part]) for part in (train, validation, test))
        least = np.full(targets.shape[1], np.inf)
        for _, weight, bias in LinearProbe(task).path(x, targets[train]):
            # Probabilities of all parts are compared, so the strength of each class is that of the least log loss.
            loss = _log_loss(judging @ weight.T + bias, targets[validation])
            better = (loss < least) & ~undefined_classes(targets[train])
            least = np.where(better, loss, least)
            scores[test] = np.where(better, expit(judged @ weight.T + bias), scores[test])
    if np.isnan(scores).all():
        raise ValueError("targets: no class has enough patients with it and without it to learn from others")
    return scores


def _log_loss(logits: Floats, targets: Floats) -> NDArray[np.float64]:
    """Return the mean log loss of each class over its known labels [C]; infinite where none is known."""
    known = ~np.isnan(targets)
    each = np.where(known, np.logaddexp(0, np.where(targets == 1, -logits, logits)), 0)
    return np.where(known.any(0), each.sum(0) / np.maximum(known.sum(0), 1), np.inf)


def _means(values: Floats, counted: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the means [C] of values [n, C] over what is counted; NaN where nothing is."""
    count = counted.sum(0)
    return np.where(count > 0, np.where(counted, values, 0).sum(0) / np.maximum(count, 1), np.nan)
