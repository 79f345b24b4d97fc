"""Few shots: what a handful of labelled patients a class can tell of frozen features.

An episode draws K patients of each of N classes, one record each, and classifies test records by them: by the nearest
prototype, the mean of a class (Snell et al., NeurIPS 2017), by the nearest records, or by the nearest record after a
siamese head was trained. Likeness is the cosine of features from which the mean of all training records, whose labels
are not asked for, was taken away (Wang et al. 2019, arXiv:1911.04623): features share much that tells no class.

The siamese head is trained anew in each episode, on the pairs of its support alone, which has one record a patient. So
it has seen the episode's classes in the same K patients a class as the other methods and in nobody else, no test
patient among them; nothing is learned without labels, or from other classes.

Multi-label records are no single class: those count that have exactly one of the classes and lack all others.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F

NEIGHBOURS = 5
MARGIN = 1.0  # on a sphere: 60 degrees
STEPS = 15
RATE = 0.25  # over D: a step moves each of D sums of D features

Rows = NDArray[np.int64]
Features = NDArray[np.floating]


def single_class(targets: NDArray[np.floating]) -> Rows:
    """Return the one class of each record, int64 [n]; -1 where it has none or several, or where one is not known.

    Args:
        targets: [n, C], 1, 0 or NaN.
    """
    alone = (np.nansum(targets, axis=1) == 1) & ~np.isnan(targets).any(axis=1)
    return np.where(alone, np.nan_to_num(targets).argmax(axis=1), -1)


def nearest_prototype(support: Features, label: Rows, query: Features, ways: int) -> Rows:
    """Classify by the most similar mean of a class.

    Args:
        support: [S, D].
        label: int64 [S], 0 to ways - 1.
        query: [M, D].
        ways: classes N.

    Returns:
        Classes int64 [M].
    """
    prototypes = np.stack([support[label == way].mean(axis=0) for way in range(ways)])
    return (_unit(query) @ _unit(prototypes).T).argmax(axis=1)


def nearest_neighbours(support: Features, label: Rows, query: Features, ways: int) -> Rows:
    """Classify by a vote of the most similar records, as many as a class has, at most 5; of a tie the more similar.

    Args and result as of ``nearest_prototype``.
    """
    count = min(NEIGHBOURS, len(support) // ways)
    likeness = _unit(query) @ _unit(support).T
    nearest = np.argsort(-likeness, axis=1, kind="stable")[:, :count]
    near = np.take_along_axis(likeness, nearest, axis=1)
    # A vote, and for ties less than half of one more.
    vote = 1 + near / (2 * count + 1)
    votes = np.stack([(vote * (label[nearest] == way)).sum(axis=1) for way in range(ways)], axis=1)
    return votes.argmax(axis=1)


def contrastive_loss(embedded: Tensor, label: Tensor, margin: float = MARGIN) -> Tensor:
    """Return what pairs cost: d^2 where both are of one class, max(0, margin - d)^2 where they are of two.

    (Hadsell, Chopra, LeCun, CVPR 2006, without its factor of a half.) The mean over the pairs of one class plus the
    mean over those of two, which are many more; 0 for either kind that there is not.

    Args:
        embedded: [B, E].
        label: int64 [B], the class of each.
        margin: distance d from which pairs of two classes are far enough apart.
    """
    distance = F.pdist(embedded)
    first, second = torch.triu_indices(len(label), len(label), 1, device=label.device)
    same = label[first] == label[second]
    near, apart = distance.square() * same, (margin - distance).clamp(min=0).square() * ~same
    return near.sum() / same.sum().clamp(min=1) + apart.sum() / (~same).sum().clamp(min=1)


def siamese(support: Features, label: Rows, query: Features, ways: int) -> Rows:
    """Classify by the nearest record, after a linear map of features to a sphere was trained on pairs of the support.

    The map starts as the identity, where the nearest record is the most similar one, and takes a few steps of Adam with
    all pairs. Chosen here, where siamese networks for few ECGs are not specific: map, sphere, margin and steps.

    Args and result as of ``nearest_prototype``.
    """
    # Neither the sphere nor Adam knows the unit of features, but single precision has limits.
    unit = max(float(np.abs(support).max()), 1e-12)
    near, asking = (torch.from_numpy(rows / unit).float() for rows in (support, query))
    known, width = torch.from_numpy(label), near.shape[1]
    weight = torch.eye(width, requires_grad=True)
    optimizer = torch.optim.Adam([weight], RATE / width)
    for _ in range(STEPS):
        optimizer.zero_grad()
        contrastive_loss(F.normalize(near @ weight), known).backward()
        optimizer.step()
    with torch.no_grad():
        likeness = F.normalize(asking @ weight) @ F.normalize(near @ weight).T
    return label[likeness.argmax(dim=1).numpy()]


METHODS: dict[str, Callable[[Features, Rows, Features, int], Rows]] = {
    "nearest_prototype": nearest_prototype,
    "nearest_neighbours": nearest_neighbours,
    "siamese": siamese,
}


def few_shots(
    train: tuple[Features, Rows, Rows],
    test: tuple[Features, Rows, Rows],
    shots: int,
    ways: int,
    episodes: int = 200,
    replicates: int = 1000,
    seed: int = 0,
) -> pd.DataFrame:
    """Measure how well test records are classified by K patients of each of N classes.

    Args:
        train: features [n, D], classes [n] from 0, and patients [n], from which episodes draw.
        test: the same of the records that are classified.
        shots: patients K of a class.
        ways: classes N of an episode, drawn anew for each.
        episodes: how many.
        replicates: draws of the bootstrap over test patients.
        seed: of all draws.

    Returns:
        One row per method: "method", "shots", "ways", "episodes"; "accuracy", the mean over classes of the share of
        their test patients' records that is classified rightly, over all episodes; "low" and "high", its 95 % interval
        over test patients; "deviation" of the accuracy between episodes, by which one draw of K patients differs from
        another; "chance", 1 / N.

    Raises:
        ValueError: fewer classes with K training patients and two test patients than N, or N below 2.
    """
    classes = usable_classes(train, test, shots)
    if not 2 <= ways <= len(classes):
        raise ValueError(
            f"ways={ways}: choose between 2 and the {len(classes)} classes that have {shots} training patients and two "
            "test patients"
        )
    rng = np.random.default_rng([seed, shots, ways])
    mean = train[0].mean(axis=0)
    (x, y, person), (query, truth, who) = (
        (part[0][chosen] - mean, part[1][chosen], part[2][chosen])
        for part in (train, test)
        for chosen in [np.isin(part[1], classes)]
    )
    right = {name: np.zeros(len(truth)) for name in METHODS}
    asked = np.zeros(len(truth))
    each: dict[str, list[float]] = {name: [] for name in METHODS}
    for _ in range(episodes):
        drawn = rng.choice(classes, ways, replace=False)
        support = np.concatenate([_one_a_patient(np.flatnonzero(y == way), person, shots, rng) for way in drawn])
        of_episode = np.flatnonzero(np.isin(truth, drawn))
        number = np.zeros(max(classes) + 1, np.int64)
        number[drawn] = np.arange(ways)
        asked[of_episode] += 1
        for name, method in METHODS.items():
            found = method(x[support], number[y[support]], query[of_episode], ways)
            hit = found == number[truth[of_episode]]
            right[name][of_episode] += hit
            each[name].append(float(np.mean([hit[truth[of_episode] == way].mean() for way in drawn])))
    rows = []
    for name in METHODS:
        share = right[name] / np.maximum(asked, 1)
        low, high = _interval(share, truth, who, asked > 0, replicates, rng)
        rows.append(
            {
                "method": name,
                "shots": shots,
                "ways": ways,
                "episodes": episodes,
                "accuracy": _by_class(share, truth, (asked > 0).astype(float)),
                "low": low,
                "high": high,
                "deviation": float(np.std(each[name])),
                "chance": 1 / ways,
            }
        )
    return pd.DataFrame(rows)


def usable_classes(train: tuple[Features, Rows, Rows], test: tuple[Features, Rows, Rows], shots: int) -> list[int]:
    """Return the classes with as many training patients as ``shots``, and two test patients, as an interval needs."""

    def patients(part: tuple[Features, Rows, Rows], way: int) -> int:
        return len(np.unique(part[2][part[1] == way]))

    known = sorted({*train[1].tolist()} - {-1})
    return [way for way in known if patients(train, way) >= shots and patients(test, way) > 1]


def _one_a_patient(rows: Rows, person: Rows, count: int, rng: np.random.Generator) -> Rows:
    """Draw ``count`` patients of some rows, and a row of each."""
    shuffled = rng.permutation(rows)
    first = np.unique(person[shuffled], return_index=True)[1]
    return shuffled[rng.permutation(first)[:count]]


def _by_class(share: NDArray[np.float64], truth: Rows, weight: NDArray[np.float64]) -> float:
    """Return the mean over classes of the weighted mean share of their records."""
    total = np.bincount(truth, weight)
    found = np.bincount(truth, weight * share)[total > 0] / total[total > 0]
    return float(found.mean())


def _interval(
    share: NDArray[np.float64],
    truth: Rows,
    who: Rows,
    asked: NDArray[np.bool_],
    replicates: int,
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Return the ends of the 95 % interval of the mean over classes, over draws of the patients of each class."""
    drawn = np.zeros((replicates, len(np.unique(truth[asked]))))
    for place, way in enumerate(np.unique(truth[asked])):
        rows = np.flatnonzero(asked & (truth == way))
        patients, index = np.unique(who[rows], return_inverse=True)
        size, hits = np.bincount(index), np.bincount(index, share[rows])
        chosen = rng.integers(len(patients), size=(replicates, len(patients)))
        mean = hits[chosen].sum(1) / size[chosen].sum(1)
        # Draws of k patients have (k - 1) / k of the variance.
        centre = hits.sum() / size.sum()
        drawn[:, place] = centre + (mean - centre) * np.sqrt(len(patients) / (len(patients) - 1))
    low, high = np.quantile(drawn.mean(axis=1), [0.025, 0.975])
    return float(np.clip(low, 0, 1)), float(np.clip(high, 0, 1))


def _unit(rows: Features) -> Features:
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
