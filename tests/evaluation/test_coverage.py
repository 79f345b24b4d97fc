"""What intervals cover and how often equal arms differ, simulated; run as a program it prints the table of the docs.

Draws of patients are replaced by what they tend to: the variances of placements (DeLong, Biometrics 1988), as fast as
ranks. That the bootstrap has these variances is tested too.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from ssl_ecg.evaluation import Bootstrap
from ssl_ecg.evaluation.spread import Spread, interval, spread
from ssl_ecg.evaluation.support import Support, support

pytestmark = pytest.mark.slow

NEGATIVES = 150
POSITIVES = (2, 3, 5, 10, 20, 80)
TRIALS = 2000
ERROR = 2.6 * np.sqrt(0.05 * 0.95 / TRIALS)  # of a simulated share of .05


def ranks(scores: np.ndarray) -> np.ndarray:
    order = np.argsort(scores, axis=-1)
    found = np.empty(scores.shape)
    np.put_along_axis(found, order, np.broadcast_to(np.arange(1.0, scores.shape[-1] + 1), scores.shape), axis=-1)
    return found


def placements(scores: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Share of negatives below each of the first k, which are positive, and of positives above each of the others."""
    joint, m = ranks(scores), scores.shape[-1] - k
    below = (joint[..., :k] - ranks(scores[..., :k])) / m
    return below, 1 - (joint[..., k:] - ranks(scores[..., k:])) / k


def counted(k: int, m: int = NEGATIVES) -> Support:
    return support(np.arange(k + m), (np.arange(k + m) < k)[:, None])


