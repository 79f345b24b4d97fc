from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

from ssl_ecg.evaluation import concordance_index
from ssl_ecg.evaluation.cox import cox_regression, crossed_hazard


def follow_up(records: int, seed: int = 0, whole_days: bool = True) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Two covariates of different scale, days and events under known proportional hazards."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(records, 2)) * [1, 30] + [0, 100]
    onset = rng.exponential(60 * np.exp(-(0.8 * x[:, 0] - 0.02 * (x[:, 1] - 100))))
    end = rng.uniform(1, 150, records)
    time = np.minimum(onset, end)
    return x, np.ceil(time) if whole_days else time, onset <= end


@pytest.mark.parametrize("whole_days", [True, False])
def test_coefficients_maximise_the_partial_likelihood(efron: Callable[..., float], whole_days: bool) -> None:
    x, time, event = follow_up(300, whole_days=whole_days)
    assert (len(np.unique(time)) < 300) == whole_days
    given = (x - [0, 100], time, event)
    best = minimize(efron, [0.5, 0.0], args=given, method="Nelder-Mead", options={"xatol": 1e-8, "fatol": 1e-10}).x
    np.testing.assert_allclose(cox_regression(x, time, event).coefficient, best, rtol=1e-4)


def test_true_hazards_are_found_among_many_records() -> None:
    np.testing.assert_allclose(cox_regression(*follow_up(5000, seed=1)).coefficient, [0.8, -0.02], rtol=0.1)


def test_what_is_the_same_for_all_says_nothing() -> None:
    x, time, event = follow_up(100)
    both = cox_regression(np.column_stack([np.full(100, 0.1), x[:, 0]]), time, event)
    alone = cox_regression(x[:, :1], time, event)
    np.testing.assert_allclose(both.coefficient, [0, *alone.coefficient], rtol=1e-6)
    np.testing.assert_allclose(both.standard_error, [np.nan, *alone.standard_error], rtol=1e-6)


def test_all_events_and_ties_of_everybody_are_defined() -> None:
    x, time, _ = follow_up(100)
    assert np.isfinite(cox_regression(x, time, np.ones(100)).coefficient).all()
    assert np.isfinite(cox_regression(x, np.zeros(100), np.arange(100) < 50).coefficient).all()


@pytest.mark.parametrize(
    ("covariates", "time", "event", "message"),
    [
        (np.arange(3)[:, None], [1, 2, 3], [0, 0, 0], "event: none of 3 records has one"),
        (np.arange(3)[:, None], [1, 2, np.nan], [1, 0, 0], "must be finite"),
        (np.arange(3)[:, None], [1, 2, 3], [1, 0, 2], "event 0 or 1"),
        (np.arange(3), [1, 2, 3], [1, 0, 1], r"covariates \(3,\)"),
        (np.arange(3)[:, None], [1, 2], [1, 0], r"time \(2,\)"),
    ],
)
def test_what_cannot_be_regressed_is_named(covariates, time, event, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        cox_regression(covariates, time, event)


def test_standard_errors_are_of_the_curvature_of_the_partial_likelihood(efron: Callable[..., float]) -> None:
    x, time, event = follow_up(300)
    fit, step = cox_regression(x, time, event), np.array([1e-3, 3e-5])
    information = np.empty((2, 2))
    for i in range(2):
        for j in range(2):
            ends = [
                si * sj * efron(fit.coefficient + si * step * np.eye(2)[i] + sj * step * np.eye(2)[j], x, time, event)
                for si in (1, -1)
                for sj in (1, -1)
            ]
            information[i, j] = sum(ends) / (4 * step[i] * step[j])
    expected = np.sqrt(np.diag(np.linalg.inv(information)))
    np.testing.assert_allclose(fit.standard_error, expected, rtol=1e-3)
    ratio, low, high = fit.hazard_ratio([1.0, 30.0])
    np.testing.assert_allclose(ratio, np.exp(fit.coefficient * [1, 30]))
    np.testing.assert_allclose(np.log(high / low), 2 * 1.96 * expected * [1, 30], rtol=1e-3)
    assert (fit.p_value < 1e-6).all()


def test_regressions_of_a_cohort_are_those_of_statsmodels(read_oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    oracle = read_oracle("cox")
    patients = pd.DataFrame(oracle["patients"].item())
    follow_up = patients["time_days"], patients["event"]
    for found in oracle["fits"]:
        fit = cox_regression(patients[found["covariates"]], *follow_up)
        np.testing.assert_allclose(fit.coefficient, found["coefficient"], rtol=1e-5)
        np.testing.assert_allclose(fit.standard_error, found["standard_error"], rtol=1e-5)
        np.testing.assert_allclose(fit.p_value, found["p_value"], rtol=1e-4)
        np.testing.assert_allclose(fit.hazard_ratio()[1:], [found["low"], found["high"]], rtol=1e-5)
        if len(found["covariates"]) == 4:
            hazard = patients[found["covariates"]] @ fit.coefficient
            assert concordance_index(*follow_up, hazard)[0] == pytest.approx(oracle["c_index_of_together"], abs=1e-4)


def test_a_crossed_hazard_knows_nothing_of_its_own_record() -> None:
    rng = np.random.default_rng(0)
    noise, time, event = rng.normal(size=(60, 25)), rng.exponential(100, 60), rng.random(60) < 0.6
    own = concordance_index(time, event, noise @ cox_regression(noise, time, event).coefficient)[0]
    crossed = concordance_index(time, event, crossed_hazard(noise, time, event))[0]
    assert own > 0.8
    assert abs(crossed - 0.5) < 0.15
    x, time, event = follow_up(400)
    hazard = crossed_hazard(x, time, event)
    assert np.corrcoef(hazard, x @ cox_regression(x, time, event).coefficient)[0, 1] > 0.999
    with pytest.raises(ValueError, match="event: 1 of 400; two with and two without are needed"):
        crossed_hazard(x, time, np.arange(400) == 3)
