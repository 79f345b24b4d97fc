"""Models joined into one, against what their members say, by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ssl_ecg.backbones import Encoder, list_backbones, load_encoder
from ssl_ecg.deploy.program import export_onnx, export_program, largest_difference, run_onnx
from ssl_ecg.explain import grad_cam
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import Classifier, WindowSettings, create_task, fit_combination, join, load_model, save_classifier
from ssl_ecg.tasks.ensemble import Combination

SIGNAL = SignalSettings(duration=5, min_duration=4)


def member(
    seed: int, task: str = "arrhythmia", classes: tuple[str, ...] | None = ("a", "b"), **options: Any
) -> Classifier:
    backbone = options.pop("backbone", "xresnet1d10")
    signal, windows = options.pop("signal", SIGNAL), options.pop("windows", None)
    torch.manual_seed(seed)
    encoder = Encoder(backbone, {"width": 4 + 4 * (seed % 2)}, signal, {}, frozenset({str(seed)}))
    model = Classifier(encoder, create_task(task, classes, **options), windows).eval()
    nn.init.normal_(model.head.weight)
    return model


def ecgs(count: int = 6) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(9)
    leads = torch.rand(count, 12) < 0.8
    leads[:, 0] = True
    return torch.randn(count, 12, 500), torch.randint(400, 501, (count,)), leads


def logits_of(models: list[Classifier], signals: tuple[torch.Tensor, ...]) -> np.ndarray:
    with torch.inference_mode():
        return np.stack([model(*signals).double().numpy() for model in models])  # [M, n, C]


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def test_the_mean_is_that_of_standardised_logits_with_weights() -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(3, 40, 2)) * [[[1, 5]], [[2, 1]], [[1, 1]]] + 0.5
    targets = (logits.sum(0) + rng.normal(size=(40, 2)) > 1).astype(np.float32)
    task, weights = create_task("arrhythmia", ("a", "b")), (0.5, 0.3, 0.2)
    found = fit_combination(task, sigmoid(logits), targets, weights)
    joined = sum(w * (x - x.mean(0)) / x.std(0) for w, x in zip(weights, logits))
    inner = np.log(1 / (1 / found.scores(sigmoid(logits), task).astype(np.float64) - 1))
    for c in range(2):  # Platt's line
        slope, bias = np.polyfit(joined[:, c], inner[:, c], 1)
        assert slope > 0
        np.testing.assert_allclose(inner[:, c], slope * joined[:, c] + bias, atol=1e-4)
        np.testing.assert_allclose(bias, found.zero[c], atol=1e-4)
    # Where logistic regression has no penalty to speak of, means of probabilities are those of labels.
    np.testing.assert_allclose(found.scores(sigmoid(logits), task).mean(0), targets.mean(0), atol=1e-3)


def test_a_member_has_no_say_in_what_it_learned_from() -> None:
    rng = np.random.default_rng(0)
    logits, targets = rng.normal(size=(2, 30, 1)), (rng.random((30, 1)) < 0.5).astype(np.float32)
    scores = sigmoid(logits)
    scores[0, :10] = scores[1, 20:] = np.nan
    found = fit_combination(create_task("arrhythmia", ["a"]), scores, targets)
    for m, own in enumerate((slice(10, 30), slice(0, 20))):
        x = logits[m, own, 0]
        np.testing.assert_allclose(found.scale[m, 0] * x.std(), found.scale[0, 0] * logits[0, 10:, 0].std())
        np.testing.assert_allclose(found.shift[m, 0], found.zero[0] - found.scale[m, 0] * x.mean())


def test_any_is_positive_exactly_where_a_member_is() -> None:
    rng = np.random.default_rng(1)
    scores, targets = rng.random((3, 200, 2)), (rng.random((200, 2)) < 0.3).astype(np.float32)
    thresholds = rng.uniform(0.3, 0.9, (3, 2))
    task = create_task("arrhythmia", ("a", "b"))
    found = fit_combination(task, scores, targets, None, "any", thresholds)
    whole = found.scores(scores, task)
    decided = found.decided(task, targets, whole).decide(whole)
    assert np.array_equal(decided, (scores >= thresholds[:, None]).any(0))
    assert 0.05 < decided.mean() < 0.95


@pytest.mark.slow
@pytest.mark.parametrize("rule", ["mean", "any"])
def test_the_folder_of_an_ensemble_is_one_model(rule: str, tmp_path: Path) -> None:
    models = [member(0), member(1, backbone="time_spectrum")]
    rng, signals = np.random.default_rng(0), ecgs()
    parts = rng.random(2), *(rng.normal(size=(2, 2)) for _ in range(2))
    weight, scale, shift = parts[0] / parts[0].sum(), *parts[1:]
    whole = join(models, Combination(rule, weight, scale, shift, np.zeros(2)))
    opinions = logits_of(models, signals) * scale[:, None] + shift[:, None]
    wanted = opinions.max(0) if rule == "any" else (weight[:, None, None] * opinions).sum(0)
    with torch.inference_mode():
        np.testing.assert_allclose(whole.scores(*signals), sigmoid(wanted), atol=1e-5)
        judged = whole.judged(*signals).numpy()
    spread = np.sqrt(
        weight @ sigmoid(opinions).transpose(1, 0, 2) ** 2 - (weight @ sigmoid(opinions).transpose(1, 0, 2)) ** 2
    )
    np.testing.assert_allclose(judged[:, 3:], spread, atol=1e-5)
    assert whole.encoder.patients == {"0", "1"}

    loaded = load_model(save_classifier(whole, tmp_path / "model", "# A card\n"))
    assert np.array_equal(loaded.predict(*signals), whole.predict(*signals))
    with torch.inference_mode():
        features = torch.cat([model.encoder(*signals) for model in models], 1)
        torch.testing.assert_close(load_encoder(tmp_path / "model")(*signals), features)
    assert largest_difference(loaded, run_onnx(export_onnx(loaded, export_program(loaded)))) <= 1e-5


@pytest.mark.parametrize("rule", ["mean", "any"])
def test_the_map_of_an_ensemble_is_that_of_its_members(rule: str) -> None:
    models, signals, weight = [member(0), member(1, backbone="lead_wise")], ecgs(), np.array([0.25, 0.75])
    opinions = logits_of(models, signals)[..., 1]
    shift = np.array([[0.0, 0], [0, np.median(opinions[0] - opinions[1])]])
    whole = join(models, Combination(rule, weight, np.ones((2, 2)), shift, np.zeros(2)))
    signal, recorded, leads = signals
    maps = [grad_cam(model, signal, "b", None, False, recorded, leads).numpy() for model in models]
    maps = [one / np.maximum(one.mean(1, keepdims=True), 1e-12) for one in maps]
    wanted = 0.25 * maps[0] + 0.75 * maps[1]
    if rule == "any":
        first = opinions[0] > opinions[1] + shift[1, 1]
        assert set(first.tolist()) == {False, True}
        wanted = np.where(first[:, None], *maps)
    found = grad_cam(whole, signal, "b", None, False, recorded, leads).numpy()
    np.testing.assert_allclose(found, wanted, rtol=1e-3, atol=1e-4)


def test_survival_curves_are_averaged_in_the_folder_too() -> None:
    options = {"bins": 4, "encoding": "ecg_ai", "auxiliary": {"age": 1.0}}
    classes = ("time_days", "event", "prevalent", "age")
    models, signals = [member(n, "af_survival", classes, **options) for n in range(3)], ecgs()
    task = models[0].task
    curves = np.stack([model.predict(*signals) for model in models])
    found = fit_combination(task, curves, np.zeros((6, 4)), (0.2, 0.3, 0.5))
    wanted = 0.2 * curves[0] + 0.3 * curves[1] + 0.5 * curves[2]
    np.testing.assert_allclose(join(models, found).predict(*signals), wanted, atol=1e-5)
    np.testing.assert_allclose(found.scores(curves, task), wanted, atol=1e-5)


def test_members_without_weight_are_left_out() -> None:
    models = [member(0), member(1)]
    nothing = np.zeros((2, 2))
    whole = join(models, Combination("mean", np.array([0.0, 1.0]), nothing + 1, nothing, nothing[0]))
    np.testing.assert_allclose(whole.predict(*ecgs()), models[1].predict(*ecgs()), atol=1e-6)
    assert len(whole.encoder.backbone.members) == 1


def test_windows_are_scored_one_by_one() -> None:
    windows = WindowSettings(seconds=2.5)
    models = [member(n, windows=windows) for n in range(2)]
    nothing = np.zeros((2, 2))
    whole = join(models, Combination("mean", np.full(2, 0.5), nothing + 1, nothing, nothing[0]))
    signal = torch.randn(2, 12, 500)
    with torch.inference_mode():
        halves = [sum(m.head(m.encoder.backbone(*_crop(m, signal, n))) for m in models) / 2 for n in range(3)]
    np.testing.assert_allclose(whole.predict(signal), sigmoid(np.stack(halves).max(0)), atol=1e-5)


def _crop(model: Classifier, signal: torch.Tensor, number: int) -> tuple[torch.Tensor, ...]:
    whole, recorded, leads = model.encoder.prepare(signal)
    return whole[..., 125 * number : 125 * number + 250], recorded.clamp(max=250), leads


@pytest.mark.parametrize(
    ("other", "message"),
    [
        ({"classes": ("a", "c")}, "classes: a, b against a, c"),
        (
            {"signal": SignalSettings(duration=5, min_duration=4, sampling_rate=125)},
            "sampling_rate: 100.0 against 125.0",
        ),
        ({"windows": WindowSettings(seconds=2)}, "windows: "),
    ],
)
def test_models_that_differ_are_refused(other: dict[str, Any], message: str) -> None:
    nothing = np.zeros((2, 2))
    with pytest.raises(ValueError, match=f"models: the first and number 2 differ .*{message}"):
        join([member(0), member(1, **other)], Combination("mean", np.full(2, 0.5), nothing, nothing, nothing[0]))


def test_any_needs_labels_and_no_network_is_called_joined() -> None:
    task = create_task("af_survival", None, bins=2)
    with pytest.raises(ValueError, match="rule='any': task 'af_survival' decides nothing"):
        fit_combination(task, np.ones((2, 3, 2)), np.zeros((3, 3)), rule="any")
    assert "joined" not in list_backbones()


@pytest.mark.parametrize(
    ("file", "place", "value", "message"),
    [
        ("task.json", ("head", "rule"), "all", "rule='all': choose mean or, for labels, any"),
        ("task.json", ("head", "members"), ["linear"], "must be the heads of 2 networks"),
        ("task.json", ("head", "members"), [["linear"], 3], "head="),
        ("task.json", ("head",), {"members": []}, "must be members and rule, of joined networks"),
        ("config.json", ("backbone", "options", "members"), [], "an ensemble has at least one network"),
        ("config.json", ("backbone", "options", "members"), [3], "no encoder can be built from this config"),
        (
            "config.json",
            ("backbone", "options", "members", 0),
            {"name": "ecg_image", "options": {"weights": "x"}},
            "is for new networks alone",
        ),
        (
            "config.json",
            ("backbone", "options", "members", 1, "options", "width"),
            64,
            "asks for more than the|do not fit the config",
        ),
    ],
)
def test_forged_ensembles_are_refused(file: str, place: tuple, value: object, message: str, tmp_path: Path) -> None:
    nothing = np.zeros((2, 2))
    whole = join([member(0), member(1)], Combination("mean", np.full(2, 0.5), nothing, nothing, nothing[0]))
    path = save_classifier(whole, tmp_path, "card") / file
    config = json.loads(path.read_text(encoding="utf-8"))
    inner = config
    for name in place[:-1]:
        inner = inner[name]
    inner[place[-1]] = value
    path.write_text(json.dumps(config), encoding="utf-8")
    with pytest.raises(ValueError, match=message):
        load_model(tmp_path)
