from __future__ import annotations

import pytest
import torch
from torch import nn

from ssl_ecg.backbones import create_backbone


def small(name: str = "xresnet1d10", **options: object) -> nn.Module:
    torch.manual_seed(0)
    return create_backbone(name, **{"width": 4, **options})


@pytest.mark.parametrize("pooling", ["mean", "max", "mean_max", "mean_max_std"])
def test_poolings(pooling: str) -> None:
    backbone = small(pooling=pooling).eval()
    features = torch.randn(2, 7, 32)
    parts = {"mean": [features.mean(1)], "max": [features.max(1).values]}
    parts["mean_max"] = parts["mean"] + parts["max"]
    parts["mean_max_std"] = [*parts["mean_max"], features.std(1, correction=0)]
    torch.testing.assert_close(backbone.pool(features), torch.cat(parts[pooling], 1))
    assert backbone(torch.randn(2, 12, 100)).shape == (2, backbone.width)
    assert backbone.width == 32 * len(parts[pooling])
    present = torch.tensor([[True] * 4 + [False] * 3, [False] * 7])
    pooled = backbone.pool(features.masked_fill(~present[..., None], torch.inf), present)
    torch.testing.assert_close(pooled[:1], backbone.pool(features[:1, :4]))
    assert torch.equal(pooled[1], torch.zeros(backbone.width))


def test_the_deviation_over_time_by_hand() -> None:
    features = torch.tensor([[[1.0, 5.0], [3.0, 5.0], [100.0, 7.0]], [[4.0, -2.0]] * 3], requires_grad=True)
    present = torch.tensor([[True, True, False], [True, True, True]])
    pooled = small(pooling="mean_max_std").pool(features, present)
    assert pooled.tolist() == [[2, 5, 3, 5, 1, 0], [4, -2, 4, -2, 0, 0]]
    pooled[:, 4:].sum().backward()
    torch.testing.assert_close(features.grad[0, :, 0], torch.tensor([-0.5, 0.5, 0]))
    assert torch.equal(features.grad[1], torch.zeros(3, 2))


def test_the_deviation_tells_an_irregular_rhythm_from_a_regular_one_of_the_same_mean() -> None:
    even, uneven = torch.tensor([1.0, 1, 1, 1]), torch.tensor([0.2, 1.8, 0.5, 1.5])
    backbone = small(pooling="mean_max_std")
    one, other = backbone.pool(torch.stack([even, uneven])[..., None].expand(2, 4, 32))[:, [0, 64]]
    assert one[0] == pytest.approx(float(other[0]))
    assert other[1] > one[1] + 0.5


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
