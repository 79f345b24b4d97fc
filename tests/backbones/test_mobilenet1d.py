from __future__ import annotations

import timm
import torch

from ssl_ecg.backbones import create_backbone


def test_it_is_mobilenet_v2_seen_along_one_row() -> None:
    torch.manual_seed(0)
    image_network = timm.create_model("mobilenetv2_100", num_classes=0).eval()
    backbone = create_backbone("mobilenet1d", in_leads=3, width=32, kernel=3).eval()
    # An image of one row meets only the middle rows of 3 x 3 kernels.
    weights = [w[:, :, w.shape[2] // 2] if w.ndim == 4 else w for w in image_network.state_dict().values()]
    backbone.load_state_dict(dict(zip(backbone.state_dict(), weights, strict=True)))
    signal = torch.randn(2, 3, 333)
    with torch.no_grad():
        expected = image_network.forward_features(signal[:, :, None])[:, :, 0].transpose(1, 2)
        torch.testing.assert_close(backbone.forward_features(signal), expected, rtol=1e-4, atol=1e-5)
    assert backbone.width == 1280


def test_width_scales_every_layer() -> None:
    backbone = create_backbone("mobilenet1d", width=16)
    assert [stage[-1].branch[-1][0].out_channels for stage in backbone.stages] == [8, 12, 16, 32, 48, 80, 160]
    assert backbone.width == 640
