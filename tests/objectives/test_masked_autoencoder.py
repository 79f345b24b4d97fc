from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from ssl_ecg.backbones import create_backbone
from ssl_ecg.objectives import create_objective
from ssl_ecg.objectives.masked_autoencoder import MaskedAutoencoder
from ssl_ecg.objectives.masked_loss import present_tokens
from ssl_ecg.views import Mask, grid_mask

BACKBONE = {"mae": "all_leads", "st_mem": "lead", "mtae": "lead", "mlae": "lead"}
NAMES = tuple(BACKBONE)


def small(name: str, in_leads: int = 4, depth: int = 2, width: int = 12, **options: object) -> MaskedAutoencoder:
    torch.manual_seed(0)
    tokens = BACKBONE[name]
    backbone = create_backbone(
        "vit1d", in_leads=in_leads, tokens=tokens, patch=10, samples=200, width=width, depth=depth, heads=3
    )
    objective = create_objective(
        name, backbone, 100.0, **{"decoder_width": 12, "decoder_depth": 1, "ratio": 0.5, **options}
    )
    assert isinstance(objective, MaskedAutoencoder)
    return objective


def batch(size: int = 4, leads: int = 4, samples: int = 200) -> dict[str, Tensor]:
    return {"signal": torch.randn(size, leads, samples, generator=torch.Generator().manual_seed(1))}


def hold(objective: MaskedAutoencoder, mask: Mask, prediction: Tensor | None = None) -> None:
    """Fix the mask and, if given, the prediction."""
    objective.draw_mask = lambda patches, present: mask  # type: ignore[method-assign]
    if prediction is not None:
        visible = torch.zeros(len(prediction), 1, objective.backbone.width)
        objective.predict = lambda patches, mask, present: (prediction, visible)  # type: ignore[method-assign]


@pytest.mark.parametrize("name", NAMES)
def test_keeps_the_contract(name: str) -> None:
    objective = small(name)
    parts = objective(batch())
    assert set(parts) == {"loss", "features"}
    assert parts["loss"].shape == ()
    assert parts["features"].shape == (4, 12)
    assert not parts["features"].requires_grad
    parts["loss"].backward()
    assert [n for n, p in objective.named_parameters() if p.grad is None or not p.grad.abs().max() > 0] == []


@pytest.mark.parametrize("name", NAMES)
def test_names_differ_in_what_they_hide_and_how_they_decode(name: str) -> None:
    objective = small(name)
    assert (objective.mask, objective.decoder.decode, objective.normalise_targets) == {
        "mae": ("random", "all", False),
        "st_mem": ("random", "lead", True),
        "mtae": ("time", "all", True),
        "mlae": ("lead", "all", True),
    }[name]
    hidden = objective.draw_mask(objective.backbone.patchify(batch(50)["signal"])).masked
    assert (hidden.sum(1) == hidden.shape[1] // 2).all()
    if name != "mae":
        by_lead = hidden.unflatten(1, (4, 20))
        assert bool((by_lead == by_lead[:, :1]).all()) == (name == "mtae")
        assert bool((by_lead == by_lead[..., :1]).all()) == (name == "mlae")


def test_a_lead_that_was_not_recorded_costs_nothing_where_patches_cover_all() -> None:
    objective = small("mae")
    given = {**batch(2), "leads": torch.tensor([[True, True, True, False], [True] * 4])}
    patches = objective.backbone.patchify(given["signal"])
    mask = objective.draw_mask(patches)
    prediction = torch.randn_like(patches)
    hold(objective, mask, prediction)
    loss = objective(given)["loss"]
    error = (prediction - patches).square().unflatten(2, (4, 10))  # [B, N, L, P]
    hidden = mask.masked
    expected = [error[0, hidden[0], :3].mean(), error[1, hidden[1]].mean()]
    torch.testing.assert_close(loss, torch.stack(expected).mean())


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_only_hidden_patches_cost(name: str, normalise: bool) -> None:
    objective = small(name, normalise_targets=normalise)
    signal = batch(2)["signal"]
    patches = objective.backbone.patchify(signal)
    prediction = torch.randn_like(patches)
    mask = objective.draw_mask(patches)
    hold(objective, mask, prediction)
    loss = objective({"signal": signal})["loss"]

    expected = []
    for record in range(2):
        errors = []
        for position in mask.masked[record].nonzero()[:, 0]:
            target = patches[record, position]
            if normalise:
                target = (target - target.mean()) / (target.var() + 1e-6) ** 0.5
            errors.append((prediction[record, position] - target).square().mean())
        expected.append(torch.stack(errors).mean())
    torch.testing.assert_close(loss, torch.stack(expected).mean())

    noise = torch.randn_like(patches)
    visible_changed = objective.backbone.unpatchify(patches + noise * ~mask.masked[..., None])
    assert torch.equal(objective({"signal": visible_changed})["loss"], loss)
    hidden_changed = objective.backbone.unpatchify(patches + noise * mask.masked[..., None])
    assert (objective({"signal": hidden_changed})["loss"] - loss).abs() > 1e-3


@pytest.mark.parametrize("name", NAMES)
def test_the_prediction_does_not_know_hidden_patches(name: str) -> None:
    objective = small(name).eval()
    patches = objective.backbone.patchify(batch()["signal"])
    mask = objective.draw_mask(patches)
    with torch.no_grad():
        present = None
        prediction, visible = objective.predict(patches, mask, present)
        other = patches + torch.randn_like(patches) * mask.masked[..., None]
        assert torch.equal(objective.predict(other, mask, present)[0], prediction)
        assert torch.equal(objective.predict(other, mask, present)[1], visible)
        other = patches + torch.randn_like(patches) * ~mask.masked[..., None]
        changed = (objective.predict(other, mask, present)[0] - prediction).abs().amax(2)
        assert (changed > 0).all()  # every prediction, of every lead, draws on what is visible


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("ratio", "visible"), [(0.5, 10), (0.75, 5)])
def test_the_encoder_sees_visible_tokens_and_separators_alone(name: str, ratio: float, visible: int) -> None:
    objective = small(name, ratio=ratio)
    seen: list[int] = []
    objective.backbone.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0].shape[1]))
    objective(batch())
    assert seen == [visible if name == "mae" else 2 * 4 + 4 * visible]


