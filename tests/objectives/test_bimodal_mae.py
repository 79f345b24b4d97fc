from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from ssl_ecg.backbones import create_backbone
from ssl_ecg.objectives import create_objective
from ssl_ecg.objectives.masked_loss import masked_loss, normalise_patches
from ssl_ecg.views import Mask, keep_smallest, random_mask

NAMES = {
    "attention_output": "attn.proj",
    "qkv": "attn.qkv",
    "mlp1": "mlp.fc1",
    "mlp2": "mlp.fc2",
}
PUBLISHED = {"ratio_time": 0.75, "ratio_frequency": 0.75, "connections": True}


def small(frequency: bool = True, seed: int = 0, samples: int = 200, **options: object) -> nn.Module:
    """The published recipe, unless options say otherwise, at a small size."""
    torch.manual_seed(seed)
    backbone = create_backbone("bimodal_vit", in_leads=3, width=24, samples=samples, frequency=frequency)
    return create_objective("bimodal_mae", backbone, 100.0, **{**PUBLISHED, "decoder_width": 12, **options})


def batch(size: int = 4, samples: int = 200, seed: int = 0) -> dict[str, Tensor]:
    return {"signal": torch.randn(size, 3, samples, generator=torch.Generator().manual_seed(seed))}


def plain_name(name: str) -> str:
    """Turn a name of the oracle into ours."""
    for theirs, ours in NAMES.items():
        name = name.replace(theirs, ours)
    if name.startswith("joint") or name == "global_token":
        return f"backbone.{name}"
    stream, part, *rest = name.split(".")
    if part in ("patch", "position"):
        return f"backbone.{name}"
    if part == "encoder":
        return f"backbone.{stream}." + ".".join(rest if rest[0] == "norm" else ["blocks", *rest])
    if part == "connection":
        return f"decoders.{stream}.connections.{int(rest[0]) - 1}." + ".".join(rest[1:])
    return f"decoders.{stream}." + ".".join(["blocks", *rest] if rest[0].isdigit() else rest)


def mask_from(visible: np.ndarray, masked: np.ndarray) -> Mask:
    """Make the mask whose visible tokens come in the given order."""
    draw = torch.from_numpy(masked).double() * 1000 + torch.arange(masked.shape[1])
    for row, positions in enumerate(visible):
        draw[row, torch.from_numpy(positions)] = torch.arange(len(positions), dtype=torch.double)
    return keep_smallest(draw, visible.shape[1])


def test_predictions_and_losses_are_those_of_the_authors_network(
    read_oracle: Callable[[str], dict[str, np.ndarray]],
) -> None:
    oracle = read_oracle("bimodal_mae_forward")
    objective = small().eval()
    state = {}
    for name in oracle:
        if name.startswith("weight/"):
            weight = torch.from_numpy(oracle[name])
            if name.endswith("patch.weight"):
                weight = weight.flatten(1)  # a convolution [D, L, P] as a linear layer on [lead, sample]
            state[plain_name(name.removeprefix("weight/"))] = weight
    objective.load_state_dict(state)

    patches = objective.backbone.patches(torch.from_numpy(oracle["signal"]))
    masks = {name: mask_from(oracle[f"visible_{name}"], oracle[f"mask_{name}"]) for name in ("time", "frequency")}
    with torch.no_grad():
        predictions, _ = objective.predict(patches, masks)
    for name, mask in masks.items():
        np.testing.assert_array_equal(mask.visible, oracle[f"visible_{name}"])
        np.testing.assert_array_equal(mask.masked, oracle[f"mask_{name}"] == 1)
        # Theirs is laid out as a signal [B, L, T].
        theirs = torch.from_numpy(oracle[f"prediction_{name}"]).unflatten(2, (-1, 10)).transpose(1, 2).flatten(2)
        torch.testing.assert_close(predictions[name], theirs, atol=1e-4, rtol=0)
        loss = masked_loss(predictions[name], patches[name], mask.masked)
        assert float(loss) == pytest.approx(float(oracle[f"loss_{name}"]), abs=1e-5)


