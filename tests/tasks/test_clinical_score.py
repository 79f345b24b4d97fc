"""A clinical score beside the ECG: coefficients from validation, C-index and gain on test."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy.optimize import minimize

from ssl_ecg.evaluation import concordance_index, cox_regression
from ssl_ecg.tasks import create_task
from ssl_ecg.tasks.af_survival import AfSurvival
from ssl_ecg.tasks.clinical_score import Scored, combine_clinical

TASK = AfSurvival()


def draw(records: int, seed: int) -> Scored:
    """Independent score and ECG, of which each says half; some scores, some follow-up not known, some prevalent."""
    rng = np.random.default_rng(seed)
    score, ecg = rng.normal(size=(2, records))
    onset, end = rng.exponential(365.25 / (0.06 * np.exp(0.8 * (score + ecg)))), rng.uniform(1, 4000, records)
    prevalent = rng.random(records) < 0.1
    time = np.ceil(np.minimum(onset, end))
    time[rng.random(records) < 0.05] = np.nan
    targets = np.column_stack([time, onset <= end, prevalent])
    curves = np.exp(-np.outer(0.05 * np.exp(0.8 * ecg), TASK.breaks[1:] / 365.25))
    score[rng.random(records) < 0.1] = np.nan
    return Scored(targets, curves, (-3 * score + 20)[:, None])  # of a scale and a direction of its own


def known(part: Scored) -> tuple[np.ndarray, ...]:
    """Days and event up to the horizon, score and logit of the risk, of the records that have all."""
    kept = (part.targets[:, 2] == 0) & ~np.isnan(part.targets[:, 0]) & ~np.isnan(part.clinical[:, 0])
    time, event, _ = part.targets[kept].T
    risk = 1 - part.scores[kept, -1]
    early = (event == 1) & (time <= 1825)
    return np.minimum(time, 1825), early, part.clinical[kept, 0], np.log(risk / (1 - risk))


def test_models_are_weighed_on_validation_and_ranked_on_test(efron: Callable[..., float]) -> None:
    validation, test = draw(400, 0), draw(600, 1)
    tables = combine_clinical(TASK, validation, test, np.arange(600) // 2, replicates=200)
    table, weighed = (each.set_index("model") for each in tables)
    time, event, score, risk = known(validation)
    x = np.column_stack([score - 20, risk])
    best = minimize(efron, [-0.2, 0.8], args=(x, time, event), method="Nelder-Mead").x
    both, joint = table.loc["score_and_ecg"], weighed.loc["score_and_ecg"]
    assert weighed["covariate"].tolist() == ["score", "ecg", "score", "ecg"]
    np.testing.assert_allclose(joint["coefficient"], best, rtol=0.01)
    np.testing.assert_allclose(joint["hazard_ratio"], np.exp(best * x.std(axis=0)), rtol=0.01)
    half = 1.96 * joint["standard_error"] * x.std(axis=0)
    np.testing.assert_allclose(np.log(joint["hazard_ratio_high"] / joint["hazard_ratio"]), half, rtol=1e-3)
    assert (joint["p_value"] < 0.001).all()
    assert (table["records_validation"] == len(time)).all()
    assert (table["events_validation"] == event.sum()).all()

    time, event, score, risk = known(test)
    for model, ranked in (("score", -score), ("ecg", risk), ("score_and_ecg", score * best[0] + risk * best[1])):
        expected = concordance_index(time, event, ranked)[0]
        assert table.loc[model, "c_index"] == pytest.approx(expected, abs=1e-3)
        assert table.loc[model, "c_index_low"] < expected < table.loc[model, "c_index_high"]
    assert both["gain"] == pytest.approx(both["c_index"] - table.loc["score", "c_index"])
    assert 0 < both["gain_low"] < both["gain"] < both["gain_high"]
    assert both["gain_p_value"] < 0.001
    assert np.isnan(table.loc["score", "gain"])


def test_a_score_without_information_and_an_ecg_without_any_are_defined(caplog) -> None:
    validation, test = draw(300, 2), draw(300, 3)
    flat = [part._replace(scores=np.full_like(part.scores, 0.9)) for part in (validation, test)]
    table = combine_clinical(TASK, *flat, np.arange(300), replicates=50)[0].set_index("model")
    assert table.loc["ecg", "c_index"] == 0.5
    assert table.loc["score_and_ecg", "c_index"] == table.loc["score", "c_index"] > 0.6
    assert table.loc["score_and_ecg", "gain"] == 0
    assert "records of validation have no clinical score" in caplog.text
    certain = [part._replace(scores=np.where(part.scores > 0.8, 1.0, 0.0)) for part in (validation, test)]
    assert np.isfinite(combine_clinical(TASK, *certain, np.arange(300), replicates=50)[0]["c_index"]).all()


def test_no_event_to_weigh_by_is_refused() -> None:
    validation, test = draw(100, 4), draw(100, 5)
    validation.targets[:, 1] = 0
    with pytest.raises(ValueError, match=r"event: none of .* records has one"):
        combine_clinical(TASK, validation, test, np.arange(100))


def test_the_prevalent_column_of_the_other_encoding_is_no_risk() -> None:
    validation, test = draw(300, 6), draw(300, 7)
    shifted = [part._replace(scores=np.column_stack([np.full(300, 0.3), part.scores])) for part in (validation, test)]
    other = create_task("af_survival", TASK.classes, encoding="ecg_ai")
    assert isinstance(other, AfSurvival)
    ours, theirs = (
        combine_clinical(task, *parts, np.arange(300), replicates=20)[0]
        for task, parts in ((TASK, (validation, test)), (other, shifted))
    )
    np.testing.assert_array_equal(ours["c_index"], theirs["c_index"])


def test_covariates_are_weighed_beside_the_score() -> None:
    validation, test = draw(400, 8), draw(400, 9)
    sexes = np.random.default_rng(1).integers(0, 2, (2, 400, 1)).astype(float)
    sexes[0, :40] = np.nan
    parts = [part._replace(clinical=np.hstack([part.clinical, sex])) for part, sex in zip((validation, test), sexes)]
    table, weighed = combine_clinical(TASK, *parts, np.arange(400), ("score", "sex"), replicates=20)
    assert weighed["covariate"].tolist() == ["score", "sex", "ecg", "score", "sex", "ecg"]
    time, event, score, risk = (array[~np.isnan(sex)] for sex in [_sex(parts[0])] for array in known(validation))
    fit = cox_regression(np.column_stack([score, _sex(parts[0])[~np.isnan(_sex(parts[0]))], risk]), time, event)
    np.testing.assert_allclose(weighed["coefficient"].tail(3), fit.coefficient)
    np.testing.assert_allclose(weighed["standard_error"].tail(3), fit.standard_error)
    assert (table["records_validation"] == len(time)).all()


def _sex(part: Scored) -> np.ndarray:
    """The covariate of the records that ``known`` keeps."""
    kept = (part.targets[:, 2] == 0) & ~np.isnan(part.targets[:, 0]) & ~np.isnan(part.clinical[:, 0])
    return part.clinical[kept, 1]
