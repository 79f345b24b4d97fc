from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ssl_ecg.backbones import create_backbone
from ssl_ecg.objectives import create_objective
from ssl_ecg.objectives.wav2vec2 import recognition_loss


def small(seed: int = 0, **options: object) -> nn.Module:
    torch.manual_seed(seed)
    backbone = create_backbone("vit1d", in_leads=3, width=12, depth=2, samples=200)
    return create_objective("wav2vec2", backbone, 100.0, **{"embedding": 8, "spans": 2, "augment": {}, **options})


def batch(size: int = 4, seed: int = 0) -> dict[str, Tensor]:
    signal = torch.randn(size, 3, 200, generator=torch.Generator().manual_seed(seed))
    whole = {"recorded": torch.full((size,), 200), "leads": torch.ones(size, 3, dtype=torch.bool)}
    return {"signal": signal, **whole, "patient": torch.arange(size)}


def test_the_loss_is_the_cross_entropy_over_the_hidden_patches_of_the_record() -> None:
    prediction, target = torch.randn(2, 3, 5, 4, generator=torch.Generator().manual_seed(0)).double()
    each, right = [], 0
    for b in range(3):
        for m in range(5):
            scores = [float(torch.cosine_similarity(prediction[b, m], target[b, k], dim=0)) / 0.2 for k in range(5)]
            each.append(math.log(sum(math.exp(score - scores[m]) for score in scores)))
            right += scores[m] == max(scores)
    loss, accuracy = recognition_loss(prediction, target, 0.2)
    assert float(loss) == pytest.approx(sum(each) / 15)
    assert float(accuracy) == pytest.approx(right / 15)


def test_patches_equal_to_the_hidden_one_are_no_distractors() -> None:
    prediction, target = torch.randn(2, 1, 5, 6, generator=torch.Generator().manual_seed(1))
    target[0, 4] = 3 * target[0, 0]  # the same direction is the same patch
    scores = torch.cosine_similarity(prediction[0, :, None], target[0, None], dim=2) / 0.1
    scores[0, 4] = scores[4, 0] = -torch.inf
    loss, _ = recognition_loss(prediction, target, 0.1)
    torch.testing.assert_close(loss, torch.nn.functional.cross_entropy(scores, torch.arange(5)))


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_keeps_the_contract(precision: torch.dtype) -> None:
    objective = small()
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        parts = objective(batch())
    assert set(parts) == {"loss", "accuracy", "features"}
    assert parts["loss"].dtype == torch.float32
    assert parts["features"].shape == (4, 12)
    assert not parts["features"].requires_grad
    assert not parts["accuracy"].requires_grad
    parts["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


def test_hidden_places_show_the_mask_token_and_their_place_alone() -> None:
    objective, data = small(ratio=0.5), batch()
    seen: list[Tensor] = []
    objective.backbone.blocks[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    for signal in (data["signal"], 5 * data["signal"]):
        torch.manual_seed(3)
        objective({"signal": signal})
    hidden = torch.isclose(seen[0], seen[1], atol=1e-6).all(2)
    assert hidden.sum(1).tolist() == [10] * 4
    place = objective.backbone.position[0].T
    for record in range(4):
        expected = objective.mask_token + place[hidden[record]]
        torch.testing.assert_close(seen[0][record, hidden[record]], expected, rtol=1e-4, atol=1e-5)
        runs = (hidden[record].int().diff() == 1).sum() + hidden[record][0]
        assert runs <= 2


@pytest.mark.parametrize("edge", ["zero", "constant", "half_padded", "one_record"])
def test_loss_and_gradients_are_finite_at_the_edges(edge: str) -> None:
    data = batch(1 if edge == "one_record" else 4)
    if edge in ("zero", "constant"):
        data["signal"][:] = float(edge == "constant")
    elif edge == "half_padded":
        data["signal"][..., 100:] = 0
    objective = small()
    loss = objective(data)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in objective.parameters())
    if edge in ("zero", "constant"):
        assert float(loss.detach()) == pytest.approx(0, abs=1e-5)  # nothing is there that could be mistaken


@pytest.mark.slow
def test_it_learns_to_recognise_hidden_patches() -> None:
    objective = small()
    phase = torch.rand(64, 1, 1, generator=torch.Generator().manual_seed(0))
    # Every record is one slow wave, so that what is hidden follows from what is left.
    data = {"signal": torch.sin(2 * math.pi * (torch.arange(200) / 120 + phase)).expand(-1, 3, -1)}
    optimizer = torch.optim.AdamW(objective.parameters(), lr=3e-3)
    accuracy = []
    for _ in range(120):
        parts = objective(data)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
        accuracy.append(float(parts["accuracy"]))
    assert sum(accuracy[:3]) / 3 < 0.2  # chance is 0.1
    assert sum(accuracy[-3:]) / 3 > 0.4


def test_with_cmsc_beside_it_through_joint() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("vit1d", in_leads=3, width=12, depth=2, samples=200)
    parts = {
        "cmsc": {"options": {"embedding": 8, "augment": {"lead_masking": 0.5}}},
        "wav2vec2": {"options": {"embedding": 8, "spans": 2, "augment": {"lead_masking": 0.5}}},
    }
    result = create_objective("joint", backbone, 100.0, parts=parts)(batch())
    torch.testing.assert_close(result["loss"].detach(), result["cmsc_loss"] + result["wav2vec2_loss"])


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"backbone=XResNet1d: wav2vec2 hides tokens.*choose backbone=vit1d"):
        create_objective("wav2vec2", create_backbone("xresnet1d10", width=4), 100.0)
    with pytest.raises(ValueError, match="backbone=ViT1d: wav2vec2 hides patches of all leads"):
        create_objective("wav2vec2", create_backbone("vit1d_lead", width=12, depth=1), 100.0)
    with pytest.raises(ValueError, match="temperature=0"):
        small(temperature=0)
    with pytest.raises(ValueError, match="ratio=1"):
        small(ratio=1.0)
    with pytest.raises(ValueError, match="blocks=40"):
        small(spans=40)(batch())
