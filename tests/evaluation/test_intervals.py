import numpy as np
import pytest
from scipy import stats
from scipy.special import logit
from scipy.stats import norm

from ssl_ecg.evaluation import (
    Bootstrap,
    bootstrap_metrics,
    bootstrap_weights,
    format_p,
    holm,
    interval,
    macro_auprc,
    macro_auroc,
    macro_metrics,
    paired_difference,
    undefined_classes,
)
from ssl_ecg.evaluation.spread import Spread, spread
from ssl_ecg.evaluation.support import support


def cohort(records=150, seed=0, separation=1.0):
    """Labels, scores and patients with several records each, whose records resemble one another."""
    rng = np.random.default_rng(seed)
    patient = rng.integers(records // 2, size=records)
    labels = (rng.random((records, 4)) < [0.5, 0.3, 0.1, 0.03]).astype(float)
    labels[:2, 3] = 1, 0
    own = rng.normal(size=(records, 4))[patient]
    return labels, separation * labels + own + rng.normal(size=labels.shape), patient


def test_no_replicate_loses_an_outcome_that_the_labels_do_not_show() -> None:
    days = np.arange(100.0)[:, None]  # what the metric reads is no label
    rare = (np.arange(100) < 2).astype(float)[:, None]
    seen: list[np.ndarray] = []

    def metric(labels: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> dict[str, np.ndarray]:
        seen.append(weights)
        return {"mean": (weights * labels).sum(axis=0) / 1e5, "undefined": np.full(weights.shape[1], np.nan)}

    found = bootstrap_metrics(days, days, np.arange(100), 200, metrics=metric, outcome=rare)
    assert list(found) == ["mean"]
    assert found["mean"].mean == pytest.approx(4950 / 1e5)
    assert ((seen[0] * rare).sum(axis=0) > 0).all()  # without the outcome one in seven would lose both
    difference = paired_difference(days, days, days, np.arange(100), 200, metrics=metric, outcome=rare)
    assert list(difference) == ["mean"]


def test_records_of_a_patient_are_drawn_together():
    labels, _, patient = cohort()
    weights = bootstrap_weights(patient, labels, replicates=50)
    for p in np.unique(patient):
        assert np.ptp(weights[patient == p], axis=0).max() == 0
    first = np.unique(patient, return_index=True)[1]
    np.testing.assert_array_equal(weights[first].sum(axis=0), len(first))  # as many patients as there are
    assert weights[first].std() == pytest.approx(1, abs=0.1)  # Poisson-like: drawn, not merely permuted


def test_no_class_vanishes():
    rng = np.random.default_rng(0)
    labels = (rng.random((300, 40)) < 0.01).astype(float)
    labels[:, 0] = 1
    labels[7, 0] = 0  # a single negative
    labels[:, 1] = labels[:, 2]  # the same class twice
    labels[rng.random(labels.shape) < 0.2] = np.nan
    labels[7, 0] = 0
    defined = ~undefined_classes(labels)
    assert 20 < defined.sum() < 40
    weights = bootstrap_weights(np.arange(300), labels, replicates=200)
    for r in range(200):
        assert not undefined_classes(labels[weights[:, r] > 0])[defined].any()


def test_same_seed_same_draws():
    labels, _, patient = cohort()
    np.testing.assert_array_equal(bootstrap_weights(patient, labels, 20, 3), bootstrap_weights(patient, labels, 20, 3))
    assert (bootstrap_weights(patient, labels, 20, 3) != bootstrap_weights(patient, labels, 20, 4)).any()


def test_text_patients_and_size_mismatch():
    labels, _, patient = cohort()
    named = np.array([f"p{p:04d}" for p in patient])
    np.testing.assert_array_equal(bootstrap_weights(named, labels, 5), bootstrap_weights(patient, labels, 5))
    with pytest.raises(ValueError, match="149 entries but labels 150"):
        bootstrap_weights(patient[1:], labels)


def test_point_is_the_metric_and_lies_inside():
    for seed in range(10):
        labels, scores, patient = cohort(60, seed)
        for name, metric in (("macro_auroc", macro_auroc), ("macro_auprc", macro_auprc)):
            found = bootstrap_metrics(labels, scores, patient, replicates=100)[name]
            assert found.mean == pytest.approx(metric(labels, scores))
            assert 0 <= found.low < found.mean < found.high <= 1


def test_interval_is_students_t_or_a_share_of_as_many_at_the_end():
    low, high = interval(3.0, Spread(2.0, 4.0), level=0.9)
    assert (low, high) == pytest.approx(stats.t.interval(0.9, 4, 3.0, 2.0))
    low, high = interval(0.9, Spread(0.05, 9.0), bounded=True)
    half = stats.t.ppf(0.975, 9) * 0.05 / 0.09
    assert (logit(low), logit(high)) == pytest.approx((logit(0.9) - half, logit(0.9) + half))
    share = stats.binomtest(10, 10).proportion_ci(method="exact")
    assert interval(1.0, Spread(0.0, 9.0), bounded=True) == pytest.approx((share.low, 1.0))
    assert interval(0.0, Spread(0.0, 9.0), bounded=True) == pytest.approx((0.0, 1 - share.low))
    with pytest.raises(ValueError, match="level=95: must lie between 0 and 1"):
        interval(0.5, Spread(0.1, 9.0), level=95)


def test_spread_is_the_sum_of_patients_and_seeds_with_degrees_of_freedom_between_theirs():
    alone = spread(4.0, 0.0, 0.0, 1, 9.0)
    assert (float(alone.error), float(alone.freedom)) == (2.0, 9.0)
    both = spread(4.0, 15.0, 0.0, 3, 9.0)
    assert both.error == pytest.approx(3.0)
    assert 2 <= both.freedom < 9
    assert spread(0.0, 15.0, 0.0, 3, 9.0).freedom == 2  # seeds alone: S - 1
    assert spread(4.0, 1e-9, 0.0, 5, 9.0).freedom == pytest.approx(9)
    assert spread(4.0, 15.0, 15.0, 3, 9.0).error == pytest.approx(2.0)  # patients explain why seeds differ


@pytest.mark.parametrize(("positives", "negatives"), [(9, 60), (60, 9), (10, 60), (60, 10)])
def test_nothing_is_judged_below_ten_patients_on_either_side(positives, negatives):
    patient = np.repeat(np.arange(positives + negatives), 3)  # three records each: patients are counted
    labels = (patient < positives).astype(float)[:, None]
    rng = np.random.default_rng(0)
    found = paired_difference(labels, labels + rng.normal(size=labels.shape), -labels, patient, 200)["macro_auroc"]
    assert (found.positives, found.negatives) == (positives, negatives)
    assert found.low > 0
    assert found.detectable > 0
    assert np.isnan(found.p_value) == (min(positives, negatives) < 10)


def test_support_of_an_average_and_of_nested_outcomes():
    labels = np.zeros((100, 3))
    labels[:5, 0] = labels[5:10, 1] = labels[10:40, 2] = 1
    one = support(np.arange(100), labels[:, :1])
    assert one[:4] == pytest.approx((5, 95, 5 / 4, 4))
    two = support(np.arange(100), labels[:, :2])
    assert two == pytest.approx((5, 95, 5 / 4, 8, False))
    assert support(np.arange(100), labels).freedom == pytest.approx(9.7, abs=0.1)  # the third hardly varies
    assert support(np.arange(100), labels).judged
    labels[0, 0] = np.nan
    assert support(np.arange(100), labels[:, :1]).positives == 4
    nested = np.column_stack([labels[:, 2], labels[:, 2] * (np.arange(100) < 18)])
    assert support(np.arange(100), nested, averaged=False)[:4] == pytest.approx((8, 92, 8 / 7, 7))
    alone = np.column_stack([labels[:, 2], np.arange(100) == 99])
    assert support(np.arange(100), alone).inflation == pytest.approx((1 / 30 + 1) / (29 / 900))
    with pytest.raises(ValueError, match="nothing to bootstrap"):
        support(np.arange(100), np.zeros((100, 2)))


def test_outcomes_that_are_no_labels_are_not_averaged_over():
    days = np.arange(100.0)[:, None]
    outcome = np.column_stack([np.arange(100) < 40, np.arange(100) < 12]).astype(float)
    assert Bootstrap(days, np.arange(100), 10, outcome=outcome).support.freedom == 11
    assert Bootstrap(outcome, np.arange(100), 10).support.freedom > 11
    assert Bootstrap(np.column_stack([outcome, days]), np.arange(100), 10, outcome=outcome).support.freedom > 11


def test_a_run_is_scored_once_for_all_intervals_and_differences():
    labels, scores, patient = cohort()
    calls = []

    def counted(*given):
        calls.append(1)
        return macro_metrics(*given)

    bootstrap = Bootstrap(labels, patient, 100, metrics=counted)
    a, b, c = (bootstrap.score(run) for run in (scores, scores[:, ::-1], -scores))
    assert bootstrap.intervals([a, b]) == bootstrap_metrics(labels, np.stack([scores, scores[:, ::-1]]), patient, 100)
    for other, same in ((b, scores[:, ::-1]), (c, -scores)):
        apart = paired_difference(labels, scores, same, patient, 100)
        assert {name: found[:3] for name, found in bootstrap.differences([a], [other]).items()} == {
            name: found[:3] for name, found in apart.items()
        }
    assert len(calls) == 3


def test_p_values_in_words():
    assert [format_p(value) for value in (0.0421, 0.0004, 1.0, np.nan)] == [
        "p 0.042",
        "p < 0.001",
        "p 1.000",
        "too few to judge",
    ]
    assert Spread(0.0, 9.0).p_value(0.3) == 0.5**9  # no spread among ten patients: a sign test
    assert Spread(0.0, 9.0).p_value(0.0) == 1


def test_coverage_of_a_known_auroc():
    truth = norm.cdf(1 / np.sqrt(2))  # two normals one standard deviation apart
    hits = 0
    for seed in range(150):
        rng = np.random.default_rng(seed)
        labels = (rng.random((100, 1)) < 0.4).astype(float)
        found = bootstrap_metrics(labels, rng.normal(size=(100, 1)) + labels, np.arange(100), 200, seed)["macro_auroc"]
        hits += found.low <= truth <= found.high
    assert 0.9 <= hits / 150 <= 0.99


def test_interval_ignoring_patients_is_too_narrow():
    labels, scores, patient = cohort(40)
    copies = [np.repeat(x, 8, axis=0) for x in (labels, scores, patient)]  # eight identical records a patient
    by_patient = bootstrap_metrics(*copies, replicates=300)["macro_auroc"]
    by_record = bootstrap_metrics(*copies[:2], np.arange(320), replicates=300)["macro_auroc"]
    assert by_patient.high - by_patient.low > 2 * (by_record.high - by_record.low)


def test_published_ptbxl_interval(published_scores):
    labels, scores = published_scores
    bootstrap = Bootstrap(labels, np.arange(len(labels)), 300)
    drawn = bootstrap.score(scores)["macro_auroc"]
    low, high = np.quantile(drawn, [0.05, 0.95])  # as it was published: percentiles
    assert low == pytest.approx(0.9185, abs=0.0015)
    assert high == pytest.approx(0.9315, abs=0.0015)
    found = bootstrap.intervals([{"macro_auroc": drawn}], level=0.9)["macro_auroc"]
    assert found.low < low  # 15 of the 71 classes have less than five positives
    assert high < found.high


def test_seeds_are_averaged_and_resampled():
    labels, scores, patient = cohort()
    rng = np.random.default_rng(1)
    runs = np.stack([scores, scores + 2 * rng.normal(size=scores.shape), scores + rng.normal(size=scores.shape)])
    found = bootstrap_metrics(labels, runs, patient, 300)["macro_auroc"]
    assert found.mean == pytest.approx(np.mean([macro_auroc(labels, run) for run in runs]))
    same = bootstrap_metrics(labels, np.stack([scores] * 3), patient, 300)["macro_auroc"]
    assert same == pytest.approx(bootstrap_metrics(labels, scores, patient, 300)["macro_auroc"])  # no spread to add


def test_seeds_that_differ_widen_the_interval_of_a_common_class():
    patient = np.arange(200)
    labels = (patient < 80).astype(float)[:, None]
    scores = np.random.default_rng(0).normal(size=labels.shape)
    runs = np.stack([scores + gain * labels for gain in (0.5, 1.0, 1.5)])
    one = bootstrap_metrics(labels, runs[1], patient, 300)["macro_auroc"]
    three = bootstrap_metrics(labels, runs, patient, 300)["macro_auroc"]
    assert three.high - three.low > 2 * (one.high - one.low)


def test_difference_of_identical_models_is_exactly_zero():
    labels, scores, patient = cohort()
    for same in (scores, np.stack([scores, -scores])):
        for found in paired_difference(labels, same, same, patient, 100).values():
            assert found[:3] == (0, 0, 0)
            assert found.detectable == 0
    common = labels[:, :2]
    for found in paired_difference(common, scores[:, :2], scores[:, :2], patient, 100).values():
        assert found.p_value == 1


def test_difference_is_antisymmetric_and_paired():
    labels, scores, patient = (part[..., :2] if part.ndim > 1 else part for part in cohort())
    worse = scores + 0.4 * np.random.default_rng(1).normal(size=scores.shape)
    ahead = paired_difference(labels, scores, worse, patient, 400)["macro_auroc"]
    behind = paired_difference(labels, worse, scores, patient, 400)["macro_auroc"]
    assert ahead.mean == pytest.approx(macro_auroc(labels, scores) - macro_auroc(labels, worse))
    assert (-behind.mean, -behind.high, -behind.low, behind.p_value) == pytest.approx(ahead[:4])
    assert behind.detectable == pytest.approx(ahead.detectable)
    alone = bootstrap_metrics(labels, scores, patient, 400)["macro_auroc"]
    assert ahead.high - ahead.low < 0.6 * (alone.high - alone.low)  # the shared patients cancel


def test_clear_difference_has_a_small_p_value():
    labels, scores, patient = (part[..., :2] if part.ndim > 1 else part for part in cohort(separation=2.0))
    found = paired_difference(labels, scores, np.random.default_rng(0).normal(size=scores.shape), patient, 400)
    assert found["macro_auroc"].low > 0
    assert found["macro_auroc"].p_value < 1e-4  # no floor of the draws


def test_unpaired_scores_are_refused():
    labels, scores, patient = cohort()
    with pytest.raises(ValueError, match="must be paired"):
        paired_difference(labels, np.stack([scores] * 3), scores, patient)
    with pytest.raises(ValueError, match="nothing to bootstrap"):
        bootstrap_metrics(np.zeros_like(labels), scores, patient)


@pytest.mark.parametrize("alone", [0, 1])
def test_an_interval_that_hangs_on_one_patient_is_not_given(alone, caplog):
    patient = np.repeat(np.arange(60), 2)
    labels = np.where(patient == 0, alone, 1 - alone)[:, None].astype(float)
    scores = np.random.default_rng(0).random((120, 1))
    intervals = bootstrap_metrics(labels, scores, patient, 50)
    for name, metric in (("macro_auroc", macro_auroc), ("macro_auprc", macro_auprc)):
        assert intervals[name].mean == pytest.approx(metric(labels, scores))
        assert np.isnan([intervals[name].low, intervals[name].high]).all()
    assert "no intervals: too few patients" in caplog.text
    difference = paired_difference(labels, scores, scores[::-1], patient, 50)["macro_auroc"]
    assert np.isnan([difference.low, difference.high]).all()
    assert np.isnan(difference.p_value)
    labels[patient == 1] = alone  # a second one
    found = bootstrap_metrics(labels, scores, patient, 50)["macro_auroc"]
    assert found.low < found.mean < found.high


def test_one_outcome_of_two_patients_is_enough_and_draws_stay_those_of_all():
    labels, scores, patient = cohort()
    alone = (patient == patient[0]).astype(float)
    with_alone = np.column_stack([labels, alone]), np.column_stack([scores, scores[:, 0]])
    found = bootstrap_metrics(*with_alone, patient, 100)["macro_auroc"]
    assert found.low < found.mean < found.high
    with pytest.raises(ValueError, match="149 entries but labels 150"):
        bootstrap_metrics(labels, scores, patient[1:])


def test_holm_worked_example():
    np.testing.assert_allclose(holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(holm([0.6, 0.5]), [1, 1])
    np.testing.assert_allclose(holm([np.nan, 0.01, 0.04, np.nan]), [np.nan, 0.02, 0.04, np.nan])  # two comparisons
    assert np.isnan(holm([np.nan])).all()
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        holm([0.5, 1.2])
