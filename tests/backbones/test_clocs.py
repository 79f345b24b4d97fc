from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from ssl_ecg.backbones import Encoder, create_backbone
from ssl_ecg.backbones.clocs import Dropout, PairPool
from ssl_ecg.signals import SignalSettings


def test_parameters_are_those_of_the_paper() -> None:
    convolutions = sum(7 * inputs * outputs + outputs for inputs, outputs in ((1, 4), (4, 16), (16, 32)))
    norms = 2 * (4 + 16 + 32)
    steps = 10  # what 2500 samples leave after three strides of 3 and poolings of 2 without padding
    linear = 32 * steps * 128 + 128
    backbone = create_backbone("clocs", in_leads=1, width=128)
    assert sum(p.numel() for p in backbone.parameters()) == convolutions + norms + linear


def test_it_computes_its_definition() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("clocs", in_leads=2, width=8).eval()
    signal = torch.randn(3, 2, 2500)
    with torch.no_grad():
        x = signal
        for convolution, norm, *_ in backbone.blocks:
            x = functional.conv1d(x, convolution.weight, convolution.bias, stride=3, padding=3)
            x = x / (1 + norm.eps) ** 0.5  # a fresh batch norm in eval mode
            x = x.relu().unfold(2, 2, 2).amax(3)
        assert x.shape == (3, 32, 11)
        averaged = torch.stack([x[:, :, step : step + 2].mean(2) for step in range(10)], 2)  # 11 steps to 10
        expected = averaged.flatten(1) @ backbone.linear.weight.T + backbone.linear.bias
        torch.testing.assert_close(backbone(signal), expected, rtol=1e-4, atol=1e-5)


def test_the_shortest_signal_leaves_one_step() -> None:
    backbone = create_backbone("clocs").eval()
    assert backbone.min_samples == 130
    assert backbone.forward_features(torch.randn(1, 12, 130)).shape == (1, 1, 32)
    with pytest.raises(ValueError, match=r"signal \(1, 12, 129\).*130 samples"):
        backbone(torch.randn(1, 12, 129))


@pytest.mark.parametrize(
    ("rate", "strides", "seconds"),
    [(500, (3, 3, 3), 0.432), (100, (3, 2, 1), 0.48), (250, (3, 2, 2), 0.384), (1000, (4, 4, 3), 0.384)],
)
def test_at_every_rate_a_step_takes_about_as_long_as_the_published_one(
    rate: int, strides: tuple[int, ...], seconds: float
) -> None:
    signal = SignalSettings(sampling_rate=rate, duration=5.0, min_duration=5.0, band=(0.5, 40.0))
    for encoder in (Encoder("clocs", {}, signal), Encoder("lead_wise", {"width": 8}, signal)):
        network = getattr(encoder.backbone, "single", encoder.backbone)
        assert network.strides == strides
        steps = network.forward_features(torch.zeros(2, network.in_leads, encoder.samples)).shape[1]
        assert steps == pytest.approx(5 / seconds, abs=1)
        apart = network.step_times(encoder.samples, steps).diff() / rate
        torch.testing.assert_close(apart, torch.full_like(apart, seconds))
        assert encoder.backbone.min_samples == network.min_samples < 2.5 * rate


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("steps", [2, 3, 139, 834])
def test_pooling_pairs_before_the_relu_is_torchs_pooling_after_it(steps: int, dtype: torch.dtype) -> None:
    torch.manual_seed(0)
    signal = torch.randn(5, 3, steps, dtype=dtype).requires_grad_()  # in bfloat16 many pairs are two alike
    outer = torch.randn(5, 3, steps // 2, dtype=dtype)
    expected = functional.max_pool1d(signal.relu(), 2)
    pooled = PairPool()(signal).relu()
    assert torch.equal(pooled, expected)
    assert torch.equal(*(torch.autograd.grad(each, signal, outer)[0] for each in (pooled, expected)))


@pytest.mark.parametrize("rate", [0.1, 0.5, 0.9])
def test_dropout_drops_its_share_of_each_of_the_four_values_of_a_draw_and_keeps_the_mean(rate: float) -> None:
    torch.manual_seed(0)
    ones = torch.ones(400_002, requires_grad=True)
    dropped = Dropout(rate)(ones)
    assert dropped.detach().unique().tolist() == pytest.approx([0, 1 / (1 - rate)], rel=1e-3)
    share = (dropped[:400_000] == 0).view(-1, 4).float()
    deviation = (rate * (1 - rate) / len(share)) ** 0.5
    assert (share.mean(0) - rate).abs().max() < 4 * deviation
    assert (torch.corrcoef(share.T) - torch.eye(4)).abs().max() < 4 / len(share) ** 0.5
    assert torch.equal(torch.autograd.grad(dropped.sum(), ones)[0], dropped)


def test_dropout_of_nothing_of_everything_and_when_it_does_not_train_is_torchs() -> None:
    ones = torch.ones(5)
    assert torch.equal(Dropout(0.0)(ones), ones)
    assert torch.equal(Dropout(1.0)(ones), torch.zeros(5))
    assert torch.equal(Dropout(0.5).eval()(ones), ones)
