from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.neighbors import KNeighborsClassifier, NearestCentroid

from ssl_ecg.tasks import few_shots as module
from ssl_ecg.tasks.few_shots import (
    contrastive_loss,
    few_shots,
    nearest_neighbours,
    nearest_prototype,
    siamese,
    single_class,
)

NAN = np.nan


def clouds(patients: int, apart: float, seed: int, ways: int = 3, records: int = 2) -> tuple[np.ndarray, ...]:
    """Records of patients of three classes, whose features lie around corners of a triangle, in 8 dimensions."""
    rng = np.random.default_rng(seed)
    label = np.repeat(np.arange(ways), patients)
    own = apart * np.eye(ways, 8)[label] + rng.normal(size=(len(label), 8)) + 5
    who = np.repeat(np.arange(len(label)) + 1000 * seed, records)
    return np.repeat(own, records, axis=0) + 0.1 * rng.normal(size=(len(who), 8)), np.repeat(label, records), who


def test_records_of_one_class_are_those_with_one_label_and_no_unknown() -> None:
    targets = np.array([[1, 0, 0], [0, 0, 1], [1, 1, 0], [0, 0, 0], [1, NAN, 0], [NAN, NAN, NAN]])
    assert single_class(targets).tolist() == [0, 2, -1, -1, -1, -1]


def test_prototypes_are_the_nearest_centroids_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    support, query = rng.normal(size=(20, 6)), rng.normal(size=(50, 6))
    label = np.repeat(np.arange(4), 5)
    # On the sphere the nearest is the most similar: scikit-learn's centroids, brought to it.
    centroids = NearestCentroid().fit(support, label).centroids_
    centroids /= np.linalg.norm(centroids, axis=1, keepdims=True)
    on_sphere = query / np.linalg.norm(query, axis=1, keepdims=True)
    expected = ((on_sphere[:, None] - centroids) ** 2).sum(2).argmin(1)
    assert nearest_prototype(support, label, query, 4).tolist() == expected.tolist()


@pytest.mark.parametrize("shots", [1, 3])
def test_neighbours_are_those_of_scikit_learn(shots: int) -> None:
    rng = np.random.default_rng(1)
    support, query = rng.normal(size=(2 * shots, 6)), rng.normal(size=(200, 6))
    label = np.repeat(np.arange(2), shots)
    model = KNeighborsClassifier(shots, metric="cosine").fit(support, label)  # an odd number: two classes never tie
    assert nearest_neighbours(support, label, query, 2).tolist() == model.predict(query).tolist()


def test_a_tie_goes_to_the_more_similar() -> None:
    support = np.array([[1.0, 0.1], [1.0, 0.9], [1.0, -0.2], [-1.0, 0]])
    query = np.array([[1.0, 0.0]])  # nearest: 0 of class 1, then 2 of class 0
    assert nearest_neighbours(support, np.array([1, 1, 0, 0]), query, 2).tolist() == [1]


def test_pairs_cost_what_their_distances_say() -> None:
    points = torch.tensor([[0.0, 0.0], [3.0, 4.0], [0.6, 0.0], [3.0, 3.2]], dtype=torch.float64, requires_grad=True)
    label = torch.tensor([0, 0, 1, 1])
    # Of one class 5 and sqrt(2.4^2 + 3.2^2) = 4 apart; of two .6 and .8, and two pairs further than the margin.
    expected = (25 + 16) / 2 + ((1 - 0.6) ** 2 + (1 - 0.8) ** 2) / 4
    loss = contrastive_loss(points, label, margin=1.0)
    assert float(loss.detach()) == pytest.approx(expected, rel=1e-12)
    loss.backward()
    # Record 0 is pulled to record 1, 2 (0 - 3) / 2 and 2 (0 - 4) / 2, and pushed from record 2, 2 (1 - .6) / 4.
    assert points.grad is not None
    assert points.grad[0].tolist() == pytest.approx([-3 + 0.2, -4])


def test_pairs_of_one_kind_alone_and_records_at_one_place_give_numbers() -> None:
    points = torch.zeros(3, 2, requires_grad=True)
    assert float(contrastive_loss(points, torch.tensor([0, 1, 2])).detach()) == 1.0
    loss = contrastive_loss(points, torch.tensor([0, 0, 0]))
    loss.backward()
    assert float(loss.detach()) == 0.0
    assert points.grad is not None
    assert torch.isfinite(points.grad).all()


