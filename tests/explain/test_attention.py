from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_ecg.backbones import Encoder
from ssl_ecg.explain import attention_rollout
from ssl_ecg.signals import SignalSettings

SIGNAL = SignalSettings(duration=2.5, min_duration=1)


def encoder(name: str, **options: Any) -> Encoder:
    torch.manual_seed(0)
    made = Encoder(name, {"width": 8, "heads": 2, "samples": 250, "patch": 25, **options}, SIGNAL).eval()
    with torch.no_grad():
        for parameter in made.parameters():
            parameter.mul_(3)  # far from uniform attention
    return made


def by_torch(block: nn.Module, x: Tensor, missing: Tensor | None) -> tuple[Tensor, Tensor]:
    """Output of a block [B, N, D] and its heads' mean attention [B, N, N], by torch's own attention module."""
    reference = nn.MultiheadAttention(8, 2, batch_first=True)
    reference.in_proj_weight.data, reference.in_proj_bias.data = block.attn.qkv.weight.data, block.attn.qkv.bias.data
    reference.out_proj.load_state_dict(block.attn.proj.state_dict())
    normed = block.norm1(x)
    attended, weights = reference(normed, normed, normed, key_padding_mask=missing)
    x = x + attended
    return x + block.mlp(block.norm2(x)), weights


@pytest.mark.parametrize("name", ["vit1d", "vit1d_lead"])
@torch.no_grad()
def test_rollout_is_that_of_torch_attention(name: str) -> None:
    tested, signal = encoder(name, depth=3), torch.randn(2, 12, 250)
    backbone = tested.backbone
    missing = leads = None
    if name == "vit1d_lead":
        leads = torch.ones(2, 12, dtype=torch.bool)
        leads[1, 4] = False
        missing = torch.zeros(2, 24 + 120, dtype=torch.bool)
        missing[1, 24 + 40 : 24 + 50] = True
    seen = tested.prepare(signal, leads=leads).signal
    x = backbone._open(backbone.embed(backbone.patchify(seen)), None)[0]
    mixed = torch.eye(x.shape[1]).expand(2, -1, -1)
    for block in backbone.blocks:
        x, weights = by_torch(block, x, missing)
        mixed = (weights + torch.eye(x.shape[1])) / 2 @ mixed
    for record in range(2):
        kept = torch.arange(backbone.extra, x.shape[1])
        pooled = kept if missing is None else kept[~missing[record, kept]]
        expected = mixed[record, pooled].mean(0)[kept].view(backbone.rows, 10).numpy()
        heat = attention_rollout(tested, signal, by_lead=True, leads=leads)[record].numpy()
        for lead in range(12):
            wanted = np.interp(np.arange(250), 12 + 25 * np.arange(10), expected[lead if backbone.rows > 1 else 0])
            np.testing.assert_allclose(heat[lead], wanted, rtol=1e-3, atol=1e-7)
        if missing is not None:
            assert (heat[4].max() == 0) == (record == 1)
    assert np.ptp(expected) > 0.2 * expected.mean()
    torch.testing.assert_close(attention_rollout(tested, signal), attention_rollout(tested, signal, True).mean(1))


@torch.no_grad()
def test_without_attention_every_moment_counts_the_same() -> None:
    tested = encoder("vit1d", depth=2)
    for block in tested.backbone.blocks:
        block.attn.qkv.weight.zero_()
        block.attn.qkv.bias.zero_()
    torch.testing.assert_close(attention_rollout(tested, torch.randn(2, 12, 250)), torch.full((2, 250), 0.1))


@torch.no_grad()
def test_the_bimodal_rollout_goes_through_joint_and_time_blocks() -> None:
    tested = encoder("bimodal_vit", depth=1, joint_depth=1)
    for blocks in (tested.backbone.time.blocks, tested.backbone.joint):
        for block in blocks:
            block.attn.qkv.weight.zero_()
            block.attn.qkv.bias.zero_()
    # 10 tokens of time, 5 of the spectrum and the global one, of which the time stream sees 11.
    joint = 1 / 16  # each token's share of the mean over tokens, before and after uniform attention
    through_time = joint * (0.5 + 0.5 / 11) + 10 * joint * 0.5 / 11
    heat = attention_rollout(tested, torch.randn(2, 12, 250))
    torch.testing.assert_close(heat, torch.full((2, 250), through_time))


def test_networks_without_attention_and_training_are_refused() -> None:
    signal = torch.zeros(1, 12, 250)
    with pytest.raises(ValueError, match="backbone='xresnet1d10': has no attention over time; use grad_cam"):
        attention_rollout(Encoder("xresnet1d10", {"width": 8}, SIGNAL).eval(), signal)
    with pytest.raises(ValueError, match="training mode"):
        attention_rollout(encoder("vit1d", depth=1).train(), signal)
