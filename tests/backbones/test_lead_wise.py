from __future__ import annotations

from pathlib import Path

import pytest
import torch
from timm.models import group_parameters
from torch import nn

from ssl_ecg.backbones import Encoder, create_backbone, load_encoder, save_encoder
from ssl_ecg.signals import SignalSettings


def small(in_leads: int = 3, single: str = "xresnet1d10", **options: object) -> nn.Module:
    torch.manual_seed(0)
    return create_backbone("lead_wise", in_leads=in_leads, single=single, **{"width": 4, **options})


@pytest.mark.parametrize("pooling", ["mean", "max", "mean_max"])
def test_features_are_the_mean_of_what_the_network_makes_of_each_lead(pooling: str) -> None:
    backbone, signal = small(pooling=pooling).eval(), torch.randn(4, 3, 200)
    leads = [backbone.single(signal[:, lead : lead + 1]) for lead in range(3)]
    torch.testing.assert_close(backbone(signal), torch.stack(leads).mean(0))
    assert backbone.width == backbone.single.width == leads[0].shape[1]
    steps = [backbone.single.forward_features(signal[:, lead : lead + 1]) for lead in range(3)]
    torch.testing.assert_close(backbone.forward_features(signal), torch.cat(steps, 1))


def test_a_missing_lead_does_not_count() -> None:
    backbone, signal = small().eval(), torch.randn(4, 3, 200)
    leads = torch.ones(4, 3, dtype=torch.bool)
    leads[1, 2] = leads[2, :2] = leads[3] = False
    signal[0, 1] = 0  # hidden, or flat, but recorded: it counts
    features = backbone(signal, leads=leads)
    torch.testing.assert_close(features[0], backbone(signal)[0])
    each = [backbone.single(signal[:, lead : lead + 1]) for lead in range(3)]
    torch.testing.assert_close(features[1], (each[0][1] + each[1][1]) / 2)
    torch.testing.assert_close(features[2], each[2][2])
    assert torch.equal(features[3], torch.zeros_like(features[3]))


@pytest.mark.parametrize("single", ["xresnet1d10", "clocs"])
def test_concatenated_features_are_those_of_the_leads_side_by_side(single: str) -> None:
    backbone, signal = small(single=single, lead_pooling="concat").eval(), torch.randn(4, 3, 200)
    each = [backbone.single(signal[:, lead : lead + 1]) for lead in range(3)]
    torch.testing.assert_close(backbone(signal), torch.cat(each, 1))
    assert backbone.width == 3 * backbone.single.width
    leads = torch.tensor([[True, False, True]] * 4)
    signal[:, 1] = torch.nan  # never recorded: nothing of it may count
    without = backbone(signal, leads=leads)
    torch.testing.assert_close(without, torch.cat([each[0], torch.zeros_like(each[1]), each[2]], 1))


def test_the_order_of_leads_does_not_matter_and_their_number_costs_no_parameter() -> None:
    backbone, signal = small().eval(), torch.randn(2, 3, 200)
    torch.testing.assert_close(backbone(signal), backbone(signal[:, [2, 0, 1]]))
    sizes = {leads: sum(p.numel() for p in small(leads).parameters()) for leads in (1, 12)}
    assert sizes[1] == sizes[12]


def test_layer_groups_are_those_of_the_network() -> None:
    backbone = small(single="xresnet1d18")
    inner = group_parameters(backbone.single, backbone.single.group_matcher())
    outer = group_parameters(backbone, backbone.group_matcher())
    assert outer == {group: [f"single.{name}" for name in names] for group, names in inner.items()}
    assert len(outer) > 5


def test_an_encoder_folder_keeps_it(tmp_path: Path) -> None:
    signal = SignalSettings(leads=("I", "II", "V1"), duration=2.0, min_duration=2.0)
    torch.manual_seed(0)
    encoder = Encoder("lead_wise", {"single": "xresnet1d10", "width": 4}, signal).eval()
    loaded = load_encoder(save_encoder(encoder, tmp_path / "encoder", "card"))
    ecg = torch.randn(2, 3, encoder.samples)
    assert torch.equal(loaded(ecg), encoder(ecg))
    assert loaded.backbone.single.in_leads == 1


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"backbone='resnet5': unknown"):
        small(single="resnet5")
    with pytest.raises(ValueError, match="in_leads=0"):
        small(in_leads=0)
    with pytest.raises(ValueError, match=r"lead_pooling='max': choose one of mean, concat"):
        small(lead_pooling="max")
    with pytest.raises(TypeError, match="widht"):
        small(widht=3)
    with pytest.raises(ValueError, match=r"signal \(2, 4, 100\): expected \[batch, 3 leads"):
        small()(torch.zeros(2, 4, 100))
