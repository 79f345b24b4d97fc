from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch

from ssl_ecg.tasks import discrete_survival_nll, encode_survival, survival_at, survival_curve

BREAKS = [0.0, 73.0, 146.0, 219.0]
HORIZON = np.linspace(0, 1825, 26)


@pytest.fixture(scope="module")
def oracle(read_oracle: Callable[[str], dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return read_oracle("discrete_survival")


def test_gensheimer_targets_are_those_of_the_authors(oracle: dict[str, np.ndarray]) -> None:
    survived, event_bin = encode_survival(oracle["time_days"], oracle["event"], oracle["breaks_days"])
    np.testing.assert_array_equal(survived, oracle["survived"])
    np.testing.assert_array_equal(event_bin, oracle["event_bin"])


def test_likelihood_is_that_of_the_authors(oracle: dict[str, np.ndarray]) -> None:
    found = discrete_survival_nll(oracle["hazard_logit"], oracle["survived"], oracle["event_bin"])
    np.testing.assert_allclose(found, oracle["nll"], atol=1e-6)
    tensors = [torch.tensor(oracle[name], dtype=torch.float64) for name in ("hazard_logit", "survived", "event_bin")]
    np.testing.assert_allclose(discrete_survival_nll(*tensors).numpy(), oracle["nll"], atol=1e-6)
    assert discrete_survival_nll(*tensors, reduction="sum") == pytest.approx(oracle["nll"].sum())
    assert discrete_survival_nll(*tensors, reduction="mean") == pytest.approx(oracle["nll"].mean())


def test_likelihood_is_minus_the_log_of_the_product_of_probabilities() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(200, 25))
    time, event = rng.uniform(0, 2500, 200), rng.random(200) < 0.5
    survived, event_bin = encode_survival(time, event, HORIZON)
    hazard = 1 / (1 + np.exp(-logits))
    product = np.prod(np.where(survived == 1, 1 - hazard, 1) * np.where(event_bin == 1, hazard, 1), axis=1)
    np.testing.assert_allclose(discrete_survival_nll(logits, survived, event_bin), -np.log(product), atol=1e-10)


@pytest.mark.parametrize(
    ("time", "event", "survived", "event_bin"),
    [
        (0, 1, [0, 0, 0], [1, 0, 0]),  # prevalent
        (-400, 1, [0, 0, 0], [1, 0, 0]),
        (1, 1, [1, 0, 0], [0, 1, 0]),
        (73, 1, [1, 0, 0], [0, 1, 0]),  # ceil(73 / 73) = 1
        (146, 1, [1, 1, 0], [0, 0, 1]),  # incident in the last column
        (50, 0, [1, 0, 0], [0, 0, 0]),  # censored in the middle
        (0, 0, [0, 0, 0], [0, 0, 0]),
        (147, 0, [1, 1, 1], [0, 0, 0]),
        (9999, 1, [1, 1, 1], [0, 0, 0]),  # after the horizon
    ],
)
def test_ecg_ai_keeps_its_first_column_for_prevalent_disease(time, event, survived, event_bin) -> None:
    found = encode_survival([time], [event], BREAKS, encoding="ecg_ai")
    assert [part[0].tolist() for part in found] == [survived, event_bin]


def test_ecg_ai_refuses_events_that_it_has_no_column_for() -> None:
    with pytest.raises(ValueError, match=r"time_days=1800: 2 events in the last interval, \(1752, 1825\].*one more b"):
        encode_survival([3, 1800, 1825, 1800], [1, 1, 1, 0], HORIZON, encoding="ecg_ai")
    days = np.arange(0, 1826)
    longer = np.append(HORIZON, 1898)
    survived, event_bin = encode_survival(days, np.ones(1826), longer, encoding="ecg_ai")
    assert survived.shape == (1826, 26)
    np.testing.assert_array_equal(event_bin.sum(axis=1), 1)  # none is lost
    np.testing.assert_array_equal(event_bin.argmax(axis=1), np.ceil(days / 73))
    np.testing.assert_array_equal(survived.sum(axis=1), np.ceil(days / 73))


def test_gensheimer_loses_no_event_within_the_horizon() -> None:
    days = np.arange(0, 1825, 0.5)
    survived, event_bin = encode_survival(days, np.ones(len(days)), HORIZON)
    np.testing.assert_array_equal(event_bin.argmax(axis=1), days // 73)
    np.testing.assert_array_equal(event_bin.sum(axis=1), 1)
    np.testing.assert_array_equal(survived.sum(axis=1), days // 73)
    after = encode_survival([1825, 3000], [1, 1], HORIZON)
    assert [part.sum() for part in after] == [50, 0]


def test_prevalent_rows_are_a_column_or_no_information() -> None:
    time, event, prevalent = [0, np.nan, 300, 300], [1, np.nan, 0, 0], [1, 1, 1, np.nan]
    survived, event_bin = encode_survival(time, event, HORIZON, prevalent=prevalent)
    assert not survived.any()
    assert not event_bin.any()
    survived, event_bin = encode_survival(time, event, HORIZON, "ecg_ai", prevalent)
    assert not survived.any()
    assert event_bin[:, 0].tolist() == [1, 1, 1, 0]
    assert event_bin.sum() == 3


@pytest.mark.parametrize("encoding", ["gensheimer", "ecg_ai"])
def test_unknown_follow_up_gives_no_loss_and_no_gradient(encoding: str) -> None:
    time = torch.tensor([torch.nan, 500.0, 0.0, 500.0])
    event = torch.tensor([1.0, torch.nan, 0.0, 1.0])
    survived, event_bin = encode_survival(time, event, HORIZON, encoding)
    assert (survived + event_bin).sum(dim=1).tolist()[:3] == [0, 0, 0]
    logits = torch.randn(4, 25, requires_grad=True)
    each = discrete_survival_nll(logits, survived, event_bin)
    each.sum().backward()
    assert each[:3].tolist() == [0, 0, 0]
    assert logits.grad is not None
    assert (logits.grad[:3] == 0).all()
    assert (logits.grad[3] != 0).any()


def test_ties_all_censored_and_all_events_are_encoded_alike() -> None:
    for happened in (0, 1):
        survived, event_bin = encode_survival(np.full(5, 365.0), np.full(5, happened), HORIZON)
        assert len(np.unique(survived, axis=0)) == len(np.unique(event_bin, axis=0)) == 1
        assert (event_bin.sum(), survived[0].sum()) == (5 * happened, 5)
    empty = encode_survival([], [], HORIZON)
    assert [part.shape for part in empty] == [(0, 25), (0, 25)]


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
def test_saturated_logits_give_finite_loss_and_gradient(dtype: torch.dtype) -> None:
    logits = torch.tensor([[1e4, -1e4], [-1e4, 1e4], [1e4, 1e4]], dtype=dtype, requires_grad=True)
    survived, event_bin = encode_survival([100.0, 100.0, 200.0], [1, 1, 0], [0.0, 73.0, 146.0])
    loss = discrete_survival_nll(logits, torch.from_numpy(survived), torch.from_numpy(event_bin))
    loss.sum().backward()
    assert loss.tolist() == pytest.approx([2e4, 0, 2e4], rel=0.01)
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    assert logits.grad[0].tolist() == [1, -1]
    assert torch.equal(survival_curve(logits[:2].detach()), torch.tensor([[0.0, 0.0], [1.0, 0.0]]).to(loss.dtype))


def test_arrays_and_tensors_agree() -> None:
    rng = np.random.default_rng(1)
    time, event = rng.uniform(0, 1700, 50), (rng.random(50) < 0.5).astype(float)
    logits = rng.normal(size=(50, 25))
    for encoding in ("gensheimer", "ecg_ai"):
        arrays = encode_survival(time, event, HORIZON, encoding)
        tensors = encode_survival(torch.tensor(time), torch.tensor(event), torch.tensor(HORIZON), encoding)
        assert all(isinstance(part, torch.Tensor) for part in tensors)
        for ours, theirs in zip(arrays, tensors, strict=True):
            np.testing.assert_array_equal(ours, theirs.numpy())
    np.testing.assert_allclose(survival_curve(logits), survival_curve(torch.tensor(logits)).numpy())


def test_curve_is_the_product_of_one_minus_hazard() -> None:
    logits = np.random.default_rng(2).normal(size=(20, 7))
    np.testing.assert_allclose(survival_curve(logits), np.cumprod(1 / (1 + np.exp(logits)), axis=1))


def test_survival_at_a_day_is_exact_at_breaks_and_linear_between() -> None:
    curve = np.array([[0.9, 0.5, 0.2], [1.0, 1.0, 0.0]])
    for day, expected in ((0, [1, 1]), (73, [0.9, 1]), (109.5, [0.7, 1]), (219, [0.2, 0])):
        np.testing.assert_allclose(survival_at(curve, BREAKS, day), expected)
    with pytest.raises(ValueError, match=r"days=220: must lie between 0 and 219"):
        survival_at(curve, BREAKS, 220)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"encoding": "cox"}, r"encoding='cox': choose one of gensheimer, ecg_ai"),
        ({"breaks_days": [0, 73, 73]}, "breaks_days=.*increasing"),
        ({"breaks_days": [0, np.nan, 73]}, "breaks_days=.*increasing"),
        ({"breaks_days": [0]}, "breaks_days=.*two days or more"),
        ({"event": [1, 2]}, r"event=2: must be 0, 1 or NaN \(1 other"),
        ({"event": [1]}, r"time_days \(2,\) and event \(1,\)"),
        ({"prevalent": [0, -1]}, "prevalent=-1"),
        ({"time_days": [-3, 4]}, r"time_days=-3: 1 times before the first break, day 0"),
        ({"time_days": [-3, 4], "event": [0, 1], "encoding": "ecg_ai"}, "time_days=-3"),
    ],
)
def test_impossible_follow_up_is_named(changes: dict, message: str) -> None:
    given = {"time_days": [3, 4], "event": [1, 0], "breaks_days": BREAKS, **changes}
    with pytest.raises(ValueError, match=message):
        encode_survival(**given)


def test_impossible_likelihoods_are_named() -> None:
    ones = np.ones((2, 3))
    with pytest.raises(ValueError, match=r"hazard_logit \(2, 3\), survived \(2, 2\)"):
        discrete_survival_nll(ones, ones[:, :2], ones)
    with pytest.raises(ValueError, match="reduction='max'"):
        discrete_survival_nll(ones, ones, ones, reduction="max")
