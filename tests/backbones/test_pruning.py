"""Networks without their weakest channels and weights."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from ssl_ecg.backbones import Encoder
from ssl_ecg.backbones.pruning import cut_channels, narrowed, without_smallest
from ssl_ecg.backbones.xresnet1d import ConvNorm
from ssl_ecg.signals import SignalSettings

SIGNAL = SignalSettings(duration=3, min_duration=3)


def encoder(name: str, **options: object) -> Encoder:
    """Return an encoder whose batch norms all do something, as after training."""
    torch.manual_seed(0)
    made = Encoder(name, {"width": 8, **options}, SIGNAL)
    for part in made.modules():
        if isinstance(part, nn.BatchNorm1d):
            nn.init.uniform_(part.weight, 0.2, 2)
            nn.init.normal_(part.bias, 0, 0.3)
            nn.init.normal_(part.running_mean, 0, 0.3)
            nn.init.uniform_(part.running_var, 0.5, 2)
    return made.eval()


@pytest.mark.parametrize(
    ("name", "options"),
    [("xresnet1d10", {}), ("xresnet1d18", {"pooling": "mean_max"}), ("xresnet1d50", {"depths": [2, 1, 2]})],
)
@torch.no_grad()
def test_the_narrow_network_gives_what_the_masked_one_gives(name: str, options: dict) -> None:
    whole, leads = encoder(name, **options), ("II", "V1", "aVR")
    small = Encoder(name, {**whole.options, "width": 3}, SIGNAL.replace(leads=leads)).eval()
    places = torch.tensor([whole.leads.index(lead) for lead in leads])
    kept = cut_channels(whole.backbone, small.backbone, places)
    parts = {name: part for name, part in whole.backbone.named_modules() if isinstance(part, ConvNorm)}
    assert set(kept) == set(parts)
    for part_name, part in parts.items():
        masked = torch.ones(part[0].out_channels, dtype=torch.bool)
        masked[kept[part_name]] = False
        for value in (part[0].weight, part[1].weight, part[1].bias, part[1].running_mean):
            value[masked] = 0
    signal = torch.randn(4, 12, 300)
    for lead in range(12):
        if lead not in places:
            signal[:, lead] = 0
    last = kept[[name for name in parts if "branch" in name][-1]]
    steps = whole.backbone.forward_features(signal)
    assert (steps[:, :, last] - small.backbone.forward_features(signal[:, places])).abs().max() < 1e-4
    assert steps[:, :, last].abs().max() > 0.1
    others = torch.ones(steps.shape[2], dtype=torch.bool)
    others[last] = False
    assert not steps[:, :, others].any()


def test_the_strongest_channels_stay() -> None:
    whole = encoder("xresnet1d10")
    strong = torch.tensor([1, 3])
    with torch.no_grad():
        norm = whole.backbone.stages[2][0].branch[0][1]
        norm.weight.fill_(0.1)
        norm.weight[strong] = 50
    small = Encoder("xresnet1d10", {"width": 1}, SIGNAL)  # 4 of the 32 channels of this layer
    kept = cut_channels(whole.backbone, small.backbone, torch.arange(12))["stages.2.0.branch.0"]
    assert len(kept) == 4
    assert set(strong.tolist()) <= set(kept.tolist())


def test_all_channels_kept_is_the_same_network_and_leads_alone_can_be_cut() -> None:
    whole, signal = encoder("xresnet1d18"), torch.randn(2, 12, 300)
    assert torch.equal(narrowed(whole)(signal), whole(signal))
    few = narrowed(whole, leads=("V2", "I"))
    assert few.leads == ("V2", "I")
    blank = torch.zeros_like(signal)
    blank[:, [0, 7]] = signal[:, [0, 7]]
    assert torch.allclose(few(signal[:, [7, 0]]), whole(blank), atol=1e-5)
    with pytest.raises(ValueError, match=r"leads=.*V9"):
        narrowed(whole, leads=("V9",))
    half = narrowed(whole, 0.5)
    assert (half.width, half.options["width"]) == (32, 4)


@pytest.mark.parametrize("name", ["mobilenet1d", "se_resnet1d18"])
def test_other_networks_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}.*distil a new network"):
        narrowed(Encoder(name, {}, SIGNAL), 0.5)


def test_the_largest_weights_stay() -> None:
    whole = encoder("xresnet1d10")
    pruned = without_smallest(whole, 0.3)
    before, after = (
        torch.cat([part.weight.flatten() for part in each.modules() if isinstance(part, nn.Conv1d)]).detach()
        for each in (whole, pruned)
    )
    kept = after != 0
    assert kept.float().mean() == pytest.approx(0.3, abs=1e-4)
    assert torch.equal(after[kept], before[kept])
    assert before[kept].abs().min() >= before[~kept].abs().max()
    assert whole.state_dict().keys() == pruned.state_dict().keys()