def test_the_published_size_has_six_and_a_half_million_parameters() -> None:
    objective = create_objective("bimodal_mae", create_backbone("bimodal_vit"), 100.0, **PUBLISHED)
    assert sum(p.numel() for p in objective.parameters()) == 6_500_022
    assert objective.taps == [("joint", 1), ("specific", 3), ("specific", 1)]


@pytest.mark.parametrize("frequency", [True, False])
@pytest.mark.parametrize("connections", [True, False])
def test_keeps_the_contract(frequency: bool, connections: bool) -> None:
    objective = small(frequency, connections=connections)
    parts = objective(batch())
    names = {"loss", "time_loss", "features"} | ({"frequency_loss"} if frequency else set())
    assert set(parts) == names
    assert parts["features"].shape == (4, 24)
    assert not any(parts[name].requires_grad for name in names - {"loss"})
    parts["loss"].backward()
    for name, parameter in objective.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().max() > 0, name


def test_weights_of_the_losses() -> None:
    torch.manual_seed(1)
    parts = small(time_weight=2.0, frequency_weight=0.5)(batch())
    torch.testing.assert_close(parts["loss"], 2 * parts["time_loss"] + 0.5 * parts["frequency_loss"])


def test_only_masked_patches_cost() -> None:
    torch.manual_seed(0)
    prediction, target = torch.randn(3, 10, 6), torch.randn(3, 10, 6)
    masked = random_mask(3, 10, 0.6).masked
    loss = masked_loss(prediction, target, masked)
    expected = np.mean([((prediction[i] - target[i]) ** 2).mean(1)[masked[i]].mean() for i in range(3)])
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)
    changed = target + torch.where(masked[..., None], 0.0, 5.0)
    assert float(masked_loss(prediction, changed, masked)) == float(loss)
    changed = target + torch.where(masked[..., None], 5.0, 0.0)
    assert float(masked_loss(prediction, changed, masked)) > float(loss)


def test_masked_patches_do_not_reach_the_prediction() -> None:
    objective = small().eval()
    patches = objective.backbone.patches(batch()["signal"])
    masks = objective.draw_masks(patches)
    hidden = {name: torch.where(masks[name].masked[..., None], 99.0, values) for name, values in patches.items()}
    with torch.no_grad():
        before, after = objective.predict(patches, masks)[0], objective.predict(hidden, masks)[0]
    for name in before:
        assert torch.equal(before[name], after[name])


def test_the_encoder_sees_visible_tokens_only() -> None:
    objective = small(ratio_time=0.75, ratio_frequency=0.5)
    seen: dict[str, tuple[int, ...]] = {}
    backbone = objective.backbone
    for name, block in (("time", backbone.time.blocks[0]), ("frequency", backbone.frequency.blocks[0])):
        block.register_forward_pre_hook(lambda _, inputs, name=name: seen.update({name: tuple(inputs[0].shape)}))
    backbone.joint[0].register_forward_pre_hook(lambda _, inputs: seen.update(joint=tuple(inputs[0].shape)))
    objective(batch())
    assert seen == {"time": (4, 1 + 5, 24), "frequency": (4, 1 + 5, 24), "joint": (4, 1 + 5 + 5, 24)}


def test_masks_are_drawn_for_each_modality_on_its_own() -> None:
    objective = small(ratio_time=0.5, ratio_frequency=0.5, samples=400)
    masks = objective.draw_masks({"time": torch.zeros(50, 40, 1), "frequency": torch.zeros(50, 40, 1)})
    assert not torch.equal(masks["time"].masked, masks["frequency"].masked)


def test_a_closed_gate_is_no_connection() -> None:
    connected, plain = small(connections=True).eval(), small(connections=False).eval()
    state = {name: value for name, value in connected.state_dict().items() if ".connections." not in name}
    plain.load_state_dict(state)
    for name in ("time", "frequency"):
        for connection in connected.decoders[name].connections:
            nn.init.zeros_(connection.gate.weight)
            nn.init.constant_(connection.gate.bias, -1e4)  # sigmoid is exactly 0
    patches = connected.backbone.patches(batch()["signal"])
    masks = connected.draw_masks(patches)
    with torch.no_grad():
        found, expected = connected.predict(patches, masks)[0], plain.predict(patches, masks)[0]
    for name in found:
        assert torch.equal(found[name], expected[name])


