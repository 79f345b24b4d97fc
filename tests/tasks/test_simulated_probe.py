from __future__ import annotations

import numpy as np
import pytest
import torch

import ssl_ecg
from ssl_ecg.backbones import Encoder
from ssl_ecg.evaluation import auroc_per_class
from ssl_ecg.synthetic.simulator import meanings_of, simulate, simulated_labels
from ssl_ecg.tasks import create_task
from ssl_ecg.tasks.simulated_probe import STRENGTH, knows_simulated_hearts, probe_without_labels, simulated_prior

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
    chain = {"objective": "cmsc", "weights": "1", "start": {"objective": "simulation", "weights": "2"}}
    for origin, known in (
        ({}, False),
        ({"settings": {"objective": {"name": "simulation"}}, "start": None}, True),
        ({"settings": {"objective": joint}}, True),
        ({"settings": {"objective": {"name": "cmsc"}}, "start": chain}, True),
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
