"""Networks of the challenges' systems against networks of others and hand computations."""

from __future__ import annotations

import math

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional as F

from ssl_ecg.backbones import Encoder, create_backbone
from ssl_ecg.backbones.attention_pooled import with_attention
from ssl_ecg.backbones.attention_pooling import AttentionPooling
from ssl_ecg.backbones.multi_scale import ChannelSelfAttention
from ssl_ecg.signals import SignalSettings
from ssl_ecg.signals.spectrum import magnitude_spectrum


def middle_rows(network: nn.Module) -> list[torch.Tensor]:
    """Weights of an image network as an image of one row meets them; pointwise ones of gates as matrices."""
    return [w[:, :, w.shape[2] // 2] if w.ndim == 4 else w for w in network.state_dict().values()]


def load(backbone: nn.Module, weights: list[torch.Tensor]) -> nn.Module:
    own = backbone.state_dict()
    backbone.load_state_dict({n: w.view_as(own[n]) for n, w in zip(own, weights, strict=True)})
    return backbone.eval()


@pytest.mark.parametrize(
    ("name", "of_images"), [("separable1d", "mobilenetv1_100"), ("efficientnet1d", "efficientnet_b0")]
)
def test_depthwise_networks_are_timms_seen_along_one_row(name: str, of_images: str) -> None:
    torch.manual_seed(0)
    image_network = timm.create_model(of_images, num_classes=0).eval()
    backbone = load(create_backbone(name, in_leads=3, width=32, kernel=3), middle_rows(image_network))
    signal = torch.randn(2, 3, 333)
    with torch.no_grad():
        expected = image_network.forward_features(signal[:, :, None])[:, :, 0].transpose(1, 2)
        torch.testing.assert_close(backbone.forward_features(signal), expected, rtol=1e-3, atol=1e-4)


def test_shufflenet_is_torchvisions_seen_along_one_row() -> None:
    from torchvision.models import shufflenet_v2_x1_0

    torch.manual_seed(0)
    image_network = shufflenet_v2_x1_0(weights=None).eval()
    image_network.fc = nn.Identity()
    backbone = load(create_backbone("shufflenet1d", in_leads=3, width=32, kernel=3), middle_rows(image_network))
    signal = torch.randn(2, 3, 333)
    with torch.no_grad():
        torch.testing.assert_close(backbone(signal), image_network(signal[:, :, None]), rtol=1e-3, atol=1e-4)


def test_attention_pooling_starts_as_the_mean_and_weighs_by_its_scores() -> None:
    pooling = AttentionPooling(4, heads=2)
    features = torch.tensor([[[1.0, 2, 3, 4], [5, 6, 7, 8], [9, 9, 9, torch.inf]]])
    present = torch.tensor([[True, True, False]])
    torch.testing.assert_close(pooling(features, present), torch.tensor([[3.0, 4, 5, 6]]))
    with torch.no_grad():  # the first head looks at channel 0, which grows by 4: odds of e to 1 after a quarter of it
        pooling.score.weight[0, 0] = 0.25
    share = math.e / (1 + math.e)
    torch.testing.assert_close(pooling(features, present), torch.tensor([[1 + 4 * share, 2 + 4 * share, 5, 6]]))
    assert pooling(features, torch.zeros(1, 3, dtype=torch.bool)).abs().max() == 0
    with pytest.raises(ValueError, match=r"heads=3: choose a divisor of the 4 features"):
        AttentionPooling(4, heads=3)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_without_convolutions_a_recurrent_network_is_torchs(cell: str) -> None:
    torch.manual_seed(0)
    backbone = create_backbone(
        "recurrent", in_leads=2, width=3, cell=cell, convolutions=0, bidirectional=False, pooling="max"
    )
    signal = torch.randn(2, 2, 7)
    expected = backbone.recurrent(signal.transpose(1, 2))[0]
    torch.testing.assert_close(backbone.forward_features(signal), expected)
    torch.testing.assert_close(backbone(signal, torch.tensor([7, 3]))[1], expected[1, :3].amax(0))


def test_every_block_of_nbeats_explains_what_those_before_it_left() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("nbeats1d", in_leads=1, width=1, window=2, blocks=2, layers=1, hidden=2, pooling="mean")
    first, second = backbone.blocks
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.zero_()
        first.stack[0].weight.copy_(torch.eye(2))
        second.stack[0].weight.copy_(torch.eye(2))
        first.backcast.weight.copy_(torch.tensor([[1.0, 0], [0, 0]]))  # explains the first sample
        first.output.weight.copy_(torch.tensor([[10.0, 0]]))
        second.output.weight.copy_(torch.tensor([[100.0, 1]]))
    features = backbone.forward_features(torch.tensor([[[1.0, 2, 3, 4, 5]]]))  # the fifth sample fills no window
    torch.testing.assert_close(features, torch.tensor([[[10 + 2.0], [30 + 4.0]]]))
    torch.testing.assert_close(backbone.step_times(5, 2), torch.tensor([0.5, 2.5]))


def test_channels_attend_to_those_that_differ() -> None:
    attention = ChannelSelfAttention()
    x = torch.tensor([[[1.0, 1.0], [1.0, -1.0]]])
    torch.testing.assert_close(attention(x), x)
    with torch.no_grad():
        attention.strength.fill_(1.0)
    own, other = 1 / (1 + math.e), math.e / (1 + math.e)  # mean products are 1 with itself, 0 with the other
    expected = x + torch.stack([own * x[0, 0] + other * x[0, 1], own * x[0, 1] + other * x[0, 0]])[None]
    torch.testing.assert_close(attention(x), expected)


def test_a_multi_scale_block_joins_the_convolutions_of_its_kernels() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("multi_scale", in_leads=2, width=4, kernels=(3, 5, 9), depth=1).eval()
    block, x = backbone.blocks[0], torch.randn(1, 4, 21)
    assert [branch.out_channels for branch in block.branches] == [2, 1, 1]
    parts = [F.conv1d(x, b.weight, stride=2, padding=b.kernel_size[0] // 2) for b in block.branches]
    expected = torch.relu(block.join(block.norm(torch.cat(parts, 1))) + block.shortcut(x))
    torch.testing.assert_close(block(x), expected)
    assert create_backbone("multi_scale", channel_attention=True).blocks[3].attention.strength.numel() == 1
    with pytest.raises(ValueError, match=r"kernels=\[3, 5, 9\]: choose between 1 and width=2"):
        create_backbone("multi_scale", width=2, kernels=(3, 5, 9))


def test_each_layer_of_a_dense_block_sees_all_before_it() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("ecg_ai", in_leads=2, width=4, kernel=3, filters=(2, 3), layers=2).eval()
    block, x = backbone.blocks[0], torch.randn(1, 4, 9)
    first = block.layers[0](x)
    second = block.layers[1](torch.cat([x, first], 1))
    whole = torch.cat([x, first, second], 1)
    expected = torch.cat([torch.maximum(whole[..., 0:8:2], whole[..., 1:9:2]), whole[..., 8:]], 2)
    torch.testing.assert_close(block(x), expected)
    assert backbone.width == 4 + 2 * (2 + 3)
    features = backbone.forward_features(torch.randn(1, 2, 16))
    assert features.shape == (1, 4, 14)
    assert torch.equal(backbone.pool(features), features.amax(1))
    assert backbone.step_times(16, 4).tolist() == [1.5, 5.5, 9.5, 13.5]  # the middles of four samples
    assert create_backbone("ecg_ai").width == 32 + 3 * (16 + 24 + 32)


def test_the_spectrum_is_a_step_that_always_counts() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("time_spectrum", in_leads=2, width=2).eval()
    signal, recorded = torch.randn(1, 2, 160), torch.tensor([40])
    time = backbone.time(signal).transpose(1, 2)
    assert time.shape == (1, 10, 16)
    spectrum = backbone.spectrum(magnitude_spectrum(signal)).mean(2)
    # Steps of 16 samples, around 7.5, 23.5 and 39.5.
    torch.testing.assert_close(backbone(signal, recorded), torch.cat([time[:, :3].mean(1), spectrum], 1))


@pytest.mark.parametrize("transform", ["wavelet", "spectrogram"])
def test_a_sine_has_the_square_of_its_amplitude_at_its_frequency(transform: str) -> None:
    backbone = create_backbone(
        "spectral_image", in_leads=2, network="test_resnet", transform=transform, lowest=0.05, highest=0.2, bands=31
    )
    frequency = 0.1
    time = np.arange(1000)
    signal = torch.tensor(np.stack([5 + 3 * np.sin(2 * np.pi * frequency * time), np.full(1000, 7.0)]))[None]
    power = backbone.power(signal.float())[0, :, :, 100:150]  # away from the ends
    assert power.shape == (2, 31, 50)
    row = 15 if transform == "wavelet" else 10  # .05 * 4^(15 / 30), .05 + .15 * 10 / 30
    assert (power[0].argmax(0) == row).all()
    torch.testing.assert_close(power[0, row], torch.full((50,), 9.0), rtol=0.01, atol=0)
    assert power[1].max() < 1e-6  # of 7^2: a constant has no frequency


@pytest.mark.parametrize("network", ["squeezenet1_1", "test_efficientnet"])
def test_a_network_sees_the_spectra_as_an_image_of_all_leads(network: str) -> None:
    torch.manual_seed(0)
    backbone = create_backbone("spectral_image", in_leads=3, network=network, bands=16, lowest=0.04).eval()
    signal = torch.randn(2, 3, 256)
    with torch.no_grad():
        image = (1 + 100 * backbone.power(signal)).log()
        assert image.shape == (2, 3, 16, 64)
        torch.testing.assert_close(backbone(signal), backbone.network(image), rtol=1e-4, atol=1e-5)


def test_squeezenet_is_torchvisions_but_for_its_padding() -> None:
    from torchvision.models import squeezenet1_1

    torch.manual_seed(0)
    network = create_backbone("spectral_image", in_leads=3, network="squeezenet1_1").network.eval()
    other = squeezenet1_1(weights=None).eval()
    other.features.load_state_dict(network.features.state_dict())
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        inner = F.pad(image, (1, 1, 1, 1))
        x = other.features[:2](inner)  # the first convolution and its activation
        for module in other.features[2:]:
            x = F.max_pool2d(F.pad(x, (1, 1, 1, 1)), 3, 2) if isinstance(module, nn.MaxPool2d) else module(x)
        torch.testing.assert_close(network(image), x.mean((2, 3)))
    with pytest.raises(ValueError, match=r"weights='hub': squeezenet1_1 starts from random weights"):
        create_backbone("spectral_image", network="squeezenet1_1", weights="hub")


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("recurrent", {"cell": "rnn"}, "cell='rnn'"),
        ("recurrent", {"convolutions": -1}, "convolutions=-1"),
        ("nbeats1d", {"window": 0}, "window=0"),
        ("multi_scale", {"depth": 0}, "depth=0"),
        ("ecg_ai", {"filters": ()}, r"filters=\[\], layers=3: choose a block"),
        ("ecg_ai", {"kernel": 70}, "kernel=70"),
        ("spectral_image", {"transform": "fft"}, "transform='fft'"),
        ("spectral_image", {"lowest": 0.5}, "lowest=0.5, highest=0.4"),
        ("spectral_image", {"bands": 1}, "bands=1"),
        ("spectral_image", {"lowest": 1e-9}, "filters of"),
    ],
)
def test_impossible_options_are_named(name: str, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        create_backbone(name, **options)


def test_an_encoder_with_attention_starts_as_the_mean_of_its_steps() -> None:
    torch.manual_seed(0)
    signal = SignalSettings(leads=("I", "II"), duration=3, min_duration=1)
    encoder = Encoder("xresnet1d10", {"width": 4, "pooling": "mean_max"}, signal).eval()
    attending = with_attention(encoder, 4).eval()
    x, recorded = torch.randn(2, 2, 300), torch.tensor([300, 90])
    assert (encoder.width, attending.width) == (64, 32)
    torch.testing.assert_close(attending(x, recorded), encoder(x, recorded)[:, :32])
    with pytest.raises(ValueError, match=r"LeadWise: does more than pool its steps"):
        create_backbone("attention_pooled", steps_of="lead_wise")
    with pytest.raises(ValueError, match=r"attention_heads=2: .* is a network of one's own"):
        with_attention(Encoder(nn.Sequential(nn.Flatten(), nn.Linear(600, 3)), {}, signal), 2)
