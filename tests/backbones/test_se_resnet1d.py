from __future__ import annotations

import pytest
import torch
from timm.layers import SEModule

from ssl_ecg.backbones import create_backbone
from ssl_ecg.backbones.se_resnet1d import SqueezeExcitation


def test_gates_are_those_of_timm() -> None:
    torch.manual_seed(0)
    ours = SqueezeExcitation(32, reduction=4)
    timms = SEModule(32, rd_channels=8)
    pairs = zip(ours.state_dict().values(), timms.state_dict().values(), strict=True)
    timms.load_state_dict(dict(zip(timms.state_dict(), [a.reshape(b.shape) for a, b in pairs], strict=True)))
    x = torch.randn(3, 32, 50)
    with torch.no_grad():
        torch.testing.assert_close(ours(x), timms(x[:, :, None])[:, :, 0])


@pytest.mark.parametrize("layers", [18, 34, 50])
def test_it_is_xresnet1d_with_a_gate_at_the_end_of_every_branch(layers: int) -> None:
    plain = create_backbone(f"xresnet1d{layers}", width=16)
    gated = create_backbone(f"se_resnet1d{layers}", width=16)
    gates = {name for name in gated.state_dict() if ".gate." in name}
    assert list(plain.state_dict()) == [name for name in gated.state_dict() if name not in gates]
    blocks = [block for stage in gated.stages for block in stage]
    assert all(isinstance(block.branch[-1], SqueezeExcitation) for block in blocks)
    assert len(gates) == 4 * len(blocks)
    # An open gate leaves the network as it is.
    missing, unexpected = gated.load_state_dict(plain.state_dict(), strict=False)
    assert (set(missing), unexpected) == (gates, [])
    for block in blocks:
        torch.nn.init.zeros_(block.branch[-1].gate[2].weight)
        torch.nn.init.constant_(block.branch[-1].gate[2].bias, 100.0)
    signal = torch.randn(2, 12, 250)
    with torch.no_grad():
        torch.testing.assert_close(gated.eval()(signal), plain.eval()(signal))


def test_reduction_is_checked() -> None:
    with pytest.raises(ValueError, match="reduction=0"):
        create_backbone("se_resnet1d18", reduction=0)
