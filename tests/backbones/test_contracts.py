"""What a network gets for nothing when it derives from ``Backbone``."""

from __future__ import annotations

import re

import pytest
import torch
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn

from ssl_ecg.backbones import Backbone, create_backbone, list_backbones, register
from ssl_ecg.backbones.base import interpolate
from ssl_ecg.backbones.bimodal_vit import BimodalViT
from ssl_ecg.backbones.foreign import ForeignBackbone, reset


class Filters(Backbone):
    """The least that a backbone needs."""

    def __init__(self, in_leads: int = 3, width: int = 4) -> None:
        super().__init__(in_leads, width)
        self.gain = nn.Parameter(torch.ones(1))
        self.filters = nn.Conv1d(in_leads, width, kernel_size=20, stride=20)
        self.blocks = nn.Sequential(*(nn.Conv1d(width, width, 1) for _ in range(12)))
        self.last = nn.Conv1d(width, width, 1)

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        return self.last(self.blocks(self.gain * self.filters(signal))).transpose(1, 2)


def test_forward_features_alone_makes_a_backbone() -> None:
    torch.manual_seed(0)
    backbone, signal = Filters(), torch.randn(2, 3, 200)
    steps = backbone.forward_features(signal)
    assert steps.shape == (2, 10, 4)
    torch.testing.assert_close(backbone(signal), steps.mean(1))
    # Ten steps of 20 samples, the first around 9.5.
    torch.testing.assert_close(backbone.step_times(200, 10), 20 * torch.arange(10) + 9.5)
    pooled = backbone(signal, torch.tensor([200, 70]))
    torch.testing.assert_close(pooled, torch.stack([steps[0].mean(0), steps[1, :4].mean(0)]))  # 69.5 is recorded
    torch.testing.assert_close(backbone(signal, torch.tensor([200, 69]))[1], steps[1, :3].mean(0))
    torch.testing.assert_close(backbone(signal, torch.tensor([200, 1]))[1], steps[1, 0])


def test_layers_learn_by_the_order_in_which_they_were_made() -> None:
    backbone = Filters()
    for matcher, network, prefix in (
        (backbone.group_matcher(), backbone, ""),
        (ForeignBackbone(backbone, 3, 200).group_matcher(), ForeignBackbone(backbone, 3, 200), "network."),
    ):
        for name, _ in network.named_parameters():
            assert sum(bool(re.match(str(pattern), name)) for pattern in matcher.values()) == 1, name
        layer = group_parameters(network, matcher, reverse=True)
        order = ["gain", "filters.weight", *(f"blocks.{index}.weight" for index in range(12)), "last.weight"]
        numbers = [layer[prefix + name] for name in order]
        assert numbers == sorted(set(numbers))
    scale = {
        id(p): group["lr_scale"]
        for group in param_groups_layer_decay(backbone, layer_decay=0.5)
        for p in group["params"]
    }
    assert scale[id(backbone.last.weight)] == 1
    assert scale[id(backbone.blocks[10].weight)] == pytest.approx(0.25)


def test_registered_networks_are_made_by_name_and_names_are_not_taken_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    from ssl_ecg.backbones import BACKBONES

    monkeypatch.setattr(BACKBONES, "_things", dict(BACKBONES._things))
    register("filters_of_a_test", Filters)
    assert "filters_of_a_test" in list_backbones()
    assert create_backbone("filters_of_a_test", in_leads=2, width=5).width == 5
    with pytest.raises(ValueError, match="name='xresnet1d10'"):
        register("xresnet1d10", Filters)


@pytest.mark.parametrize("count", [65, 130, 1300, 2000])
def test_clocs_pools_a_short_record_as_if_its_signal_ended_there(count: int) -> None:
    torch.manual_seed(0)
    backbone = create_backbone("clocs", in_leads=2, width=8).eval()
    features = backbone.forward_features(torch.randn(2, 2, 5000))
    present = backbone.present(5000, features.shape[1], torch.tensor([5000, count]))
    assert present is not None
    pooled = backbone.pool(features, present)
    torch.testing.assert_close(pooled[:1], backbone.pool(features[:1]))
    torch.testing.assert_close(pooled[1:], backbone.pool(features[1:, : int(present[1].sum())]))


