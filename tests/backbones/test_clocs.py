from __future__ import annotations

import pytest
import torch
from torch.nn import functional

from ssl_ecg.backbones import create_backbone


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