def moments(parts: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Of placements [trials, S, k] and [trials, S, m]: estimate and variance of draws, between and within seeds."""
    each = parts[0].mean(axis=-1)
    patients = sum(part.mean(axis=1).var(axis=-1) / part.shape[-1] for part in parts)
    if each.shape[1] == 1:
        return each.mean(axis=1), patients, np.zeros(len(each)), np.zeros(len(each))
    around = [part - part.mean(axis=-1, keepdims=True) for part in parts]
    within = sum(part.var(axis=1, ddof=1).sum(axis=-1) / part.shape[-1] ** 2 for part in around)
    return each.mean(axis=1), patients, each.var(axis=1, ddof=1), within


def estimate(parts: tuple[np.ndarray, np.ndarray], known: Support) -> tuple[np.ndarray, Spread]:
    seeds = parts[0].shape[1]
    point, patients, between, within = moments(parts)
    return point, spread(patients * known.inflation, between, within * known.inflation, seeds, known.freedom)


def percentiles(parts: tuple[np.ndarray, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Estimate and standard error of draws of S seeds of S with replacement, as percentiles show them."""
    seeds = parts[0].shape[1]
    point, patients, between, _ = moments(parts)
    return point, np.sqrt(patients + between * (seeds - 1) / seeds**2)


def one_arm(k: int, auroc: float, seeds: int = 1, scatter: float = 0.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Placements of runs whose seeds differ in what they separate, ``scatter`` times as much as patients do."""
    rng = np.random.default_rng([seed, k, seeds])
    positive = np.arange(k + NEGATIVES) < k
    noise = 0.6 if seeds > 1 else 0.0
    distance = norm.ppf(auroc) * np.sqrt(2)
    shift = scatter * np.sqrt(1 / k + 1 / NEGATIVES) * rng.normal(size=(TRIALS, seeds, 1))
    scores = np.sqrt(1 - noise**2) * rng.normal(size=(TRIALS, 1, len(positive)))
    scores = scores + noise * rng.normal(size=(TRIALS, seeds, len(positive))) + positive * (distance + shift)
    return placements(scores, k)


def equal_arms(k: int, seeds: int, scatter: float, own: float = 0.7) -> tuple[np.ndarray, np.ndarray]:
    """Differences of placements between two arms of the same quality, who suit other patients by ``own``."""
    rng = np.random.default_rng([k, seeds, int(10 * scatter)])
    positive = np.arange(k + NEGATIVES) < k
    shift = scatter * own * np.sqrt(1 / k + 1 / NEGATIVES) * rng.normal(size=(TRIALS, 2, seeds, 1))
    scores = rng.normal(size=(TRIALS, 1, 1, len(positive))) + own * rng.normal(size=(TRIALS, 2, 1, len(positive)))
    scores = scores + 0.5 * rng.normal(size=(TRIALS, 2, seeds, len(positive))) + positive * (1.2 + shift)
    below, above = placements(scores, k)
    return below[:, 0] - below[:, 1], above[:, 0] - above[:, 1]


def covered(parts: tuple[np.ndarray, np.ndarray], known: Support, truth: float) -> tuple[float, float]:
    """Share of trials whose interval holds the truth: by percentiles, and by this package."""
    point, error = percentiles(parts)
    before = np.mean(np.abs(point - truth) <= norm.ppf(0.975) * error)
    point, found = estimate(parts, known)
    low, high = interval(point, found, bounded=True)
    return float(before), float(np.mean((low <= truth) & (truth <= high)))


def found_different(parts: tuple[np.ndarray, np.ndarray], known: Support) -> tuple[float, float]:
    """Share of trials with p < .05: by percentiles, and by this package."""
    point, error = percentiles(parts)
    before = np.mean(np.abs(point) > norm.ppf(0.975) * error)
    point, found = estimate(parts, known)
    return float(before), float(np.mean(found.p_value(point) < 0.05))


@pytest.mark.parametrize("auroc", [0.6, 0.75, 0.85, 0.93])
@pytest.mark.parametrize("k", POSITIVES)
def test_intervals_of_few_positives_cover(k: int, auroc: float) -> None:
    before, now = covered(one_arm(k, auroc), counted(k), auroc)
    assert now > 0.93 - ERROR
    assert now < (0.97 + ERROR if k >= 10 else 1.001)  # few positives: too wide rather than too narrow
    assert before < 0.93 or k > 10  # what percentiles cover


@pytest.mark.parametrize("scatter", [0.0, 1.0, 2.0])
@pytest.mark.parametrize("seeds", [3, 5])
@pytest.mark.parametrize("k", [5, 10, 20, 80])
def test_intervals_over_few_seeds_cover(k: int, seeds: int, scatter: float) -> None:
    # The truth is that of many seeds: a scatter of distances lowers the mean AUROC.
    variance = 2 + scatter**2 * (1 / k + 1 / NEGATIVES)
    truth = float(norm.cdf(norm.ppf(0.8) * np.sqrt(2) / np.sqrt(variance)))
    _, now = covered(one_arm(k, 0.8, seeds, scatter), counted(k), truth)
    assert 0.93 - ERROR < now < (0.97 + ERROR if k >= 10 else 1.001)


@pytest.mark.parametrize("scatter", [0.0, 1.0, 2.0, 4.0])
@pytest.mark.parametrize("seeds", [1, 3, 5])
@pytest.mark.parametrize("k", POSITIVES[1:])
def test_equal_arms_rarely_differ(k: int, seeds: int, scatter: float) -> None:
    if seeds == 1 and scatter:
        return  # what one seed cannot know
    _, now = found_different(equal_arms(k, seeds, scatter), counted(k))
    assert now < 0.07


def test_percentiles_of_few_positives_or_few_seeds_found_too_much() -> None:
    assert found_different(equal_arms(3, 1, 0.0), counted(3))[0] > 0.1
    assert found_different(equal_arms(80, 3, 4.0), counted(80))[0] > 0.1


def test_an_average_over_rare_classes_covers() -> None:
    counts = [1, 2, 3, 5, 40, 60]
    rng = np.random.default_rng(0)
    people, positive, start = 400, np.zeros((400, len(counts))), 0
    for c, k in enumerate(counts):
        positive[start : start + k, c] = 1
        start += k
    known = support(np.arange(people), positive)
    point, patients = np.zeros(TRIALS), np.zeros(TRIALS)
    for k in counts:
        below, above = placements((np.arange(people) < k) * 1.2 + rng.normal(size=(TRIALS, people)), k)
        point += below.mean(axis=-1) / len(counts)
        patients += (below.var(axis=-1) / k + above.var(axis=-1) / (people - k)) / len(counts) ** 2
    low, high = interval(point, spread(patients * known.inflation, 0, 0, 1, known.freedom), bounded=True)
    truth = norm.cdf(1.2 / np.sqrt(2))
    assert np.mean((low <= truth) & (truth <= high)) > 0.93 - ERROR
    assert np.mean(np.abs(point - truth) < 1.96 * np.sqrt(patients)) < 0.9


def test_detectable_differences_are_found_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    for freedom, level in ((9, 0.03), (200, 0.01)):
        error = np.sqrt(rng.chisquare(freedom, 20000) / freedom)
        true = Spread(1.0, freedom).detectable
        found = Spread(error, np.full(20000, freedom)).p_value(true + rng.normal(size=20000)) < 0.05
        assert found.mean() == pytest.approx(0.8, abs=level)


@pytest.mark.parametrize("k", [3, 20])
def test_bootstrap_has_the_variances_of_placements(k: int) -> None:
    rng = np.random.default_rng(k)
    positive = np.arange(k + NEGATIVES) < k
    scores = rng.normal(size=len(positive)) + 0.7 * rng.normal(size=(3, len(positive))) + positive
    bootstrap = Bootstrap(positive[:, None], np.arange(len(positive)), 4000)
    runs = [bootstrap.score(run[:, None]) for run in scores]
    point, found = bootstrap._estimate(np.stack([run["macro_auroc"] for run in runs]))
    expected, reference = estimate(tuple(part[None] for part in placements(scores, k)), counted(k))
    assert point == pytest.approx(float(expected[0]))
    assert found.error == pytest.approx(float(reference.error[0]), rel=0.05)
    assert found.freedom == pytest.approx(float(reference.freedom[0]), rel=0.1)


def main() -> None:
    """Print the tables of docs/evaluation.md."""
    print("| positives | AUROC .75, before | now | AUROC .93, before | now |")  # noqa: T201
    for k in POSITIVES:
        cells = [share for auroc in (0.75, 0.93) for share in covered(one_arm(k, auroc), counted(k), auroc)]
        print(f"| {k} | " + " | ".join(f"{share:.3f}" for share in cells) + " |")  # noqa: T201
    print("| positives | seeds | scatter 0, before | now | 1, before | now | 2, before | now | 4, before | now |")  # noqa: T201
    for k in POSITIVES[1:]:
        for seeds in (1, 3, 5):
            scatters = (0.0,) if seeds == 1 else (0.0, 1.0, 2.0, 4.0)
            cells = [share for s in scatters for share in found_different(equal_arms(k, seeds, s), counted(k))]
            print(f"| {k} | {seeds} | " + " | ".join(f"{share:.3f}" for share in cells) + " |")  # noqa: T201


if __name__ == "__main__":
    main()
