"""What every backbone must do, whatever it is made of."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch
from timm.models import group_parameters
from timm.optim import param_groups_layer_decay
from torch import Tensor, nn

from ssl_ecg.backbones import Encoder, create_backbone, list_backbones, load_encoder, save_encoder
from ssl_ecg.signals import SignalSettings

BACKBONES = list_backbones()
SMALL: dict[str, dict[str, Any]] = {
    "attention_pooled": {"steps_of": "xresnet1d10"},
    "bimodal_vit": {"depth": 2, "joint_depth": 2, "heads": 2},
    "ecg_image": {"network": "test_resnet", "lead_height": 8, "samples_per_column": 1, "median": 1},
    "lead_wise": {"single": "xresnet1d10"},
    "nbeats1d": {"hidden": 16},
    "spectral_image": {"network": "test_resnet", "hop": 2, "bands": 16, "lowest": 0.04},
    "vit1d": {"depth": 2, "heads": 2},
    "vit1d_lead": {"depth": 2, "heads": 2},
    **{f"{family}{layers}": {"depths": (1, 1, 1, 1)} for family in ("xresnet1d", "se_resnet1d") for layers in (34, 50)},
    "xresnet1d101": {"depths": (1, 1, 1, 1)},
    "xresnet1d101_ptbxl": {"depths": (1, 1, 1, 1)},
}
IMAGES = ("ecg_image", "spectral_image")
NOT_SEEN = {"ecg_image": [2, 3, 4, 5]}  # leads that are sums of I and II
SAMPLES = 250
every_backbone = pytest.mark.parametrize("name", BACKBONES)


def small(name: str, in_leads: int = 12, seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return create_backbone(name, in_leads=in_leads, **options(name))


def options(name: str) -> dict[str, Any]:
    return {**({} if name in IMAGES else {"width": 4}), **SMALL.get(name, {})}


def settled(backbone: nn.Module, samples: int = SAMPLES) -> nn.Module:
    """The backbone in eval mode, its branches open and its batch norms with statistics of their own."""
    for module in backbone.modules():
        # The last norm of a branch may start at zero and hide the branch.
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            nn.init.ones_(module.weight)
    with torch.no_grad():
        for _ in range(3):
            backbone.train()(torch.randn(8, backbone.in_leads, samples))
    return backbone.eval()


@every_backbone
def test_forward_is_the_pooled_features_for_any_leads_and_length(name: str) -> None:
    for leads in (1, 2, 3, 8, 12):
        backbone = settled(small(name, leads))
        for samples in (250, 333, 500, 1000) if leads == 12 else (250,):
            signal = torch.randn(2, leads, samples)
            with torch.inference_mode():
                features = backbone.forward_features(signal)
                pooled = backbone(signal)
                assert torch.equal(pooled, backbone.pool(features))
            assert backbone.in_leads == leads
            assert features.ndim == 3
            assert features.shape[0] == 2
            assert pooled.shape == (2, backbone.width)
            assert pooled.isfinite().all()
            assert not torch.allclose(pooled[0], pooled[1])


@every_backbone
def test_only_steps_of_what_was_recorded_are_pooled(name: str) -> None:
    samples = 2000  # so that clocs has more than 4 steps
    backbone = settled(small(name), samples)
    signal, recorded = torch.randn(2, 12, samples), torch.tensor([samples, 900])
    with torch.inference_mode():
        features, present = backbone.forward_steps(signal, recorded)
        times = backbone.step_times(samples, features.shape[1])
        assert torch.equal(present, ~(times >= recorded[:, None]))
        assert present[0].all()
        assert 0.3 < present[1].float().mean() < (0.7 if times.isfinite().all() else 1)
        pooled = backbone.pool(features, present)
        torch.testing.assert_close(pooled, backbone(signal, recorded))
        torch.testing.assert_close(pooled[1:], backbone.pool(features[1:, present[1]]), rtol=1e-4, atol=1e-5)
        elsewhere = features.masked_fill(present[..., None], 0) * 1e3 + features * present[..., None]
        torch.testing.assert_close(backbone.pool(elsewhere, present), pooled)
        whole = backbone(signal, torch.tensor([samples, samples]), torch.ones(2, 12, dtype=torch.bool))
        torch.testing.assert_close(whole, backbone(signal), rtol=1e-4, atol=1e-5)


@every_backbone
def test_a_record_of_which_next_to_nothing_was_recorded_has_finite_features(name: str) -> None:
    backbone = settled(small(name))
    recorded, leads = torch.tensor([1, 1]), torch.tensor([[False] * 12, [True] + [False] * 11])
    features = backbone(torch.randn(2, 12, SAMPLES), recorded, leads)
    features.square().sum().backward()
    assert features.isfinite().all()
    assert all(p.grad.isfinite().all() for p in backbone.parameters() if p.grad is not None)


@every_backbone
def test_every_lead_and_the_whole_length_reach_the_features(name: str) -> None:
    backbone = settled(small(name))
    signal = torch.randn(1, 12, SAMPLES, requires_grad=True)
    (backbone(signal) * torch.randn(backbone.width)).sum().backward()
    seen = signal.grad[0].abs()
    assert (seen.amax(1) == 0).nonzero().flatten().tolist() == NOT_SEEN.get(name, [])
    assert (seen.amax(0) > 0).float().mean() > 0.75  # pooling by maximum or floor leaves some samples out


@every_backbone
def test_every_parameter_receives_a_gradient(name: str) -> None:
    backbone = settled(small(name)).train()
    weights = torch.randn(8, backbone.width)
    (backbone(torch.randn(8, 12, SAMPLES)) * weights).sum().backward()
    without = [n for n, p in backbone.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert without == []


@every_backbone
def test_in_eval_mode_a_record_does_not_depend_on_its_batch(name: str) -> None:
    backbone = settled(small(name))
    signal = torch.randn(4, 12, SAMPLES)
    with torch.inference_mode():
        alone = torch.cat([backbone(record[None]) for record in signal])
        among_others = backbone(torch.cat([signal[:1], 100 * torch.randn(3, 12, SAMPLES)]))
        torch.testing.assert_close(backbone(signal), alone, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(among_others[:1], alone[:1], rtol=1e-4, atol=1e-5)


@every_backbone
def test_the_seed_decides_weights_and_training_features(name: str) -> None:
    def trained(seed: int) -> tuple[list[Tensor], Tensor]:
        backbone = small(name, seed=seed).train()
        features = backbone(torch.linspace(-1, 1, 4 * 12 * SAMPLES).sin().reshape(4, 12, SAMPLES))
        return list(backbone.parameters()), features

    one, other, third = trained(0), trained(0), trained(1)
    assert all(torch.equal(a, b) for a, b in zip(one[0], other[0], strict=True))
    assert torch.equal(one[1], other[1])
    assert any(not torch.equal(a, b) for a, b in zip(one[0], third[0], strict=True))


@every_backbone
def test_bfloat16_autocast_is_finite_and_near_float32(name: str) -> None:
    backbone = settled(small(name), 1000)
    signal = torch.randn(4, 12, 1000)
    full = backbone(signal)
    with torch.autocast("cpu", torch.bfloat16):
        low = backbone(signal)
    low.float().square().sum().backward()
    assert (low.float() - full).abs().max() < 0.1 * full.abs().max()
    assert all(p.grad.isfinite().all() for p in backbone.parameters())


@every_backbone
@pytest.mark.parametrize("coarse", [False, True])
def test_layer_groups_run_from_input_to_output_and_hold_every_parameter_once(name: str, coarse: bool) -> None:
    backbone = small(name)
    groups = [_patterns(group) for group in backbone.group_matcher(coarse).values()]
    for parameter, _ in backbone.named_parameters():
        assert sum(any(re.match(p, parameter) for p in group) for group in groups) == 1, parameter
    layer = group_parameters(backbone, backbone.group_matcher(coarse), reverse=True)
    assert set(layer) == {n for n, _ in backbone.named_parameters()}
    _assert_from_input_to_output(backbone, layer)


def _assert_from_input_to_output(backbone: nn.Module, value: dict[str, float]) -> None:
    """Modules are defined in the order of the data; parallel ones, as of two streams, are ordered within themselves."""
    names = [name for name, _ in backbone.named_parameters()]
    order = [value[name] for name in names]
    assert len(set(order)) >= 3
    assert (order[0], order[-1]) == (min(order), max(order))
    for part, _ in backbone.named_children():
        inside = [value[name] for name in names if name.startswith(f"{part}.")]
        assert inside == sorted(inside), part


def _patterns(group: object) -> list[str]:
    return [group] if isinstance(group, str) else [p for p, _ in group]  # type: ignore[attr-defined]


@every_backbone
def test_timm_decays_learning_rates_towards_the_input(name: str) -> None:
    backbone = small(name)
    groups = param_groups_layer_decay(backbone, weight_decay=0.1, layer_decay=0.5)
    scale = {id(p): group["lr_scale"] for group in groups for p in group["params"]}
    _assert_from_input_to_output(backbone, {name: scale[id(p)] for name, p in backbone.named_parameters()})
    assert max(scale.values()) == 1
    assert all(group["weight_decay"] == 0 for group in groups if group["params"][0].ndim == 1)


@every_backbone
def test_saved_and_loaded_features_are_identical_bit_for_bit(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = Encoder(name, options(name), SignalSettings(sampling_rate=100, duration=SAMPLES / 100, min_duration=1))
    settled(encoder.backbone)
    loaded = load_encoder(save_encoder(encoder.eval(), tmp_path, "# A card\n"))
    signal = torch.randn(2, 12, SAMPLES)
    with torch.inference_mode():
        assert torch.equal(loaded(signal), encoder(signal))


@pytest.mark.slow
@every_backbone
def test_exported_program_gives_the_same_features_for_any_batch(name: str) -> None:
    backbone = settled(small(name))
    batch = torch.export.Dim("batch", min=1, max=64)
    exported = torch.export.export(backbone, (torch.randn(2, 12, SAMPLES),), dynamic_shapes=({0: batch},)).module()
    signal = torch.randn(5, 12, SAMPLES)
    with torch.inference_mode():
        torch.testing.assert_close(exported(signal), backbone(signal), rtol=1e-4, atol=1e-5)


@every_backbone
def test_a_short_signal_works_or_is_refused_by_its_samples(name: str) -> None:
    backbone = settled(small(name))
    for samples in (0, 1, 2, 5, 16, 50, 100):
        signal = torch.randn(2, 12, samples)
        try:
            with torch.inference_mode():
                features = backbone(signal)
        except ValueError as error:
            assert "samples" in str(error)  # noqa: PT017
        else:
            assert samples > 0
            assert features.isfinite().all()


@every_backbone
def test_other_leads_are_refused_with_both_sides(name: str) -> None:
    backbone = small(name)
    for leads in (1, 3, 13):
        with pytest.raises(ValueError, match=rf"\b{leads}\b.*\b12\b"):
            backbone(torch.zeros(2, leads, SAMPLES))
    with pytest.raises(ValueError, match="in_leads=0"):
        small(name, in_leads=0)


@pytest.mark.parametrize("name", [name for name in BACKBONES if name not in IMAGES])
@pytest.mark.parametrize("width", [0, -2])
def test_a_width_that_leaves_nothing_is_refused(name: str, width: int) -> None:
    with pytest.raises(ValueError, match=r"width: leaves (0|-\d+) features"):
        create_backbone(name, **{**options(name), "width": width})


def test_the_family_is_there() -> None:
    assert {"clocs", "mobilenet1d", "s4d", "se_resnet1d18", "se_resnet1d34", "se_resnet1d50"} <= set(BACKBONES)
    assert {"wide_resnet1d", *(f"xresnet1d{layers}" for layers in (10, 18, 34, 50, 101))} <= set(BACKBONES)
    assert sorted(BACKBONES) == BACKBONES


def test_unknown_names_and_options_are_refused() -> None:
    with pytest.raises(ValueError, match=r"backbone='resnet5'.*xresnet1d10"):
        create_backbone("resnet5")
    with pytest.raises(TypeError, match="widht"):
        create_backbone("xresnet1d10", widht=8)


@pytest.mark.slow
def test_the_documented_sizes_are_those_of_the_code() -> None:
    table = (Path(__file__).parents[2] / "docs" / "backbones.md").read_text("utf-8")
    rows = re.findall(r"^\| `(\w+)` \| ([\d,]+) \| [\d,.]+ \| (\d+) \|", table, re.MULTILINE)
    assert len(rows) >= 16
    for name, parameters, width in rows:
        backbone = create_backbone(name)
        size = (sum(p.numel() for p in backbone.parameters()), backbone.width)
        assert size == (int(parameters.replace(",", "")), int(width)), f"{name}: run benchmarks/backbones.py"