def test_decoding_lead_by_lead_does_not_mix_leads() -> None:
    def moved(name: str) -> Tensor:
        """Tell which leads' predictions change with an encoded token of lead 2."""
        objective = small(name, decode=decode)
        mask = grid_mask("random", 1, 4, 20, 0.5)
        encoded = torch.randn(1, 8 + 40, 12)
        changed = encoded.clone()
        changed[0, 8 + mask.visible[0].div(20, rounding_mode="floor").eq(2).nonzero()[0]] += 1
        with torch.no_grad():
            difference = objective.decoder(changed, mask) - objective.decoder(encoded, mask)
        return difference.unflatten(1, (4, 20)).abs().amax((0, 2, 3)) > 0

    decode = "lead"
    assert moved("st_mem").tolist() == [False, False, True, False]
    decode = "all"
    assert moved("st_mem").all()


def test_separators_reach_the_decoder_of_their_own_lead() -> None:
    objective = small("st_mem")
    mask = grid_mask("random", 1, 4, 20, 0.5)
    encoded = torch.randn(1, 8 + 40, 12)
    changed = encoded.clone()
    changed[0, 3] += 1  # the end of lead 1
    with torch.no_grad():
        difference = objective.decoder(changed, mask) - objective.decoder(encoded, mask)
    assert (difference.unflatten(1, (4, 20)).abs().amax((0, 2, 3)) > 0).tolist() == [False, True, False, False]