def test_an_untrained_siamese_head_is_the_most_similar_record(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(1)
    support, query = 1e-9 * rng.normal(size=(12, 6)), 1e-9 * rng.normal(size=(200, 6))  # in whatever unit
    label = np.repeat(np.arange(3), 4)
    nearest = KNeighborsClassifier(1, metric="cosine").fit(support, label).predict(query)
    trained = siamese(support, label, query, 3)
    assert trained.tolist() == siamese(1e12 * support, label, 1e12 * query, 3).tolist()
    assert 0.5 < (trained == nearest).mean() < 1
    monkeypatch.setattr(module, "STEPS", 0)
    assert siamese(support, label, query, 3).tolist() == nearest.tolist()


@pytest.mark.slow
def test_a_siamese_head_learns_which_direction_tells_nothing() -> None:
    def noisy(seed: int) -> tuple[np.ndarray, ...]:
        x, label, who = clouds(40, 4.0, seed)
        x[:, 7] = np.random.default_rng(seed).normal(scale=12, size=len(x))
        return x, label, who

    train, test = noisy(1), noisy(2)
    few = few_shots(train, test, 10, ways=3, episodes=40)
    accuracy, low, high = (few.set_index("method")[name] for name in ("accuracy", "low", "high"))
    for other in ("nearest_prototype", "nearest_neighbours"):
        assert low["siamese"] > high[other]
        assert accuracy["siamese"] > accuracy[other] + 0.1
    again = few_shots(train, test, 10, ways=3, episodes=40)
    assert again.equals(few)


@pytest.mark.slow
def test_accuracy_rises_with_shots_from_chance_to_what_can_be_known() -> None:
    test = clouds(30, 0.0, seed=2)
    nothing = few_shots(clouds(30, 0.0, seed=1), test, shots=5, ways=3, episodes=100)
    assert nothing["accuracy"].to_numpy() == pytest.approx(1 / 3, abs=0.06)
    assert ((nothing["low"] < 1 / 3) & (nothing["high"] > 1 / 3)).all()
    found = [few_shots(clouds(30, 3.0, seed=1), clouds(30, 3.0, seed=2), shots, 3, episodes=60) for shots in (1, 5, 10)]
    prototype = [table["accuracy"][0] for table in found]
    assert prototype == sorted(prototype)
    assert prototype[0] > 0.6
    assert prototype[-1] > 0.9
    assert found[0]["deviation"][0] > found[-1]["deviation"][0]
    for table in found:
        assert (table["low"] <= table["accuracy"]).all()
        assert (table["accuracy"] <= table["high"]).all()


def test_support_has_as_many_patients_as_shots_and_one_record_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    train = clouds(6, 1.0, seed=1, records=4)
    train[0][:, 7] = train[2]  # a feature that tells the patient
    seen: list[np.ndarray] = []
    monkeypatch.setattr(module, "METHODS", {"spy": lambda s, y, q, w: seen.append(s[:, 7]) or np.zeros(len(q), int)})
    few_shots(train, clouds(3, 1.0, seed=2), shots=5, ways=2, episodes=20)
    for support in seen:
        assert len(support) == 10
        assert len(np.unique(support.round(6))) == 10


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    covered = 0
    for seed in range(100):
        rng = np.random.default_rng(seed)
        from ssl_ecg.tasks.few_shots import _interval

        hit = rng.random(40) < 0.7
        low, high = _interval(hit.astype(float), np.repeat([0, 1], 20), np.arange(40), np.ones(40, bool), 1000, rng)
        covered += low <= 0.7 <= high
    assert covered >= 88  # .95 of 100, less three deviations


def test_what_cannot_be_drawn_is_refused_by_name() -> None:
    train, test = clouds(4, 1.0, seed=1), clouds(4, 1.0, seed=2)
    with pytest.raises(ValueError, match="ways=4: choose between 2 and the 3 classes that have 2 training"):
        few_shots(train, test, shots=2, ways=4)
    with pytest.raises(ValueError, match="ways=2: choose between 2 and the 0 classes that have 5 training"):
        few_shots(train, test, shots=5, ways=2)