def test_what_lies_beyond_the_recorded_patches_of_time_is_attended_to_by_no_token_of_the_bimodal_transformer() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("bimodal_vit", in_leads=2, width=12, depth=1, joint_depth=1, samples=200).eval()
    assert isinstance(backbone, BimodalViT)
    patches = {name: torch.randn(2, count, 20) for name, count in (("time", 20), ("frequency", 10))}
    present = torch.arange(20) < torch.tensor([[12], [20]])
    short = {"time": patches["time"][:1, :12], "frequency": patches["frequency"][:1]}
    keep = {"time": torch.arange(12)[None], "frequency": torch.arange(10)[None]}
    with torch.inference_mode():
        tokens = backbone.encode(patches, present=present).tokens
        torch.testing.assert_close(tokens[1:], backbone.encode(patches).tokens[1:])
        alone = backbone.encode({name: patches[name][:1] for name in short}, keep).tokens
        torch.testing.assert_close(torch.cat([tokens[:1, :13], tokens[:1, 21:]], dim=1), alone)
        signal, recorded = torch.randn(2, 2, 200), torch.tensor([120, 200])
        torch.testing.assert_close(backbone(signal, recorded), backbone.pool(*backbone.forward_steps(signal, recorded)))
        assert (backbone(signal, recorded) - backbone(signal))[0].abs().max() > 1e-3


@pytest.mark.parametrize("name", ["vit1d", "vit1d_lead"])
def test_what_lies_beyond_the_recorded_patches_reaches_no_feature_of_a_transformer(name: str) -> None:
    torch.manual_seed(0)
    backbone = create_backbone(name, in_leads=3, width=12, depth=2, patch=10, samples=200).eval()
    signal, recorded = torch.randn(2, 3, 200), torch.tensor([120, 200])
    leads = torch.tensor([[True, True, True], [True, False, True]])
    other = signal.clone()
    other[0, :, 120:] = 7
    if name == "vit1d_lead":
        other[1, 1] = -3
    with torch.inference_mode():
        pooled = backbone(signal, recorded, leads)
        torch.testing.assert_close(backbone(other, recorded, leads), pooled)
        assert (backbone(other) - backbone(signal)).abs().amax(1)[0] > 1e-3  # it would, if nobody said so
        kept = slice(None) if name == "vit1d" else [0, 2]
        if name == "vit1d_lead":
            assert (backbone(other) - backbone(signal)).abs().amax(1)[1] > 1e-3
            features, present = backbone.forward_steps(signal, recorded, leads)
            assert present is not None
            assert present.unflatten(1, (3, 20)).any(2).tolist() == leads.tolist()
            torch.testing.assert_close(pooled[1], features[1].unflatten(0, (3, 20))[kept].flatten(0, 1).mean(0))


@pytest.mark.parametrize("name", ["lead_wise", "vit1d_lead"])
def test_zeros_are_a_signal_unless_told_otherwise(name: str) -> None:
    torch.manual_seed(0)
    options = {"single": "xresnet1d10", "width": 4} if name == "lead_wise" else {"width": 12, "depth": 1}
    backbone = create_backbone(name, in_leads=3, **options).eval()
    signal = torch.randn(1, 3, 200)
    signal[:, 1] = 0
    whole, without = backbone(signal), backbone(signal, None, torch.tensor([[True, False, True]]))
    assert (whole - without).abs().max() > 1e-4


def test_interpolation_is_linear_between_uneven_times_and_constant_beyond() -> None:
    heat = interpolate(torch.tensor([[1.0, 3.0, 0.0]]), torch.tensor([2.0, 4.0, 7.0]), 10)
    torch.testing.assert_close(heat, torch.tensor([[1, 1, 1, 2, 3, 2, 1, 0, 0, 0.0]]))


def test_new_weights_reach_every_module_and_leave_the_network_as_it_is() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention, self.norm = nn.MultiheadAttention(8, 2), nn.BatchNorm1d(8)

    network = Attending()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.norm.running_mean += 1
    torch.manual_seed(1)
    again = reset(network).state_dict()
    assert not torch.equal(again["attention.in_proj_weight"], before["attention.in_proj_weight"])
    assert not torch.equal(again["attention.out_proj.weight"], before["attention.out_proj.weight"])
    assert torch.equal(again["norm.running_mean"], torch.zeros(8))
    assert torch.equal(network.state_dict()["attention.in_proj_weight"], before["attention.in_proj_weight"])
