from __future__ import annotations

import re

import pytest
import torch
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from torch import nn

from ssl_ecg.backbones import create_backbone, list_backbones

BACKBONES = list_backbones()


def small(name: str, in_leads: int = 12, **options: object) -> nn.Module:
    torch.manual_seed(0)
    return create_backbone(name, in_leads=in_leads, **{"width": 4, **options})


def test_the_family_is_there() -> None:
    assert {"xresnet1d10", "xresnet1d18", "xresnet1d34", "xresnet1d50", "xresnet1d101"} <= set(BACKBONES)
    assert sorted(BACKBONES) == BACKBONES


@pytest.mark.parametrize("name", BACKBONES)
def test_forward_is_the_pooled_features_for_any_leads_and_length(name: str) -> None:
    for leads, samples in [(1, 100), (3, 333), (12, 250)]:
        backbone = small(name, leads).eval()
        signal = torch.randn(2, leads, samples)
        with torch.inference_mode():
            features = backbone.forward_features(signal)
            pooled = backbone(signal)
        assert backbone.in_leads == leads
        assert features.ndim == 3
        assert features.shape[0] == 2
        assert pooled.shape == (2, backbone.width)
        assert torch.equal(pooled, backbone.pool(features))
        assert pooled.isfinite().all()
        assert pooled.std() > 0


@pytest.mark.parametrize("name", BACKBONES)
def test_every_parameter_receives_a_gradient(name: str) -> None:
    backbone = small(name)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm1d):  # the last norm of a branch starts at zero and hides the branch
            nn.init.ones_(module.weight)
    weights = torch.randn(4, backbone.width)
    (backbone(torch.randn(4, 12, 200)) * weights).sum().backward()
    without = [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert without == []


@pytest.mark.parametrize("name", BACKBONES)
def test_in_eval_mode_a_record_does_not_depend_on_its_batch(name: str) -> None:
    backbone = small(name)
    signal = torch.randn(4, 12, 200)
    with torch.no_grad():
        backbone(signal)  # batch norms now have statistics of their own
        backbone.eval()
        alone = torch.cat([backbone(record[None]) for record in signal])
        signal_of_others = torch.cat([signal[:1], 100 * torch.randn(3, 12, 200)])
        torch.testing.assert_close(backbone(signal), alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(backbone(signal_of_others)[:1], alone[:1], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", BACKBONES)
@pytest.mark.parametrize("coarse", [False, True])
def test_group_matcher_covers_every_parameter_from_input_to_output(name: str, coarse: bool) -> None:
    backbone = small(name)
    patterns = [p for pattern in backbone.group_matcher(coarse).values() for p in _patterns(pattern)]
    assert [n for n, _ in backbone.named_parameters() if not any(re.match(p, n) for p in patterns)] == []
    layer = group_parameters(backbone, backbone.group_matcher(coarse), reverse=True)
    assert set(layer) == {n for n, _ in backbone.named_parameters()}
    order = [layer[n] for n, _ in backbone.named_parameters()]
    assert order == sorted(order)  # parameters are defined from input to output
    assert len(set(order)) >= 3


def _patterns(pattern: object) -> list[str]:
    return [pattern] if isinstance(pattern, str) else [p for p, _ in pattern]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", BACKBONES)
def test_timm_decays_learning_rates_towards_the_input(name: str) -> None:
    backbone = small(name)
    groups = param_groups_layer_decay(backbone, weight_decay=0.1, layer_decay=0.5)
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    scales = [scale[id(p)] for p in backbone.parameters()]
    assert len(set(scales)) >= 3
    assert scales == sorted(scales)
    assert scales[0] < scales[-1] <= 1
    assert all(group["weight_decay"] == 0 for group in groups if group["params"][0].ndim == 1)


@pytest.mark.parametrize("pooling", ["mean", "max", "mean_max"])
def test_poolings(pooling: str) -> None:
    backbone = small("xresnet1d10", pooling=pooling).eval()
    features = torch.randn(2, 7, 32)
    parts = {"mean": [features.mean(1)], "max": [features.max(1).values]}
    parts["mean_max"] = parts["mean"] + parts["max"]
    assert torch.equal(backbone.pool(features), torch.cat(parts[pooling], 1))
    assert backbone(torch.randn(2, 12, 100)).shape == (2, backbone.width)
    assert backbone.width == (64 if pooling == "mean_max" else 32)


def test_options_change_the_network() -> None:
    def count(**options: object) -> int:
        return sum(p.numel() for p in small("xresnet1d10", **options).parameters())

    assert count(kernel=7) > count() > count(width=2)
    assert count(depths=(1, 1, 1, 1, 1)) > count() > count(depths=(1, 1))
    # Stem 2, pool 2, and one halving a stage after the first.
    assert small("xresnet1d10", depths=(1, 1)).forward_features(torch.randn(1, 12, 80)).shape[1] == 10
    assert small("xresnet1d10").forward_features(torch.randn(1, 12, 320)).shape[1] == 10


def test_starts_as_its_shortcuts_and_the_same_seed_gives_the_same_weights() -> None:
    one, other = small("xresnet1d18"), small("xresnet1d18")
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    block = one.stages[0][1].eval()
    x = torch.rand(1, 4, 20)
    with torch.no_grad():
        assert torch.equal(block(x), x)


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"backbone='resnet5'.*xresnet1d10"):
        create_backbone("resnet5")
    with pytest.raises(TypeError, match="widht"):
        create_backbone("xresnet1d10", widht=8)
    with pytest.raises(ValueError, match="in_leads=0"):
        create_backbone("xresnet1d10", in_leads=0)
    with pytest.raises(ValueError, match="kernel=4"):
        create_backbone("xresnet1d10", kernel=4)
    with pytest.raises(ValueError, match=r"pooling='median'.*mean_max"):
        create_backbone("xresnet1d10", pooling="median")
    with pytest.raises(ValueError, match=r"signal \(2, 3, 100\).*12 leads"):
        small("xresnet1d10")(torch.zeros(2, 3, 100))
    with pytest.raises(ValueError, match=r"signal \(12, 100\)"):
        small("xresnet1d10")(torch.zeros(12, 100))
