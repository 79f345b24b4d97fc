from __future__ import annotations

import pytest
import torch

from ssl_ecg.backbones import Encoder
from ssl_ecg.explain import ecg_figure, label_attention
from ssl_ecg.explain.step_times import steps_to_samples
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import Classifier, create_task


@pytest.fixture
def model() -> Classifier:
    torch.manual_seed(0)
    encoder = Encoder("xresnet1d10", {"width": 8}, SignalSettings(duration=5, min_duration=1))
    made = Classifier(encoder, create_task("arrhythmia", ("a", "b", "c")))
    torch.nn.init.normal_(made.head.weight)
    return made.eval()


def test_maps_are_those_of_the_steps_at_their_times(model: Classifier) -> None:
    signal, targets = torch.randn(3, 12, 500), torch.tensor([[1, 0, 0], [1, 0, 1], [0, 0, 0]])
    attention, response = label_attention(model, signal, targets)
    assert attention.shape == response.shape == (3, 500)
    steps, head = model.encoder.forward_steps(signal)[0].detach(), model.head.weight.detach()
    for record, classes in ((0, [0]), (1, [0, 2])):
        wanted = torch.stack([steps[record].abs().mean(1), (steps[record] @ head[classes].T).mean(1).clamp(min=0)])
        for found, expected in zip((attention, response), wanted, strict=True):
            at_samples = steps_to_samples(model.encoder.backbone, expected[None], 500)[0, 0]
            torch.testing.assert_close(found[record], at_samples)
    assert (response[2] == 0).all()
    assert not attention.requires_grad


def test_nothing_is_found_where_nothing_was_recorded(model: Classifier) -> None:
    signal, targets = torch.randn(2, 12, 500), torch.tensor([[1, 1, 1], [1, 1, 1]])
    attention, response = label_attention(model, signal, targets, torch.tensor([500, 300]))
    assert not attention[1, 300:].any()
    assert not response[1, 300:].any()
    assert (attention[0, 300:] > 0).all()


def test_they_can_be_drawn(model: Classifier) -> None:
    signal = torch.randn(1, 12, 500)
    for heat in label_attention(model, signal, torch.tensor([[1, 1, 0]])):
        assert ecg_figure(signal[0], model.encoder.leads, 100, heat[0]).axes


def test_a_model_in_training_mode_is_refused(model: Classifier) -> None:
    with pytest.raises(ValueError, match=r"model\.eval\(\)"):
        label_attention(model.train(), torch.randn(1, 12, 500), torch.zeros(1, 3))
