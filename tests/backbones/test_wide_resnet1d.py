from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from ssl_ecg.backbones import create_backbone


@pytest.mark.parametrize(("kernel", "stride"), [(11, 4), (5, 2)])
def test_it_computes_its_definition(kernel: int, stride: int) -> None:
    torch.manual_seed(0)
    backbone = create_backbone("wide_resnet1d", in_leads=3, width=4, kernel=kernel, stride=stride)
    for module in backbone.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.uniform_(module.weight)
            nn.init.uniform_(module.bias)
    backbone.eval()
    weights = backbone.state_dict()

    def norm_relu(x: Tensor, name: str) -> Tensor:
        scale = weights[f"{name}.weight"] / (weights[f"{name}.running_var"] + 1e-5).sqrt()
        x = (x - weights[f"{name}.running_mean"][:, None]) * scale[:, None] + weights[f"{name}.bias"][:, None]
        return x.relu()

    def convolve(x: Tensor, name: str, step: int = 1) -> Tensor:
        missing = kernel - step
        ends = functional.pad(x, (missing // 2, missing - missing // 2))
        return functional.conv1d(ends, weights[f"{name}.weight"], stride=step)

    signal = torch.randn(2, 3, 333)
    x = convolve(signal, "stem")
    for group in range(4):
        for block in range(2):
            name, step = f"stages.{group}.{block}", stride if group and not block else 1
            active = norm_relu(x, f"{name}.activation.0")
            y = convolve(active, f"{name}.branch.0", step)
            y = convolve(norm_relu(y, f"{name}.branch.1"), f"{name}.branch.4")
            if group == block == 0:
                x = active
            x = x.unfold(2, step, step).amax(3)
            new_channels = torch.zeros(2, y.shape[1] - x.shape[1], x.shape[2])
            x = y + torch.cat([x, new_channels], 1)
    expected = norm_relu(x, "norm.0").transpose(1, 2)
    with torch.no_grad():
        torch.testing.assert_close(backbone.forward_features(signal), expected, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(backbone(signal), expected.amax(1), rtol=1e-4, atol=1e-5)


def test_with_a_head_it_has_18_layers() -> None:
    backbone = create_backbone("wide_resnet1d", width=4)
    assert sum(isinstance(module, nn.Conv1d) for module in backbone.modules()) == 17
    assert backbone.width == 32


def test_a_stride_that_skips_samples_is_refused() -> None:
    with pytest.raises(ValueError, match="stride=12: choose between 1 and the kernel's 11 samples"):
        create_backbone("wide_resnet1d", stride=12)
