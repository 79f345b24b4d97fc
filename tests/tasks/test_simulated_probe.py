from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import ssl_ecg
from ssl_ecg.backbones import Encoder
from ssl_ecg.evaluation import auroc_per_class
from ssl_ecg.synthetic.simulator import meanings_of, simulate, simulated_labels
from ssl_ecg.tasks import Probe, create_task, simulated_probe
from ssl_ecg.tasks.arrhythmia import Arrhythmia
from ssl_ecg.tasks.simulated_probe import (
    STRENGTH,
    known_meanings,
    knows_simulated_hearts,
    probe_without_labels,
    simulated_features,
    simulated_prior,
)

pytestmark = pytest.mark.slow

CLASSES = ("AFIB", "LBBB", "SARRH")


def test_it_tells_simulated_ecgs_apart_that_it_has_not_seen() -> None:
    encoder = ssl_ecg.load_encoder("synthetic")
    state = torch.get_rng_state()
    probe = probe_without_labels(create_task("arrhythmia", CLASSES), encoder, meanings_of(CLASSES))
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(5)
    ecgs = simulate(300, encoder.signal)
    with torch.no_grad():
        features = encoder(ecgs.signal).numpy()
    truth = simulated_labels(ecgs.conditions.bool(), CLASSES, meanings_of(CLASSES)).numpy()
    scores = probe.scores(features)
    assert probe.C == STRENGTH
    assert auroc_per_class(truth[:, :2], scores[:, :2]).min() > 0.9
    assert np.all(scores[:, 2] == 0.5), "what has no meaning is not told"


def test_a_task_of_which_nothing_is_known_is_refused() -> None:
    task = create_task("arrhythmia", ("SARRH",))
    with pytest.raises(ValueError, match=r"classes=SARRH: none has a known meaning"):
        probe_without_labels(task, ssl_ecg.load_encoder("synthetic"), meanings_of(task.classes))


def test_an_encoder_knows_simulated_hearts_from_what_it_or_its_start_learned() -> None:
    encoder = Encoder("xresnet1d10", {"width": 4}, ssl_ecg.load_encoder("synthetic").signal)
    joint = {"name": "joint", "parts": {"cmsc": {}, "simulation": {}}}
    for origin, known in (
        ({}, False),
        ({"settings": {"objective": {"name": "simulation"}}, "start": None}, True),
        ({"settings": {"objective": joint}}, True),
        ({"settings": {"objective": {"name": "cmsc"}}, "start": {"objective": "simulation", "weights": "1"}}, True),
        ({"objectives": ["cmsc", "cmsc", "simulation"]}, True),
        ({"settings": {"objective": {"name": "cmsc"}}, "start": {"objective": "cmsc", "weights": "1"}}, False),
    ):
        encoder.origin = origin
        assert knows_simulated_hearts(encoder) == known, origin


def test_there_is_no_prior_where_nothing_is_known() -> None:
    encoder = ssl_ecg.load_encoder("synthetic")
    assert simulated_prior(create_task("arrhythmia", ("SARRH",)), encoder) is None
    assert simulated_prior(create_task("af_survival", None), encoder) is None
    task = create_task("arrhythmia", ("AFIB", "mine"))
    assert simulated_prior(task, Encoder("xresnet1d10", {"width": 4}, encoder.signal)) is None
    prior = simulated_prior(task, encoder, {"mine": ["long_qt"]})
    assert prior is not None
    assert prior.coef.any(axis=1).all()
    with pytest.raises(ValueError, match=r"meanings=.*are no labels"):
        simulated_prior(task, encoder, {"other": ["long_qt"]})


@pytest.mark.parametrize(
    "origin",
    [
        {"start": "simulation"},
        {"start": ["simulation"]},
        {"settings": None},
        {"settings": {"objective": "simulation"}},
        {"settings": {"objective": {"name": ["simulation"], "parts": None}}},
        {"settings": {"objective": {"parts": [["simulation"]]}}},
        {"objectives": [["simulation"], 1, None]},
    ],
)
def test_an_origin_that_nobody_wrote_so_knows_nothing(origin: dict[str, Any]) -> None:
    encoder = Encoder("xresnet1d10", {"width": 4}, ssl_ecg.load_encoder("synthetic").signal)
    encoder.origin = origin
    assert not knows_simulated_hearts(encoder)


def test_a_probe_of_ones_own_has_no_prior() -> None:
    class Own(Arrhythmia):
        def fit_probe(self, *parts: Any) -> Probe:
            raise NotImplementedError

    assert known_meanings(Arrhythmia(("AFIB",)))
    assert not known_meanings(Own(("AFIB",)))


def test_an_encoder_comes_back_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(simulated_probe, "RECORDS", 250)
    encoder = Encoder("xresnet1d10", {"width": 4}, ssl_ecg.load_encoder("synthetic").signal).train()
    before = {name: value.clone() for name, value in encoder.state_dict().items()}
    features, _ = simulated_features(encoder)
    assert encoder.training
    assert all(torch.equal(before[name], value) for name, value in encoder.state_dict().items())
    np.testing.assert_array_equal(features, simulated_features(encoder.eval())[0])
