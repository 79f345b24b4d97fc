from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from ssl_ecg.backbones import create_backbone
from ssl_ecg.objectives import create_objective
from ssl_ecg.objectives.cpc import draw_negatives, predictive_loss


def small(seed: int = 0, context: str = "gru", **options: int) -> nn.Module:
    torch.manual_seed(seed)
    backbone = create_backbone("cpc", in_leads=3, width=8, window=10, context=context)
    return create_objective("cpc", backbone, 100.0, **{"ahead": 3, "negatives": 5, **options})


def batch(size: int = 4, seed: int = 0) -> dict[str, Tensor]:
    signal = torch.randn(size, 3, 200, generator=torch.Generator().manual_seed(seed))
    return {"signal": signal, "recorded": torch.full((size,), 200), "leads": torch.ones(size, 3, dtype=torch.bool)}


def by_loops(matrices: Tensor, context: Tensor, latents: Tensor, wrong: Tensor, counts: list[int]) -> list[float]:
    """Loss and accuracy from the definition: matrices [K, E, D], context [B, N, D]."""
    surprises, right = [], []
    for b, count in enumerate(counts):
        for t in range(count):
            for k in range(1, len(matrices) + 1):
                if t + k >= count:
                    continue
                guess = matrices[k - 1] @ context[b, t]
                truth = float(guess @ latents[b, t + k])
                others = [float(guess @ latents[b, n]) for n in wrong[b, t + k].tolist()]
                surprises.append(-math.log(math.exp(truth) / (math.exp(truth) + sum(map(math.exp, others)))))
                right.append(truth > max(others))
    return [sum(surprises) / len(surprises), sum(right) / len(right)]


def test_the_loss_is_the_definition_in_loops() -> None:
    generator = torch.Generator().manual_seed(0)
    matrices, context, latents = (
        torch.randn(*shape, generator=generator).double() for shape in ((3, 4, 5), (2, 6, 5), (2, 6, 4))
    )
    wrong = torch.randint(6, (2, 6, 7), generator=generator)
    predicted = torch.einsum("ked,bnd->bnke", matrices, context)
    found = [float(value) for value in predictive_loss(predicted, latents, wrong)]
    assert found == pytest.approx(by_loops(matrices, context, latents, wrong, [6, 6]))
    wrong[1] %= 4
    present = torch.arange(6) < torch.tensor([[6], [4]])
    found = [float(value) for value in predictive_loss(predicted, latents, wrong, present)]
    assert found == pytest.approx(by_loops(matrices, context, latents, wrong, [6, 4]))


def test_the_objective_computes_that_of_its_network() -> None:
    objective, data = small(), batch()
    data["recorded"] = torch.tensor([200, 120, 60, 10])
    torch.manual_seed(7)
    parts = objective(data)
    torch.manual_seed(7)
    counts = [20, 12, 6, 1]
    wrong = draw_negatives(torch.tensor(counts), 20, 5)
    with torch.no_grad():
        latents = objective.backbone.latents(data["signal"])
        context = objective.backbone.summarise(latents)
    matrices = objective.predict.weight.detach().unflatten(0, (3, 8))
    loss, accuracy = by_loops(matrices, context, latents, wrong, counts)
    assert float(parts["loss"].detach()) == pytest.approx(loss, rel=1e-5)
    assert float(parts["accuracy"]) == pytest.approx(accuracy)
    expected = [torch.cat([c[:n].mean(0), c[:n].max(0).values]) for c, n in zip(context, counts)]
    torch.testing.assert_close(parts["features"], torch.stack(expected))


def test_wrong_answers_are_drawn_evenly_from_the_other_steps_of_the_record() -> None:
    torch.manual_seed(0)
    drawn = draw_negatives(torch.tensor([5, 3, 2, 1]), 5, 8000)
    for record, count in enumerate((5, 3, 2)):
        for step in range(count):
            share = torch.bincount(drawn[record, step], minlength=5) / 8000
            expected = torch.tensor([float(n < count and n != step) for n in range(5)])
            torch.testing.assert_close(share, expected / expected.sum(), atol=0.02, rtol=0)
    assert ((drawn >= 0) & (drawn < 5)).all()


