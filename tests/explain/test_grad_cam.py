from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ssl_ecg.backbones import Encoder, create_backbone, list_backbones
from ssl_ecg.explain import grad_cam
from ssl_ecg.explain.step_times import steps_to_samples
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import create_task
from ssl_ecg.tasks.classifier import Classifier

SIGNAL = SignalSettings(duration=5.0, min_duration=1)
SMALL: dict[str, dict[str, Any]] = {
    "attention_pooled": {"steps_of": "xresnet1d10", "width": 8},
    "bimodal_vit": {"width": 8, "depth": 1, "joint_depth": 1, "heads": 2, "samples": 500},
    "clocs": {"width": 8},
    "ecg_image": {"network": "test_resnet", "lead_height": 32},
    "lead_wise": {"single": "xresnet1d10", "width": 8},
    "s4d": {"width": 8, "depth": 2},
    "spectral_image": {"network": "test_resnet", "lowest": 0.04},
    "vit1d": {"width": 8, "depth": 1, "heads": 2, "samples": 500},
    "vit1d_lead": {"width": 8, "depth": 1, "heads": 2, "samples": 500},
}
BY_LEAD = {"ecg_image", "lead_wise", "vit1d_lead"}
# One of each family: those left out differ in depth alone.
BACKBONES = [name for name in list_backbones() if name not in {f"xresnet1d{depth}" for depth in (18, 34, 50, 101)}]
BACKBONES = [name for name in BACKBONES if name not in {"se_resnet1d34", "se_resnet1d50", "xresnet1d101_ptbxl"}]


def model(name: str = "xresnet1d10", **options: Any) -> Classifier:
    torch.manual_seed(0)
    encoder = Encoder(name, {**SMALL.get(name, {"width": 8}), **options}, SIGNAL)
    made = Classifier(encoder, create_task("arrhythmia", ("a", "b")))
    torch.nn.init.normal_(made.head.weight)
    with torch.no_grad():
        for _ in range(20):  # so that batch norms have statistics, and features of both signs
            made.train()(torch.randn(4, 12, 500))
    return made.eval()


@pytest.mark.parametrize("name", BACKBONES)
def test_maps_of_every_backbone_are_of_the_samples_and_not_negative(name: str) -> None:
    explained, signal = model(name), torch.randn(2, 12, 500)
    explained.head.weight.data.abs_()  # so that features without a sign speak for both classes
    before = [parameter.clone() for parameter in explained.parameters()]
    heat, by_lead = (grad_cam(explained, signal, "b", by_lead=leads) for leads in (False, True))
    assert heat.shape == (2, 500)
    assert by_lead.shape == (2, 12, 500)
    assert by_lead.isfinite().all()
    assert by_lead.min() >= 0
    assert by_lead.max() > 0
    torch.testing.assert_close(by_lead.mean(1), heat)
    assert (by_lead == by_lead[:, :1]).all() == (name not in BY_LEAD)
    assert not heat.requires_grad
    assert all(torch.equal(now, then) for now, then in zip(explained.parameters(), before, strict=True))


def test_with_mean_pooling_the_map_is_the_features_weighted_by_the_head() -> None:
    explained, signal = model(), torch.randn(2, 12, 500)
    with torch.no_grad():
        steps = explained.encoder.forward_steps(signal)[0].numpy()  # [B, N, D']
    count = steps.shape[1]
    assert count == 16
    expected = np.maximum(steps @ explained.head.weight[1].detach().numpy() / count, 0)
    for heat, values in zip(grad_cam(explained, signal, 1).numpy(), expected, strict=True):
        np.testing.assert_allclose(heat, np.interp(np.arange(500), 32 * np.arange(count), values), rtol=1e-4, atol=1e-6)


def test_an_earlier_layer_gives_finer_steps() -> None:
    explained, signal = model(), torch.randn(1, 12, 500)
    layer = explained.encoder.backbone.stages[0]
    seen: list[torch.Tensor] = []
    watching = layer.register_forward_hook(lambda _, __, output: seen.append(output))
    logit = explained(signal)[0, 0]
    (gradient,) = torch.autograd.grad(logit, seen)
    watching.remove()
    weights, features = gradient.mean(2)[0], seen[0][0].detach()
    expected = (weights[:, None] * features).sum(0).clamp(min=0).numpy()
    assert len(expected) == 125
    heat = grad_cam(explained, signal, "a", layer)[0].numpy()
    np.testing.assert_allclose(heat, np.interp(np.arange(500), 4 * np.arange(125), expected), rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("name", BACKBONES)
def test_steps_lie_where_the_signal_moves_them(name: str) -> None:
    torch.manual_seed(0)
    backbone = create_backbone(name, **SMALL.get(name, {"width": 8})).eval()
    for module in backbone.modules():  # branches of residual blocks start closed
        if isinstance(module, nn.BatchNorm1d):
            nn.init.ones_(module.weight)
    samples = 3000 if name == "clocs" else 1000
    signal = torch.randn(1, 12, samples)
    lead, disturbed, errors = 1, [], []
    places = np.linspace(0.3, 0.7, 9) * samples
    for place in places.round().astype(int):
        changed = signal.clone()
        changed[:, lead, place - 2 : place + 3] += 4
        disturbed.append(changed[0])
    with torch.no_grad():
        features = backbone.forward_features(torch.cat([signal, torch.stack(disturbed)]))
        effect = (features[1:] - features[:1]).square().sum(2)
    effect = steps_to_samples(backbone, effect, samples)
    rows = effect.mean(2)
    if name in BY_LEAD:
        assert (rows.argmax(1) == lead).all()
    stride = samples / features.shape[1] * (12 if name in {"lead_wise", "vit1d_lead"} else 1)
    stride = max({"ecg_image": 64, "bimodal_vit": 10}.get(name, stride), 10)
    for place, values in zip(places, effect[:, lead if name in BY_LEAD else 0], strict=True):
        near = values > values.max() / 2
        errors.append(float((values * near * torch.arange(samples)).sum() / (values * near).sum()) - place)
    assert np.abs(errors).max() < 1.5 * stride
    # Pooling over pairs of steps in shortcuts shifts them by up to half a step.
    assert abs(np.mean(errors)) < 0.75 * stride


def test_a_missing_lead_speaks_for_nothing() -> None:
    for name in BY_LEAD:
        signal, leads = torch.randn(2, 12, 500), torch.ones(2, 12, dtype=torch.bool)
        leads[:, 6] = False
        heat = grad_cam(model(name), signal, "a", by_lead=True, leads=leads)
        assert (heat[:, 6] == 0).all()
        assert (heat.amax((1, 2)) > 0).all()


def test_the_sum_of_all_outputs_can_be_explained() -> None:
    explained, signal = model(), torch.randn(2, 12, 500)
    both = grad_cam(explained, signal)
    with torch.no_grad():
        explained.head.weight[0] += explained.head.weight[1]
    torch.testing.assert_close(both, grad_cam(explained, signal, 0))


def test_what_cannot_be_explained_is_named() -> None:
    with pytest.raises(ValueError, match="target='c': choose one of a, b"):
        grad_cam(model(), torch.zeros(1, 12, 500), "c")
    with pytest.raises(ValueError, match="training mode"):
        grad_cam(model().train(), torch.zeros(1, 12, 500), "a")
