from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from scipy.optimize import minimize

from ssl_ecg.evaluation import auroc_at, bootstrap_metrics, brier_at, concordance_index, kaplan_meier, paired_difference
from ssl_ecg.tasks import create_task, discrete_survival_nll, encode_survival
from ssl_ecg.tasks.hazard_probe import HazardProbe

COLUMNS = ("time_days", "event", "prevalent")
OPTIONS: list[dict[str, Any]] = [{}, {"encoding": "ecg_ai"}, {"encoding": "ecg_ai", "prevalent": "bin"}]


def draw(records: int, seed: int = 0, width: int = 6) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Features, of which two decide, targets with prevalent AF and unknown follow-up, and the true log hazard."""
    rng = np.random.default_rng(seed)
    x = rng.normal(size=(records, width))
    log_hazard = np.log(0.06) + x[:, 0] - 0.7 * x[:, 1]
    onset, end = rng.exponential(365.25 / np.exp(log_hazard)), rng.uniform(1, 4000, records)
    prevalent = rng.random(records) < 0.1
    time = np.where(prevalent, 0, np.ceil(np.minimum(onset, end)))
    time[rng.random(records) < 0.05] = np.nan
    return x.astype(np.float32), np.column_stack([time, (onset <= end) | prevalent, prevalent]), log_hazard


@pytest.mark.parametrize("options", OPTIONS)
def test_loss_is_the_mean_likelihood_of_records_that_say_something(options: dict[str, Any]) -> None:
    task = create_task("af_survival", COLUMNS, **options)
    targets = draw(200)[1]
    columns = 25 + (task.options["encoding"] == "ecg_ai")
    logits = np.random.default_rng(1).normal(size=(200, columns))
    expected = []
    for phi, (time, event, prevalent) in zip(logits, targets, strict=True):
        if np.isnan(time) and not prevalent:
            continue
        if columns == 25:
            if prevalent:
                continue
            parts = encode_survival([time], [event], np.linspace(0, 1825, 26))
        else:
            if prevalent and task.options["prevalent"] == "exclude":
                continue
            event = event * (time <= 1825)
            parts = encode_survival([time], [event], np.linspace(0, 1898, 27), "ecg_ai", [prevalent])
        if any(part.any() for part in parts):
            expected.append(discrete_survival_nll(phi[None], *parts)[0])
    loss = task.loss(torch.tensor(logits), torch.tensor(targets, dtype=torch.float32))
    assert len(expected) == task.informative(targets).sum() < 200
    assert float(loss) == pytest.approx(np.mean(expected), rel=1e-5)


@pytest.mark.parametrize("options", OPTIONS)
def test_records_without_information_have_no_gradient(options: dict[str, Any]) -> None:
    task = create_task("af_survival", COLUMNS, **options)
    targets = torch.tensor([[torch.nan, 1, 0], [3, 0, 0], [0, 1, 1], [400, 1, 0], [2000, 1, 0]])
    logits = torch.randn(5, task.head(4).out_features, requires_grad=True)
    task.loss(logits, targets).backward()
    assert logits.grad is not None
    learnt = (logits.grad != 0).any(dim=1)
    # On day 3 a midpoint is not passed, but the ECG itself showed no AF.
    expected = [False, task.options["encoding"] == "ecg_ai", task.options["prevalent"] == "bin", True, True]
    assert learnt.tolist() == task.informative(targets.numpy()).tolist() == expected
    nothing = task.loss(logits, torch.full((5, 3), torch.nan))
    assert float(nothing.detach()) == 0


@pytest.mark.parametrize("options", OPTIONS)
def test_scores_are_survival_and_an_untrained_head_gives_all_the_same_low_risk(options: dict[str, Any]) -> None:
    task = create_task("af_survival", COLUMNS, **options)
    scores = task.scores(task.head(8)(torch.randn(3, 8))).detach().numpy()
    first = int(bool(options))
    assert scores.shape == (3, 25 + first)
    assert (np.diff(scores[:, first:]) < 0).all()
    assert scores[:, -1] == pytest.approx(0.9, abs=0.01)
    saturated = task.scores(torch.full((2, 25 + first), 1e4, dtype=torch.bfloat16))
    assert saturated.dtype == torch.float32
    assert (saturated == 0).all()


def test_outcomes_are_af_seen_and_status_at_the_horizon() -> None:
    task = create_task("af_survival", COLUMNS, horizon_days=1000)
    targets = np.array([[10, 1, 0], [1000, 0, 0], [999, 0, 0], [1001, 1, 0], [0, 1, 1], [np.nan, 0, 0], [5, np.nan, 0]])
    nan = np.nan
    expected = [[1, 1], [0, 0], [0, nan], [0, 0], [nan, nan], [nan, nan], [nan, nan]]
    np.testing.assert_array_equal(task.outcome(targets), expected)
    assert len(task.outcomes) == 2
    for wrong, message in (([-5, 0, 0], "time_days=-5"), ([5, 2, 0], "event=2"), ([5, 1, 0.5], "prevalent=0.5")):
        with pytest.raises(ValueError, match=message):
            task.outcome(np.array([wrong]))


def test_metrics_are_those_of_incident_af_up_to_the_horizon() -> None:
    task = create_task("af_survival", COLUMNS)
    targets = draw(300)[1]
    scores = np.sort(np.random.default_rng(1).random((300, 25)))[:, ::-1]
    known = (targets[:, 2] == 0) & ~np.isnan(targets[:, 0])
    time, event, risk = targets[known, 0], targets[known, 1], 1 - scores[known, -1]
    found = task.evaluate(targets, scores)
    assert next(iter(found)) == task.selection.name == "c_index"
    early = event * (time <= 1825)  # events after the horizon are not ranked, and no comparison needs them
    assert found["c_index"] == pytest.approx(concordance_index(np.minimum(time, 1825), early, risk)[0])
    assert found["auroc_at_horizon"] == pytest.approx(auroc_at(time, event, risk, 1825)[0])
    assert found["brier_at_horizon"] == pytest.approx(brier_at(time, event, 1 - risk[:, None], [1825])[0, 0])
    assert {"c_index_ipcw", "integrated_brier"} <= set(found)
    per_class = task.per_class(targets, scores).set_index("class")["auroc"]
    assert per_class["AF within 730 days"] == pytest.approx(auroc_at(time, event, 1 - scores[known, 9], 730)[0])
    assert per_class["AF within 1825 days"] == pytest.approx(found["auroc_at_horizon"])


def test_many_weightings_are_computed_piece_by_piece(monkeypatch: pytest.MonkeyPatch) -> None:
    task = create_task("af_survival", COLUMNS)
    targets, scores = draw(60)[1], np.sort(np.random.default_rng(1).random((60, 25)))[:, ::-1]
    weights = np.random.default_rng(2).integers(0, 3, (60, 7))
    whole = task.weighted_metrics(targets, scores, weights)
    monkeypatch.setattr("ssl_ecg.tasks.survival_task._CELLS", 150)
    for name, value in task.weighted_metrics(targets, scores, weights).items():
        np.testing.assert_allclose(value, whole[name])
        assert len(value) == 7


def test_undefined_metrics_are_left_out_or_refused() -> None:
    task = create_task("af_survival", COLUMNS)
    scores = np.linspace(0.9, 0.1, 3)[:, None] * np.ones((3, 25))
    found = task.evaluate(np.array([[100, 1, 0], [200, 1, 0], [300, 0, 0]]), scores[::-1])
    assert found["c_index"] == 1
    assert "auroc_at_horizon" not in found  # nobody is followed for five years
    with pytest.raises(ValueError, match="C-index is not defined: nobody is known to be free of the event for longer"):
        task.evaluate(np.array([[100, 0, 0], [200, 0, 0], [300, 0, 0]]), scores)
    with pytest.raises(ValueError, match="none of 1 records is known"):
        task.evaluate(np.array([[0, 1, 1]]), scores[:1])


def test_intervals_hold_their_point_and_tell_models_apart() -> None:
    task = create_task("af_survival", COLUMNS)
    _, targets, log_hazard = draw(500, seed=2)
    days = task.breaks[1:]
    truth = np.exp(-np.outer(np.exp(log_hazard), days) / 365.25)
    guess = np.exp(-np.outer(np.random.default_rng(0).permutation(np.exp(log_hazard)), days) / 365.25)
    given = {"metrics": task.weighted_metrics, "outcome": task.outcome(targets)}
    patient = np.arange(500) // 2
    found = bootstrap_metrics(targets, np.stack([truth, truth]), patient, 200, **given)
    for name, value in task.evaluate(targets, truth).items():
        assert found[name].mean == pytest.approx(value)
        assert found[name].low < found[name].mean < found[name].high
    differences = paired_difference(targets, truth, guess, patient, 200, **given)
    assert differences["c_index"].low > 0
    assert differences["brier_at_horizon"].high < 0
    assert differences["c_index"].p_value < 0.001


@pytest.mark.parametrize("options", OPTIONS)
def test_probe_comes_close_to_the_true_hazard(options: dict[str, Any]) -> None:
    task = create_task("af_survival", COLUMNS, **options)
    (x, y, _), (x_valid, y_valid, _), (x_test, y_test, log_hazard) = (
        draw(n, s) for s, n in enumerate((800, 400, 1000))
    )
    probe = task.fit_probe(x, y, x_valid, y_valid)
    scores = probe.scores(x_test)
    assert probe.validation_score == pytest.approx(task.evaluate(y_valid, probe.scores(x_valid))["c_index"])
    known = (y_test[:, 2] == 0) & ~np.isnan(y_test[:, 0])
    best = concordance_index(y_test[known, 0], y_test[known, 1], log_hazard[known], None, 1825)[0]
    assert best - 0.03 < task.evaluate(y_test, scores)["c_index"] <= best + 0.01
    head = task.head(x.shape[1])
    with torch.no_grad():
        head.weight.copy_(torch.from_numpy(probe.coef))
        head.bias.copy_(torch.from_numpy(probe.intercept))
        np.testing.assert_allclose(task.scores(head(torch.from_numpy(x_test))).numpy(), scores, atol=1e-4)


def test_probe_is_the_minimum_of_its_objective() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=(60, 3)) * [1, 10, 0.1] + 5
    z = (x - x.mean(axis=0)) / x.std(axis=0)
    time, event = rng.uniform(40, 219, 60), rng.random(60) < 0.6  # every record says something of an interval
    time[::10], event[::10] = 292, False  # so that the last interval has no event
    survived, event_bin = encode_survival(time, event, [0, 73, 146, 219, 292])
    assert not event_bin[:, 3].any()
    assert survived[:, 3].any()
    strength, bins = 0.5, 4
    mean = event_bin.sum() / (event_bin + survived).sum()
    rate = (event_bin.sum(axis=0) + mean) / ((event_bin + survived).sum(axis=0) + 1)
    base = np.log(rate / (1 - rate))

    def objective(flat: np.ndarray) -> float:
        shared, own, bias = flat[:3], flat[3 : 3 + 3 * bins].reshape(bins, 3), flat[-bins:]
        hazard = 1 / (1 + np.exp(-(z @ (shared + own).T + bias)))
        likelihood = (survived * np.log(1 - hazard) + event_bin * np.log(hazard)).sum()
        return -likelihood + ((shared**2).sum() + (own**2).sum() + ((bias - base) ** 2).sum()) / (2 * strength)

    best = minimize(objective, np.concatenate([np.zeros(3 + 3 * bins), base]), options={"gtol": 1e-4}).x
    expected = z @ (best[:3] + best[3 : 3 + 3 * bins].reshape(bins, 3)).T + best[-bins:]
    task = create_task("af_survival", COLUMNS, horizon_days=292.0, bins=4)
    targets = np.column_stack([time, event, np.zeros(60)])
    probe = HazardProbe(task, grid=[strength]).fit(x, targets, x, targets)
    logits = x @ probe.coef.T + probe.intercept
    np.testing.assert_allclose(logits, expected, atol=2e-3)
    np.testing.assert_allclose(probe.scores(x), np.cumprod(1 / (1 + np.exp(logits)), axis=1))


def test_strongly_penalised_probe_gives_everyone_the_survival_of_the_group() -> None:
    x, y, _ = draw(300)
    task = create_task("af_survival", COLUMNS)
    survived, event_bin = task.encode(torch.from_numpy(y))
    probe = HazardProbe(task, grid=[1e-9]).fit(x, y, x, y)
    hazard = event_bin.sum(0) / (survived + event_bin).sum(0)
    np.testing.assert_allclose(probe.scores(x), np.tile(np.cumprod(1 - hazard), (300, 1)), atol=0.02)


def test_tables_have_a_row_a_record_and_the_figures_behind_them() -> None:
    task = create_task("af_survival", COLUMNS, encoding="ecg_ai", prevalent="bin")
    targets = draw(200)[1]
    scores = np.sort(np.random.default_rng(0).random((200, 26)))[:, ::-1]
    tables = task.tables(targets, scores)
    predictions = tables["predictions"]
    assert len(predictions) == 200
    assert predictions["risk_at_horizon"].to_numpy() == pytest.approx(1 - scores[:, -1])
    assert predictions["survival_73"].to_numpy() == pytest.approx(scores[:, 1])
    assert predictions["survival_1825"].to_numpy() == pytest.approx(scores[:, -1])
    assert predictions["prevalent_score"].to_numpy() == pytest.approx(1 - scores[:, 0])
    known = (targets[:, 2] == 0) & ~np.isnan(targets[:, 0])
    assert tables["calibration"]["records"].sum() == known.sum()
    start = tables["kaplan_meier"].query("time == 0")
    assert (len(start), start["at_risk"].sum()) == (4, known.sum())
    risk = 1 - scores[known, -1]
    curve = tables["decision_curve"].set_index("threshold")
    np.testing.assert_allclose(curve["named"], [(risk >= cut).mean() for cut in curve.index])
    everyone = 1 - kaplan_meier(targets[known, 0], targets[known, 1], [1825])["survival"][0]
    np.testing.assert_allclose(curve["treat_all"], everyone - (1 - everyone) * curve.index / (1 - curve.index))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"classes": ("time", "event")}, r"classes=\['time', 'event'\].*time_days, event, prevalent"),
        ({"horizon_days": 0}, "horizon_days=0, bins=25: both must be above 0"),
        ({"bins": 0}, "bins=0"),
        ({"encoding": "cox"}, "encoding='cox'"),
        ({"prevalent": "keep"}, "prevalent='keep': choose one of exclude, bin"),
        ({"prevalent": "bin"}, "prevalent='bin', encoding='gensheimer': only"),
        ({"auxiliary": {"age": 1}}, "needs time_days, event, prevalent, age"),
        ({"auxiliary": {"height": 1}}, r"auxiliary=\['height'\]: choose among age, sex, prevalent"),
        ({"auxiliary": {"sex": -1}}, r"auxiliary=\{'sex': -1\}: weights must be at least 0"),
    ],
)
def test_impossible_options_are_named(given: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_task("af_survival", **{"classes": COLUMNS, **given})
    with pytest.raises(TypeError, match="horizon"):
        create_task("af_survival", COLUMNS, horizon=5)


def test_probe_without_an_event_to_learn_from_is_refused() -> None:
    task = create_task("af_survival", COLUMNS)
    x, y, _ = draw(100)
    y[:, 1] = 0
    with pytest.raises(ValueError, match=r"none of its \d+ records has an event within the horizon"):
        task.fit_probe(x, y, *draw(100, 1)[:2])


FOLLOW_UPS = {
    "all censored": (np.linspace(10, 3000, 40), np.zeros(40)),
    "all events": (np.linspace(10, 1800, 40), np.ones(40)),
    "all tied": (np.full(40, 400.0), np.arange(40) % 2),
    "all on the day of the ECG": (np.zeros(40), np.arange(40) % 2),
    "all at the horizon": (np.full(40, 1825.0), np.arange(40) % 2),
    "all after it": (np.full(40, 2500.0), np.ones(40)),
    "one record": (np.array([500.0]), np.ones(1)),
}
RANKED = {"all events", "all tied", "all on the day of the ECG", "all at the horizon"}


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("options", OPTIONS)
@pytest.mark.parametrize("name", FOLLOW_UPS)
def test_extreme_follow_up_has_a_finite_loss_and_metrics_or_none(name: str, options: dict[str, Any]) -> None:
    task = create_task("af_survival", COLUMNS, **options)
    time, event = FOLLOW_UPS[name]
    targets = np.column_stack([time, event, np.zeros(len(time))])
    logits = torch.randn(len(time), task.head(2).out_features, dtype=torch.float64, requires_grad=True)
    loss = task.loss(logits, torch.from_numpy(targets))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad is not None
    assert logits.grad.isfinite().all()
    scores = task.scores(logits.detach()).numpy()
    found = task.weighted_metrics(targets, scores, np.ones((len(time), 2)))
    assert np.isfinite(found["c_index"]).all() == (name in RANKED)
    assert all(((value >= 0) & (value <= 1) | np.isnan(value)).all() for value in found.values())
    tables = task.tables(targets, scores)
    assert tables["calibration"]["records"].sum() == len(time)
    assert tables["decision_curve"]["net_benefit"].notna().all()
    assert len(task.per_class(targets, scores)) == 3


def test_what_happens_on_the_day_of_the_ecg_and_on_that_of_the_horizon() -> None:
    targets = torch.tensor([[0, 1, 0], [0, 0, 0], [1825, 1, 0], [1825, 0, 0]], dtype=torch.float64)
    gensheimer, ecg_ai = (create_task("af_survival", COLUMNS, **options) for options in OPTIONS[:2])
    survived, event_bin = gensheimer.encode(targets)
    assert event_bin[0].nonzero().tolist() == [[0]]  # AF on the day of the ECG is of the first interval
    assert survived.sum(dim=1).tolist() == [0, 0, 25, 25]
    assert event_bin[2].sum() == 0  # the last interval ends before the day of the horizon
    survived, event_bin = ecg_ai.encode(targets)
    assert event_bin[0].nonzero().tolist() == [[0]]  # here this is the column of prevalent AF
    assert event_bin[2].nonzero().tolist() == [[25]]  # and the last interval ends with that day
    assert survived.sum(dim=1).tolist() == [0, 0, 25, 25]
    for task in (gensheimer, ecg_ai):
        assert task.informative(targets.numpy()).tolist() == [True, False, True, True]
        np.testing.assert_array_equal(task.outcome(targets.numpy()), [[1, 1], [0, np.nan], [1, 1], [0, 0]])


def test_probe_of_events_alone_and_of_ties_is_finite() -> None:
    x, _, log_hazard = draw(200)
    time = np.ceil(np.exp(-log_hazard) * 100).clip(1, 1800)
    for days in (time, np.full(200, 400.0)):
        targets = np.column_stack([days, days == days, np.zeros(200)])
        targets[:5, :2] = 2000, 0  # somebody must be free of AF for longer, or nothing could be ranked
        task = create_task("af_survival", COLUMNS)
        assert np.isfinite(task.fit_probe(x, targets, x, targets).coef).all()


def test_the_event_has_the_name_that_it_is_given() -> None:
    task = create_task("af_survival", None, event="death")
    assert task.outcomes == ("death", "death by the horizon")
    assert create_task("af_survival", task.classes, **task.options).options == task.options
    targets = np.array([[100.0, 1, 0], [2000, 0, 0], [400, 1, 0]])
    curves = np.linspace(1, [[0.5], [0.9], [0.4]], 25).T[0]
    assert task.per_class(targets, curves)["class"][0] == "death within 365 days"
    with pytest.raises(ValueError, match=r"event='': name what is predicted"):
        create_task("af_survival", None, event="")