def test_an_open_gate_puts_the_taps_values_at_visible_and_zeros_at_masked_positions() -> None:
    connection = small().decoders["time"].connections[0]
    nn.init.zeros_(connection.gate.weight)
    nn.init.constant_(connection.gate.bias, 1e4)  # sigmoid is exactly 1
    mask = random_mask(2, 20, 0.75)
    tap = torch.randn(2, 5, 24)
    mixed = connection(torch.randn(2, 20, 12), tap, mask)
    assert torch.equal(mixed[mask.masked], torch.zeros(30, 12))
    brought = connection.project(connection.norm(tap))
    for record in range(2):
        torch.testing.assert_close(mixed[record, mask.visible[record]], brought[record])


def test_normalised_targets_have_mean_zero_and_variance_one() -> None:
    patches = normalise_patches(3 + 7 * torch.randn(2, 5, 120))
    torch.testing.assert_close(patches.mean(2), torch.zeros(2, 5), atol=1e-5, rtol=0)
    torch.testing.assert_close(patches.var(2), torch.ones(2, 5), atol=1e-4, rtol=0)
    assert normalise_patches(torch.zeros(1, 1, 10)).isfinite().all()


@pytest.mark.parametrize("normalise", [True, False])
def test_reconstruction_pictures_are_laid_out_as_the_signal(normalise: bool) -> None:
    data = batch()
    pictures = small(normalise_targets=normalise).eval().reconstruct(data)
    torch.testing.assert_close(pictures["signal"]["original"], data["signal"])
    assert pictures["signal"]["mask"].float().mean(dim=(1, 2)).tolist() == [0.75] * 4
    assert pictures["signal"]["mask"][:, :, ::10].equal(pictures["signal"]["mask"][:, :, 9::10])
    assert pictures["spectrum"]["reconstruction"].shape == (4, 3, 100)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_half_precision_agrees(precision: torch.dtype) -> None:
    objective = small().eval()
    losses = []
    for enabled in (False, True):
        torch.manual_seed(3)
        with torch.autocast("cpu", dtype=precision, enabled=enabled), torch.no_grad():
            losses.append(objective(batch())["loss"])
    assert losses[1].dtype == torch.float32
    assert float(losses[1]) == pytest.approx(float(losses[0]), rel=0.02)


@pytest.mark.slow
def test_learns_eight_records_by_heart() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("bimodal_vit", in_leads=2, width=48, depth=2, joint_depth=2, samples=100)
    objective = create_objective(
        "bimodal_mae", backbone, 100.0, decoder_width=48, decoder_depth=3, ratio_time=0.5, ratio_frequency=0.5,
        connections=True,
    )  # fmt: skip
    data = {"signal": torch.randn(8, 2, 100)}
    optimizer = torch.optim.AdamW(objective.parameters(), betas=(0.9, 0.95), weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 5e-3, total_steps=300)
    for _ in range(300):
        loss = objective(data)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    assert float(loss.detach()) < 0.05  # white noise: without knowing the record both losses are 1


def test_lengths_other_than_the_learnt_ones_are_interpolated() -> None:
    objective = small()
    for samples in (100, 205, 400):
        assert objective(batch(samples=samples))["loss"].isfinite()


def test_another_backbone_is_refused() -> None:
    with pytest.raises(ValueError, match="needs backbone=bimodal_vit"):
        create_objective("bimodal_mae", create_backbone("xresnet1d10", width=4), 100.0)


@pytest.mark.parametrize(
    ("options", "name"),
    [
        ({"ratio_time": 1.5}, "ratio_time"),
        ({"ratio_frequency": 0.0}, "ratio_frequency"),
        ({"time_weight": -1.0}, "time_weight"),
        ({"decoder_depth": 0}, "decoder_depth"),
    ],
)
def test_options_out_of_range_are_named_before_anything_is_run(options: dict[str, float], name: str) -> None:
    with pytest.raises(ValueError, match=f"{name}="):
        small(**options)
