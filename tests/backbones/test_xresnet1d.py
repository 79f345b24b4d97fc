from __future__ import annotations

import pytest
import torch
from torch import nn

from ssl_ecg.backbones import create_backbone


def small(name: str = "xresnet1d10", **options: object) -> nn.Module:
    torch.manual_seed(0)
    return create_backbone(name, **{"width": 4, **options})


@pytest.mark.parametrize("pooling", ["mean", "max", "mean_max"])
def test_poolings(pooling: str) -> None:
    backbone = small(pooling=pooling).eval()
    features = torch.randn(2, 7, 32)
    parts = {"mean": [features.mean(1)], "max": [features.max(1).values]}
    parts["mean_max"] = parts["mean"] + parts["max"]
    assert torch.equal(backbone.pool(features), torch.cat(parts[pooling], 1))
    assert backbone(torch.randn(2, 12, 100)).shape == (2, backbone.width)
    assert backbone.width == (64 if pooling == "mean_max" else 32)


def test_options_change_the_network() -> None:
    def count(**options: object) -> int:
        return sum(p.numel() for p in small(**options).parameters())

    assert count(kernel=7) > count() > count(width=2)
    assert count(depths=(1, 1, 1, 1, 1)) > count() > count(depths=(1, 1))
    # Stem 2, pool 2, and one halving a stage after the first.
    assert small(depths=(1, 1)).forward_features(torch.randn(1, 12, 80)).shape[1] == 10
    assert small().forward_features(torch.randn(1, 12, 320)).shape[1] == 10


@pytest.mark.parametrize("name", ["xresnet1d18", "se_resnet1d18"])
def test_a_block_starts_as_its_shortcut(name: str) -> None:
    block = small(name).stages[0][1].eval()
    x = torch.rand(1, 4, 20)
    with torch.no_grad():
        assert torch.equal(block(x), x)


def test_a_shortcut_averages_pairs_and_keeps_the_last_sample_of_an_odd_length() -> None:
    pool = small().stages[1][0].shortcut[0]
    assert pool(torch.arange(7.0)[None, None]).tolist() == [[[0.5, 2.5, 4.5, 6.0]]]


@pytest.mark.parametrize("name", ["xresnet1d18", "se_resnet1d18"])
def test_the_narrowest_network_has_a_stem(name: str) -> None:
    assert small(name, width=1)(torch.randn(2, 12, 100)).shape == (2, 8)


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="kernel=4"):
        small(kernel=4)
    with pytest.raises(ValueError, match=r"pooling='median'.*mean_max"):
        small(pooling="median")
    with pytest.raises(ValueError, match=r"signal \(12, 100\)"):
        small()(torch.zeros(12, 100))
