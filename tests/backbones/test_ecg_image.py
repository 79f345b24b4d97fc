from __future__ import annotations

import re
from pathlib import Path

import pytest
import timm
import torch
from safetensors.torch import save_file

from ssl_ecg.backbones import Encoder, create_backbone, load_encoder, save_encoder
from ssl_ecg.signals import SignalSettings

SIGNAL = SignalSettings(duration=2.5, min_duration=1)
SMALL = {"network": "test_resnet", "lead_height": 8}


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """A file of weights of a network that has seen images of three channels and a thousand classes."""
    torch.manual_seed(5)
    path = tmp_path / "photographs.safetensors"
    save_file(timm.create_model("test_resnet", num_classes=1000).state_dict(), path)
    return path


def test_the_eight_independent_leads_are_drawn() -> None:
    backbone = create_backbone("ecg_image", **SMALL)
    signal = torch.zeros(1, 12, 250)
    empty = backbone.draw(signal)
    assert empty.shape == (1, 1, 8 * 8, 125)
    assert [SIGNAL.leads[row] for row in backbone.drawn] == ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]
    for strip, row in enumerate(backbone.drawn):
        signal[:] = 0
        signal[:, row] = 3.0
        changed = (backbone.draw(signal) != empty)[0, 0].any(1).nonzero().flatten()
        assert changed.min() >= 8 * strip
        assert changed.max() < 8 * (strip + 1)
    assert create_backbone("ecg_image", in_leads=8, **SMALL).drawn == list(range(8))


def test_a_spike_of_one_sample_is_filtered_out() -> None:
    signal = torch.zeros(1, 12, 250)
    signal[..., 100] = 5
    filtering, not_filtering = (create_backbone("ecg_image", median=median, **SMALL) for median in (3, 1))
    assert torch.equal(filtering.draw(signal), filtering.draw(torch.zeros_like(signal)))
    assert not torch.equal(not_filtering.draw(signal), not_filtering.draw(torch.zeros_like(signal)))


@pytest.mark.parametrize("network", ["test_resnet", "test_efficientnet", "test_convnext"])
@pytest.mark.parametrize("in_chans", [1, 3])
def test_features_are_those_of_the_network_on_the_image(network: str, in_chans: int) -> None:
    backbone = create_backbone("ecg_image", **{**SMALL, "network": network, "in_chans": in_chans}).eval()
    signal = torch.randn(2, 12, 250)
    with torch.inference_mode():
        image = backbone.draw(signal)
        assert image.shape == (2, in_chans, 64, 125)
        expected = backbone.network(image)
        torch.testing.assert_close(backbone(signal), expected, rtol=1e-4, atol=1e-5)
    assert expected.shape == (2, backbone.width)


def test_weights_of_a_file_start_the_network_and_stay_out_of_the_folder(photographs: Path, tmp_path: Path) -> None:
    encoder = Encoder("ecg_image", {**SMALL, "weights": str(photographs)}, SIGNAL).eval()
    torch.manual_seed(5)
    seen = timm.create_model("test_resnet", num_classes=1000).state_dict()
    started = encoder.backbone.network.state_dict()
    assert {name for name in seen if name not in started} == {"fc.weight", "fc.bias"}
    first = next(name for name, tensor in seen.items() if tensor.ndim == 4)  # three colours are summed to one
    torch.testing.assert_close(started.pop(first), seen[first].sum(1, keepdim=True))
    assert all(torch.equal(tensor, seen[name]) for name, tensor in started.items())
    assert encoder.options == SMALL
    folder = save_encoder(encoder, tmp_path / "encoder", "# A card\n")
    photographs.unlink()
    signal = torch.randn(2, 12, 250)
    with torch.inference_mode():
        assert torch.equal(load_encoder(folder)(signal), encoder(signal))


def test_weights_that_are_not_to_be_had_are_named(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for weights in ("nowhere.safetensors", "imagenet", __file__):
        with pytest.raises(ValueError, match=re.escape(f"weights={weights!r}: choose null, hub, or the path")):
            create_backbone("ecg_image", weights=weights, **SMALL)
    with pytest.raises(ValueError, match=r"lacks \d+ tensors of 'test_efficientnet'"):
        create_backbone("ecg_image", network="test_efficientnet", weights=str(photographs))

    def offline(*_: object, **__: object) -> None:
        raise OSError("no connection")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(ValueError, match=r"hub did not deliver 'test_resnet' \(no connection\); give the path"):
        create_backbone("ecg_image", weights="hub", **SMALL)


@pytest.mark.parametrize(
    "options", [{"network": "resnet5"}, {"in_chans": 2}, {"samples_per_column": 0}, {"limit": 0}, {"median": 2}]
)
def test_impossible_options_are_named(options: dict) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ValueError, match=re.escape(f"{name}={value!r}")):
        create_backbone("ecg_image", **{**SMALL, **options})


def test_a_network_without_an_image_of_features_is_refused() -> None:
    backbone = create_backbone("ecg_image", network="test_vit", lead_height=20)
    with pytest.raises(ValueError, match=r"network: its features .* are no \[batch, channels, rows, columns\]"):
        backbone(torch.randn(1, 12, 321))
