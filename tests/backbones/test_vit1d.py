from __future__ import annotations

import pytest
import torch
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_ecg.backbones import create_backbone
from ssl_ecg.views import grid_mask, take_tokens

KINDS = ("all_leads", "lead")


def small(tokens: str, in_leads: int = 3, **options: object) -> nn.Module:
    torch.manual_seed(0)
    defaults = {"tokens": tokens, "patch": 10, "samples": 100, "width": 12, "depth": 3, "heads": 3}
    return create_backbone("vit1d", in_leads=in_leads, **{**defaults, **options}).eval()


def signal(batch: int = 2, leads: int = 3, samples: int = 100) -> Tensor:
    return torch.randn(batch, leads, samples, generator=torch.Generator().manual_seed(1))


def reference_block(block: nn.Module, x: Tensor) -> Tensor:
    """A pre-norm transformer block written out (Vaswani et al. 2017; exact GELU)."""
    batch, count, width = x.shape
    heads = block.attn.num_heads
    q, k, v = block.attn.qkv(block.norm1(x)).view(batch, count, 3, heads, width // heads).permute(2, 0, 3, 1, 4)
    weight = (q @ k.transpose(2, 3) / (width // heads) ** 0.5).softmax(3)
    x = x + block.attn.proj((weight @ v).transpose(1, 2).reshape(batch, count, width))
    return x + block.mlp.fc2(F.gelu(block.mlp.fc1(block.norm2(x))))


def test_joint_tokens_are_a_strided_convolution_and_plain_transformer_blocks() -> None:
    backbone = small("all_leads")
    ecg = signal(samples=107)  # the last 7 samples fill no patch
    kernel = backbone.embedding.weight.unflatten(1, (3, 10))
    with torch.no_grad():
        x = F.conv1d(ecg, kernel, backbone.embedding.bias, stride=10).transpose(1, 2) + backbone.position.transpose(
            1, 2
        )
        for block in backbone.blocks:
            x = reference_block(block, x)
        torch.testing.assert_close(backbone.forward_features(ecg), backbone.norm(x))
        torch.testing.assert_close(backbone(ecg), backbone.norm(x).mean(1))


def test_lead_tokens_follow_their_separators_with_lead_and_time_embeddings() -> None:
    backbone = small("lead")
    ecg = signal()
    with torch.no_grad():
        rows, ends = [], []
        for lead in range(3):
            patches = torch.stack(ecg[:, lead].split(10, dim=1), dim=1)
            tokens = F.linear(patches, backbone.embedding.weight, backbone.embedding.bias)
            rows.append(tokens + backbone.position[0].T + backbone.lead[lead])
            ends.append((backbone.separator + backbone.lead[lead]).expand(2, 2, 12))
        x = torch.cat([*ends, *rows], dim=1)
        for block in backbone.blocks:
            x = reference_block(block, x)
        x = backbone.norm(x)
        torch.testing.assert_close(backbone.forward_features(ecg), x[:, 6:])
        patches = backbone.patchify(ecg)
        torch.testing.assert_close(backbone.encode(backbone.embed(patches)), x)
        torch.testing.assert_close(backbone(ecg), x[:, 6:].mean(1))


@pytest.mark.parametrize("tokens", KINDS)
def test_patches_are_cut_and_put_back(tokens: str) -> None:
    backbone = small(tokens)
    ecg = signal(samples=58)
    patches = backbone.patchify(ecg)
    assert patches.shape == ((2, 5, 30) if tokens == "all_leads" else (2, 15, 10))
    assert torch.equal(backbone.unpatchify(patches), ecg[..., :50])
    if tokens == "lead":  # lead after lead
        assert torch.equal(patches[:, 7], ecg[:, 1, 20:30])
    else:  # [lead, sample]
        assert torch.equal(patches[:, 2, 10:20], ecg[:, 1, 20:30])


@pytest.mark.parametrize("tokens", KINDS)
def test_encoding_all_tokens_in_any_order_gives_the_features(tokens: str) -> None:
    backbone = small(tokens)
    patches = backbone.patchify(signal())
    mask = grid_mask("random", 2, backbone.rows, 10, 0.0)
    with torch.no_grad():
        encoded = backbone.encode(backbone.embed(patches, mask.visible))[:, backbone.extra :]
        torch.testing.assert_close(take_tokens(encoded, mask.restore), backbone.forward_features(signal()))


@pytest.mark.parametrize("tokens", KINDS)
def test_only_given_tokens_enter_the_blocks(tokens: str) -> None:
    backbone = small(tokens)
    seen: list[int] = []
    for block in backbone.blocks:
        block.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    patches = backbone.patchify(signal())
    mask = grid_mask("random", 2, backbone.rows, 10, 0.8)
    backbone.encode(backbone.embed(patches, mask.visible))
    assert seen == [2 if tokens == "all_leads" else 6 + 3 * 2] * 3
    tokens_alone = backbone.embed(patches, mask.visible)
    torch.testing.assert_close(tokens_alone, take_tokens(backbone.embed(patches), mask.visible))


@pytest.mark.parametrize("tokens", KINDS)
@pytest.mark.parametrize("samples", [10, 50, 99, 250])
def test_positions_are_interpolated_to_other_lengths(tokens: str, samples: int) -> None:
    backbone = small(tokens)
    with torch.no_grad():
        ramp = torch.linspace(0.5, 9.5, 10)  # the middle of each of the ten patches
        backbone.position.copy_(ramp.expand(1, 12, 10))
        backbone.embedding.bias.zero_()
        count = samples // 10
        embedded = backbone.embed(torch.zeros_like(backbone.patchify(signal(samples=samples))))
        if tokens == "lead":
            embedded = embedded.unflatten(1, (3, count))[:, 1] - backbone.lead[1]
        # A patch lies at the same share of the record; beyond the outermost middles the value is theirs.
        expected = ((torch.arange(count) + 0.5) * 10 / count).clamp(0.5, 9.5)
        torch.testing.assert_close(embedded[0, :, 0], expected)
        assert backbone(signal(samples=samples)).isfinite().all()


@pytest.mark.parametrize("tokens", KINDS)
def test_intermediates_are_the_outputs_of_the_blocks(tokens: str) -> None:
    backbone = small(tokens)
    seen: list[Tensor] = []
    for block in backbone.blocks:
        block.register_forward_hook(lambda *call: seen.append(call[2][:, backbone.extra :]))
    with torch.no_grad():
        outputs = backbone.forward_intermediates(signal())
        assert len(outputs) == 3
        for output, expected in zip(outputs, seen, strict=True):
            assert torch.equal(output, expected)
        torch.testing.assert_close(backbone.norm(outputs[-1]), backbone.forward_features(signal()))


def test_a_missing_lead_is_left_out_as_if_its_patches_were_not_there() -> None:
    backbone = small("lead")
    ecg = signal()
    leads = torch.tensor([[True, False, True], [True] * 3])  # what the second holds does not matter
    with torch.no_grad():
        features = backbone.forward_features(ecg, leads)
        assert torch.equal(features[0, 10:20], torch.zeros(10, 12))
        patches = backbone.patchify(ecg)
        recorded = torch.tensor([[*range(10), *range(20, 30)]])
        alone = backbone.encode(backbone.embed(patches[:1], recorded))[:, 6:]
        torch.testing.assert_close(features[:1].index_select(1, recorded[0]), alone)
        torch.testing.assert_close(backbone(ecg, leads=leads)[0], alone[0].mean(0))
        torch.testing.assert_close(features[1:], backbone.forward_features(ecg[1:]))  # no matter for the others
        for output in backbone.forward_intermediates(ecg, leads=leads):
            assert torch.equal(output[0, 10:20], torch.zeros(10, 12))
        other = backbone.forward_features(signal())
        assert (features[0, :10] - other[0, :10]).abs().max() > 1e-3  # the lead was not ignored where it is recorded


@pytest.mark.parametrize("tokens", KINDS)
def test_a_record_without_any_lead_gives_finite_features_and_gradients(tokens: str) -> None:
    backbone = small(tokens)
    ecg = signal()
    ecg[0] = 0
    pooled = backbone(ecg, leads=torch.tensor([[False] * 3, [True] * 3]))
    pooled.square().sum().backward()
    assert pooled.isfinite().all()
    assert all(p.grad.isfinite().all() for p in backbone.parameters())
    if tokens == "lead":
        assert torch.equal(pooled[0], torch.zeros(12))


@pytest.mark.parametrize("tokens", KINDS)
def test_every_parameter_receives_a_gradient(tokens: str) -> None:
    backbone = small(tokens)
    (backbone(signal()) * torch.randn(2, 12)).sum().backward()
    assert [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


@pytest.mark.parametrize("tokens", KINDS)
def test_layer_groups_are_the_embeddings_then_each_block_the_norm_with_the_last(tokens: str) -> None:
    backbone = small(tokens)
    groups = param_groups_layer_decay(backbone, layer_decay=0.5)
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    expected = {"blocks.0": 0.25, "blocks.1": 0.5, "blocks.2": 1.0, "norm": 1.0}
    for name, parameter in backbone.named_parameters():
        wanted = next((value for start, value in expected.items() if name.startswith(start)), 0.125)
        assert scale[id(parameter)] == pytest.approx(wanted), name


@pytest.mark.parametrize("tokens", KINDS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_agrees_with_float32(tokens: str, dtype: torch.dtype) -> None:
    backbone = small(tokens)
    ecg = signal()
    ecg[0, 1] = 0
    with torch.no_grad():
        exact = backbone(ecg)
        with torch.autocast("cpu", dtype):
            torch.testing.assert_close(backbone(ecg).float(), exact, atol=0.03, rtol=0.03)


def test_attention_is_fused(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []
    fused = F.scaled_dot_product_attention
    monkeypatch.setattr(F, "scaled_dot_product_attention", lambda *a, **k: calls.append(1) or fused(*a, **k))
    small("lead")(signal())
    assert len(calls) == 3


def test_stochastic_depth_rises_to_the_last_block() -> None:
    blocks = small("all_leads", drop_path=0.2).blocks
    assert isinstance(blocks[0].drop_path1, nn.Identity)
    assert [block.drop_path1.drop_prob for block in blocks[1:]] == pytest.approx([0.1, 0.2])


def test_the_lead_variant_has_patches_of_three_tenths_of_a_second() -> None:
    backbone = create_backbone("vit1d_lead", width=12, depth=1)
    assert backbone.by_lead
    assert backbone.forward_features(torch.randn(1, 12, 1000)).shape == (1, 12 * 33, 12)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tokens": "sample"}, r"tokens='sample'.*all_leads, lead"),
        ({"width": 10}, r"width=10, heads=3"),
        ({"depth": 0}, r"depth=0"),
        ({"patch": 0}, r"patch=0"),
        ({"patch": 200}, r"patch=200, samples=100"),
        ({"in_leads": 0}, r"in_leads=0"),
    ],
)
def test_options_out_of_range_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**{"tokens": "all_leads", **options})


@pytest.mark.parametrize("tokens", KINDS)
def test_another_number_of_leads_is_never_broadcast(tokens: str) -> None:
    with pytest.raises(ValueError, match=r"signal \(2, 1, 100\).*3 leads"):
        small(tokens)(signal(leads=1))
    with pytest.raises(ValueError, match=r"signal \(3, 100\)"):
        small(tokens)(signal()[0])
    with pytest.raises(ValueError, match="shorter than one patch of 10 samples"):
        small(tokens)(signal(samples=9))
