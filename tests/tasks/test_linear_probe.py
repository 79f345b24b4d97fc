import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.special import expit, logit
from scipy.stats import bernoulli, norm
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ssl_ecg.evaluation import macro_auroc
from ssl_ecg.tasks import LinearProbe, create_task

TASK = create_task("arrhythmia", ("af", "lbbb", "pvc"))


def features(records=160, width=24, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(records, width)) * rng.uniform(0.1, 10, width) + rng.normal(size=width) * 5
    direction = rng.normal(size=(width, 3)) / x.std(axis=0)[:, None] / np.sqrt(width)
    y = ((x - x.mean(axis=0)) @ direction + 0.7 * rng.normal(size=(records, 3)) > 0.4).astype(float)
    return x[: records // 2], y[: records // 2], x[records // 2 :], y[records // 2 :]


def test_agrees_with_sklearn_at_the_best_strength():
    x, y, x_valid, y_valid = features()
    probe = LinearProbe(TASK).fit(x, y, x_valid, y_valid)

    def direct(strength):
        model = make_pipeline(StandardScaler(), LogisticRegression(C=strength, tol=1e-8, max_iter=10000))
        return np.stack([model.fit(x, y[:, c]).predict_proba(x_valid)[:, 1] for c in range(3)], axis=1)

    macro = {strength: macro_auroc(y_valid, direct(strength)) for strength in probe.grid}
    assert probe.validation_score == pytest.approx(max(macro.values()), abs=2e-3)
    assert macro[probe.C] == pytest.approx(max(macro.values()), abs=2e-3)
    np.testing.assert_allclose(probe.scores(x_valid), direct(probe.C), atol=1e-3)


def test_weights_are_in_the_feature_space():
    x, y, x_valid, y_valid = features()
    probe = LinearProbe(TASK).fit(x, y, x_valid, y_valid)
    assert probe.coef.shape == (3, 24)
    assert probe.intercept.shape == (3,)
    logits = x_valid @ probe.coef.T + probe.intercept
    np.testing.assert_allclose(probe.scores(x_valid), 1 / (1 + np.exp(-logits)))
    assert macro_auroc(y_valid, logits) == pytest.approx(probe.validation_score)


def test_unknown_labels_leave_their_record_out():
    x, y, x_valid, y_valid = features()
    holes = y.copy()
    holes[:30, 1] = np.nan
    probe = LinearProbe(TASK, grid=[0.1]).fit(x, holes, x_valid, y_valid)
    scaler = StandardScaler().fit(x)  # unlabelled records still tell the scale
    model = LogisticRegression(C=0.1, tol=1e-8, max_iter=10000).fit(scaler.transform(x[30:]), y[30:, 1])
    expected = model.predict_proba(scaler.transform(x_valid))[:, 1]
    np.testing.assert_allclose(probe.scores(x_valid)[:, 1], expected, atol=1e-4)


def test_undetermined_labels_are_named_and_predict_their_base_rate():
    x, y, x_valid, y_valid = features()
    y[:, 0], y[:, 2] = 0, 1
    probe = LinearProbe(TASK).fit(x, y, x_valid, y_valid)
    assert probe.undetermined == ["af", "pvc"]
    np.testing.assert_allclose(probe.scores(x_valid)[:, 0], 0.5 / 81)
    np.testing.assert_allclose(probe.scores(x_valid)[:, 2], 80.5 / 81)
    assert probe.validation_score == pytest.approx(macro_auroc(y_valid[:, [1]], probe.scores(x_valid)[:, [1]]))


def test_equal_strengths_go_to_the_stronger_regularisation():
    x = np.array([[-2.0], [-1.0], [1.0], [2.0]])  # one feature: every C ranks alike
    y = np.array([[0.0], [0.0], [1.0], [1.0]])
    probe = LinearProbe(TASK, grid=[10, 1e-4, 1]).fit(x, y, x, y)
    assert probe.C == 1e-4
    assert probe.validation_score == 1


def test_few_records_of_wide_features():
    rng = np.random.default_rng(0)
    y = (rng.random((313, 2)) < 0.4).astype(float)
    y[:2] = [[0, 0], [1, 1]]
    x = rng.normal(size=(313, 512)) + 0.4 * y[:, [0]] - 0.4 * y[:, [1]] * np.sign(rng.normal(size=512))
    probe = LinearProbe(TASK).fit(x[:13], y[:13], x[13:], y[13:])
    assert 1e-5 <= probe.C <= 10
    assert probe.validation_score > 0.8


def test_bad_input_is_named():
    x, y, x_valid, y_valid = features()
    with pytest.raises(ValueError, match="validation_x must be finite"):
        LinearProbe(TASK).fit(x, y, np.full_like(x_valid, np.nan), y_valid)
    with pytest.raises(ValueError, match="agree in records and features"):
        LinearProbe(TASK).fit(x, y[1:], x_valid, y_valid)
    with pytest.raises(ValueError, match="C cannot be chosen"):
        LinearProbe(TASK).fit(x, y, x_valid, np.zeros_like(y_valid))
    with pytest.raises(ValueError, match="23 features, but the probe was fitted on 24"):
        LinearProbe(TASK).fit(x, y, x_valid, y_valid).scores(x[:, 1:])
    with pytest.raises(ValueError, match="positive inverse"):
        LinearProbe(TASK, grid=[0.0, 1.0])


class Told:
    """A probe that says the same of every training."""

    def __init__(self, coef):
        self.coef = coef


def test_labels_pull_a_probe_away_from_its_prior():
    x, y, x_valid, y_valid = features()
    prior = Told(np.random.default_rng(1).normal(size=(3, 24)) / x.std(axis=0))
    weak, strong = (LinearProbe(TASK, [C], prior).fit(x, y, x_valid, y_valid) for C in (1e-9, 1e9))
    spread = (x @ prior.coef.T).std(axis=0)
    np.testing.assert_allclose(weak.coef, prior.coef / spread[:, None], rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(expit(x @ weak.coef.T + weak.intercept).mean(axis=0), y.mean(axis=0), atol=1e-5)
    plain = LinearProbe(TASK, [1e9]).fit(x, y, x_valid, y_valid)
    lbbb = strong.scores(x_valid)[:, 1]  # the others are told apart without an error, in more than one way
    np.testing.assert_allclose(lbbb, plain.scores(x_valid)[:, 1], atol=1e-3)


def test_the_prior_is_the_mean_of_the_weights_and_the_strength_their_variance():
    x, y, x_valid, y_valid = features()
    prior = Told(np.random.default_rng(1).normal(size=(3, 24)) / x.std(axis=0))
    probe = LinearProbe(TASK, [0.3], prior).fit(x, y, x_valid, y_valid)
    scaler = StandardScaler().fit(x)
    z = scaler.transform(x)
    mean = prior.coef[0] * scaler.scale_ / (x @ prior.coef[0]).std()

    def posterior(parameters):
        logits = z @ parameters[:-1] + parameters[-1]
        likelihood = bernoulli.logpmf(y[:, 0].astype(int), expit(logits)).sum()
        return -likelihood - norm.logpdf(parameters[:-1], mean, np.sqrt(0.3)).sum()

    found = minimize(posterior, np.zeros(25), method="BFGS", options={"gtol": 1e-4}).x
    np.testing.assert_allclose(probe.coef[0] * scaler.scale_, found[:-1], atol=1e-3)
    assert probe.intercept[0] == pytest.approx(found[-1] - probe.coef[0] @ scaler.mean_, abs=1e-3)


def test_a_label_that_training_does_not_determine_is_ranked_by_the_prior():
    x, y, x_valid, y_valid = features()
    y[:, 0], y[:, 2] = 0, np.nan
    prior = Told(np.array([[1.0] * 24, [1.0] * 24, [0.0] * 24]))
    probe = LinearProbe(TASK, prior=prior).fit(x, y, x_valid, y_valid)
    assert probe.undetermined == ["pvc"], "of which neither says anything"
    np.testing.assert_allclose(probe.coef[0], 1 / x.sum(axis=1).std(), rtol=1e-9)
    assert probe.intercept[0] + probe.coef[0] @ x.mean(axis=0) == pytest.approx(logit(0.5 / 81))
    assert (probe.scores(x_valid)[:, 2] == 0.5).all()


def test_a_feature_that_training_does_not_see_vary_decides_nothing():
    x, y, x_valid, y_valid = features()
    x[:, 5] = 1
    probe = LinearProbe(TASK, prior=Told(np.ones((3, 24)))).fit(x, y, x_valid, y_valid)
    assert not probe.coef[:, 5].any()