@pytest.mark.parametrize("context", ["gru", "s4d"])
def test_what_was_not_recorded_is_neither_predicted_nor_a_wrong_answer(context: str) -> None:
    data, other = batch(), batch()
    data["recorded"] = other["recorded"] = torch.tensor([200, 120, 60, 10])
    for record, count in enumerate(data["recorded"].tolist()):
        other["signal"][record, :, count:] = 50
    results = []
    for given in (data, other):
        objective = small(context=context)
        torch.manual_seed(3)
        parts = objective(given)
        parts["loss"].backward()
        results.append([parts["loss"].detach(), parts["features"], objective.predict.weight.grad])
    for one, another in zip(*results):
        torch.testing.assert_close(one, another)


@pytest.mark.parametrize("context", ["gru", "s4d"])
def test_the_context_of_a_step_knows_nothing_of_later_ones(context: str) -> None:
    backbone = small(context=context).backbone.eval()
    one = torch.randn(2, 3, 200)
    other = one.clone()
    other[..., 100:] = torch.randn(2, 3, 100)
    with torch.inference_mode():
        a, b = backbone.forward_features(one), backbone.forward_features(other)
    assert a.shape == (2, 20, 8)
    torch.testing.assert_close(a[:, :10], b[:, :10], atol=1e-5, rtol=1e-4)
    assert (a[:, 10:] - b[:, 10:]).abs().amax((0, 2)).min() > 1e-4


@pytest.mark.parametrize("precision", [torch.float32, torch.bfloat16])
def test_keeps_the_contract(precision: torch.dtype) -> None:
    objective = small()
    with torch.autocast("cpu", precision, enabled=precision != torch.float32):
        parts = objective(batch())
    assert set(parts) == {"loss", "accuracy", "features"}
    assert parts["loss"].dtype == torch.float32
    assert parts["features"].shape == (4, 16)
    assert not parts["features"].requires_grad
    parts["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


@pytest.mark.parametrize("edge", ["zero", "constant", "one_record", "one_step", "fewer_steps_than_predicted"])
def test_loss_and_gradients_are_finite_at_the_edges(edge: str) -> None:
    data = batch(1 if edge == "one_record" else 4)
    if edge in ("zero", "constant"):
        data["signal"][:] = float(edge == "constant")
    if edge in ("one_step", "fewer_steps_than_predicted"):
        data["signal"] = data["signal"][..., : 10 if edge == "one_step" else 20]
        data["recorded"][:] = data["signal"].shape[2]
    objective = small()
    loss = objective(data)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is None or p.grad.isfinite().all() for p in objective.parameters())
    if edge == "one_step":
        assert float(loss.detach()) == 0


@pytest.mark.slow
def test_it_learns_to_recognise_what_comes_next() -> None:
    objective = small(negatives=16)
    phase = torch.rand(64, 1, 1, generator=torch.Generator().manual_seed(0))
    data = {"signal": torch.sin(2 * math.pi * (torch.arange(200) / 230 + phase)).expand(-1, 3, -1)}
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-2)
    accuracy = []
    for _ in range(80):
        parts = objective(data)
        optimizer.zero_grad()
        parts["loss"].backward()
        optimizer.step()
        accuracy.append(float(parts["accuracy"]))
    assert sum(accuracy[:3]) / 3 < 0.15
    assert sum(accuracy[-3:]) / 3 > 0.35  # chance is 1 / 17


def test_what_does_not_fit_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"backbone=XResNet1d: cpc predicts latents.*choose backbone=cpc"):
        create_objective("cpc", create_backbone("xresnet1d10", width=4), 100.0)
    for name in ("ahead", "negatives"):
        with pytest.raises(ValueError, match=f"{name}=0"):
            small(**{name: 0})
    with pytest.raises(ValueError, match=r"context='lstm'.*gru"):
        create_backbone("cpc", context="lstm")
    with pytest.raises(ValueError, match="window=0"):
        create_backbone("cpc", window=0)
