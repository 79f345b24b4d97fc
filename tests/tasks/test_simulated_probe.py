from __future__ import annotations

import numpy as np
import pytest
import torch

import ssl_ecg
from ssl_ecg.evaluation import auroc_per_class
from ssl_ecg.synthetic.simulator import meanings_of, simulate, simulated_labels
from ssl_ecg.tasks import create_task
from ssl_ecg.tasks.simulated_probe import STRENGTH, SimulatedProbe, probe_without_labels

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


def test_real_labels_choose_the_strength_and_nothing_else() -> None:
    encoder, task = ssl_ecg.load_encoder("synthetic"), create_task("arrhythmia", CLASSES)
    alone = {
        strength: SimulatedProbe(task, encoder, meanings_of(CLASSES), (strength,)) for strength in (1e-5, 1e-3, 10.0)
    }
    every = SimulatedProbe(task, encoder, meanings_of(CLASSES), tuple(alone))
    rng = np.random.default_rng(0)
    features = rng.standard_normal((60, every.features.shape[1])) + every.features.mean(0)
    for strength, probe in alone.items():  # real labels that agree best with one strength
        fitted = probe.choose(probe.features, probe.labels)
        scores = fitted.scores(features)
        targets = (scores > np.median(scores, axis=0)).astype(np.float32)
        targets[:, 2] = np.nan
        chosen = every.choose(features, targets)
        assert (chosen.C, chosen.validation_score) == (strength, 1)
        np.testing.assert_allclose(chosen.coef, fitted.coef, rtol=0.02, atol=0.02)


def test_a_task_of_which_nothing_is_known_is_refused() -> None:
    task = create_task("arrhythmia", ("SARRH",))
    with pytest.raises(ValueError, match=r"classes=SARRH: none has a known meaning"):
        SimulatedProbe(task, ssl_ecg.load_encoder("synthetic"), meanings_of(task.classes))
