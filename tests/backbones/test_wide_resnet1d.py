from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from ssl_ecg.backbones import create_backbone


def test_it_computes_its_definition() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("wide_resnet1d", in_leads=3, width=4, kernel=5)
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

    signal = torch.randn(2, 3, 101)
    x = functional.conv1d(signal, weights["stem.weight"], padding=2)
    for group in range(4):
        for block in range(2):
            name, stride = f"stages.{group}.{block}.branch", 2 if group and not block else 1
            y = norm_relu(x, f"{name}.0")
            y = functional.conv1d(y, weights[f"{name}.2.weight"], stride=stride, padding=2)
            y = norm_relu(y, f"{name}.3")
            y = functional.conv1d(y, weights[f"{name}.6.weight"], padding=2)
            if stride == 2:
                ends = functional.pad(x, (0, x.shape[2] % 2), value=-torch.inf)
                x = ends.unfold(2, 2, 2).amax(3)
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