@pytest.mark.parametrize("decode", ["lead", "all"])
def test_the_decoder_puts_tokens_in_their_places(decode: str) -> None:
    """Without blocks, and with tokens that name their position, the output at a visible position is its own token's."""
    objective = small("st_mem", decode=decode)
    decoder = objective.decoder
    decoder.blocks = nn.ModuleList()
    mask = grid_mask("random", 2, 4, 20, 0.5)
    encoded = torch.randn(2, 8 + 40, 12)
    with torch.no_grad():
        predicted = decoder(encoded, mask)
        for record in range(2):
            tokens = {int(place): encoded[record, 8 + index] for index, place in enumerate(mask.visible[record])}
            for place in range(80):
                x = decoder.project(tokens[place]) if place in tokens else decoder.mask_token[0, 0]
                x = x + decoder.position[0, :, place % 20] + decoder.lead[place // 20, 0]
                torch.testing.assert_close(predicted[record, place], decoder.output(decoder.norm(x)))


@pytest.mark.parametrize("name", ["st_mem", "mtae", "mlae"])
def test_a_missing_lead_is_neither_seen_nor_predicted(name: str) -> None:
    objective = small(name).eval()
    leads = torch.tensor([[True, False, True, True], [True] * 4])  # nothing is told from the signal, which is there
    data = {**batch(2), "leads": leads}
    patches = objective.backbone.patchify(data["signal"])
    prediction = torch.randn_like(patches)
    present = present_tokens(objective.backbone, data, patches.shape[1])
    mask = objective.draw_mask(patches, present)
    with torch.no_grad():
        visible = objective.predict(patches, mask, present)[1]
    # As of any missing lead, the encoder's features are 0: it was told that this one is missing.
    unseen = torch.tensor([[1], [-1]]) == mask.visible // 20
    assert torch.equal((visible == 0).all(2), unseen)
    hold(objective, mask, prediction)
    loss = objective(data)["loss"]
    prediction[0, 20:40] += 100
    assert torch.equal(objective(data)["loss"], loss)
    prediction[1, 20:40][mask.masked[1, 20:40]] += 100
    prediction[1, :20][mask.masked[1, :20]] += 100
    assert objective(data)["loss"] > loss + 1000


@pytest.mark.parametrize("name", NAMES)
def test_a_record_without_any_lead_costs_nothing_that_is_not_finite(name: str) -> None:
    objective = small(name)
    leads = torch.tensor([[False] * 4, [True] * 4])
    parts = objective({"signal": batch(2)["signal"] * leads[..., None], "leads": leads})
    parts["loss"].backward()
    assert parts["loss"].isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


@pytest.mark.slow
@pytest.mark.parametrize(("name", "bound"), [("mae", 0.02), ("st_mem", 0.02)])
def test_eight_records_are_learnt_by_heart(name: str, bound: float) -> None:
    time = torch.arange(60) / 100
    frequency = 1 + torch.rand(8, 2, 1, generator=torch.Generator().manual_seed(3)) * 4
    signal = torch.sin(2 * torch.pi * frequency * time)
    torch.manual_seed(0)
    tokens = BACKBONE[name]
    backbone = create_backbone("vit1d", in_leads=2, tokens=tokens, patch=10, samples=60, width=48, depth=2, heads=3)
    options = {"decoder_width": 48, "decoder_depth": 2, "ratio": 0.5, "normalise_targets": False}
    objective = create_objective(name, backbone, 100.0, **options)
    hold(objective, objective.draw_mask(backbone.patchify(signal)))
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    losses = []
    for _ in range(150):
        loss = objective({"signal": signal})["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] > 0.3
    assert losses[-1] < bound


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_agrees_with_float32(name: str, dtype: torch.dtype) -> None:
    objective = small(name)
    torch.manual_seed(5)
    exact = objective(batch())["loss"]
    torch.manual_seed(5)
    with torch.autocast("cpu", dtype):
        loss = objective(batch())["loss"]
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, exact, rtol=0.01, atol=0)
    loss.backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_the_seed_decides(name: str) -> None:
    objective = small(name)
    losses = []
    for seed in (1, 1, 2):
        torch.manual_seed(seed)
        losses.append(objective(batch())["loss"].item())
    assert losses[0] == losses[1] != losses[2]


@pytest.mark.parametrize("name", NAMES)
def test_other_lengths_than_the_design(name: str) -> None:
    objective = small(name)
    for samples in (50, 325):
        parts = objective(batch(samples=samples))
        parts["loss"].backward()
        assert parts["loss"].isfinite()


@pytest.mark.parametrize("normalise", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_reconstruction_is_a_signal_in_the_units_of_the_original(name: str, normalise: bool) -> None:
    objective = small(name, normalise_targets=normalise)
    signal = batch(2, samples=57)["signal"] * 3 + 1
    patches = objective.backbone.patchify(signal)
    mask = objective.draw_mask(patches)
    exact = patches
    if normalise:
        exact = (patches - patches.mean(2, keepdim=True)) / (patches.var(2, keepdim=True) + 1e-6).sqrt()
    hold(objective, mask, exact)
    picture = objective.reconstruct({"signal": signal})["signal"]
    assert set(picture) == {"original", "mask", "reconstruction"}
    assert torch.equal(picture["original"], signal[..., :50])
    torch.testing.assert_close(picture["reconstruction"], signal[..., :50])
    assert picture["mask"].dtype == torch.bool
    assert picture["mask"].shape == (2, 4, 50)
    by_patch = picture["mask"].unflatten(2, (5, 10))
    assert torch.equal(by_patch, by_patch[..., :1].expand(-1, -1, -1, 10))
    hidden = mask.masked if name != "mae" else mask.masked.repeat(1, 4)
    assert torch.equal(by_patch[..., 0].flatten(1), hidden)


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"backbone=XResNet1d.*backbone=vit1d "):
        create_objective("mae", create_backbone("xresnet1d10", width=4), 100.0)
    joint = create_backbone("vit1d", width=12, depth=1)
    for name in ("st_mem", "mtae", "mlae"):
        with pytest.raises(ValueError, match=r"mask=.*decode=.*vit1d_lead"):
            create_objective(name, joint, 100.0)
    with pytest.raises(ValueError, match=r"mask='block'"):
        small("st_mem", mask="block")
    with pytest.raises(ValueError, match=r"decode='time'"):
        small("st_mem", decode="time")
    for ratio in (0.0, 1.0):
        with pytest.raises(ValueError, match=f"ratio={ratio}"):
            small("mae", ratio=ratio)
    with pytest.raises(TypeError, match="rattio"):
        create_objective("mae", joint, 100.0, rattio=0.5)
