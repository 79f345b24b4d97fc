"""A transformer that the package does not know serves every masked objective and every heat map."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_ecg.backbones import Encoder, TokenBackbone
from ssl_ecg.explain import attention_rollout, grad_cam
from ssl_ecg.objectives import create_objective
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import create_task
from ssl_ecg.tasks.classifier import Classifier


class Toy(TokenBackbone):
    """One layer of attention behind one extra token, or two; by torch's module, or by hand."""

    def __init__(self, by_lead: bool = False, extra: int = 1, kind: str = "module") -> None:
        super().__init__(in_leads=3, width=8, patch=10, samples=200, by_lead=by_lead, extra=extra)
        self.kind = kind
        self.start = nn.Parameter(torch.randn(extra, 8))
        self.table = nn.Parameter(torch.randn(1, self.rows * self.columns, 8))
        self.patches = nn.Linear(self.values, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.last = nn.Linear(8, 8)

    def content(self, patches: Tensor) -> Tensor:
        return self.patches(patches)

    def place(self, tokens: int) -> Tensor:
        return self.table[:, :tokens]

    def encode(self, tokens: Tensor, present: Tensor | None = None) -> Tensor:
        x = torch.cat([self.start.expand(len(tokens), -1, -1), tokens], dim=1)
        seen = None if present is None else F.pad(present, (self.extra, 0), value=True)
        if self.kind == "module":
            mixed, _ = self.attention(x, x, x, key_padding_mask=None if seen is None else ~seen)
        elif self.kind == "fused":
            mixed = F.scaled_dot_product_attention(x, x, x, None if seen is None else seen[:, None])
        else:
            mixed = (x @ x.mT).softmax(2) @ x
        return self.last(x + mixed)


MASKED: dict[str, dict[str, Any]] = {
    "mae": {"decoder_width": 12, "decoder_depth": 1, "ratio": 0.5},
    "jepa": {"predictor_width": 12, "predictor_depth": 1, "ratio": 0.5, "blocks": 2},
    "wav2vec2": {"embedding": 8, "spans": 2, "augment": None},
}
BY_LEAD = {name: {**MASKED["mae"]} for name in ("st_mem", "mtae", "mlae")}
CASES = [(name, False, 1, options) for name, options in MASKED.items()]
CASES += [(name, True, extra, options) for name, options in BY_LEAD.items() for extra in (1, 3)]


def batch(seed: int = 0, size: int = 4) -> dict[str, Tensor]:
    signal = torch.randn(size, 3, 200, generator=torch.Generator().manual_seed(seed))
    return {"signal": signal, "patient": torch.arange(size)}


@pytest.mark.parametrize(("name", "by_lead", "extra", "options"), CASES)
def test_it_learns_by_every_masked_objective(name: str, by_lead: bool, extra: int, options: dict[str, Any]) -> None:
    torch.manual_seed(0)
    objective = create_objective(name, Toy(by_lead, extra), 100.0, **options)
    parts = objective(batch())
    assert parts["loss"].isfinite()
    assert parts["features"].shape == (4, 8)
    parts["loss"].backward()
    teacher = [n for n, _ in objective.named_parameters() if n.startswith("teacher.")]
    without = [n for n, p in objective.named_parameters() if p.grad is None or not p.grad.abs().max() > 0]
    assert without == teacher


@pytest.mark.parametrize(("name", "by_lead", "extra", "options"), CASES)
def test_what_was_not_recorded_is_neither_seen_nor_predicted(
    name: str, by_lead: bool, extra: int, options: dict[str, Any]
) -> None:
    torch.manual_seed(0)
    objective = create_objective(name, Toy(by_lead, extra), 100.0, **options).eval()
    told = {"recorded": torch.tensor([200, 120, 200, 200]), "leads": torch.ones(4, 3, dtype=torch.bool)}
    if by_lead:
        told["leads"][2, 1] = False
    first, second = batch(), batch()
    second["signal"][1, :, 120:] += 5
    if by_lead:
        second["signal"][2, 1] -= 5

    def outcome(data: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        torch.manual_seed(3)
        parts = objective(data)
        return parts["loss"].detach(), parts["features"]

    one, two = (outcome({**data, **told}) for data in (first, second))
    torch.testing.assert_close(one, two)
    assert (outcome(first)[0] - outcome(second)[0]).abs() > 1e-4  # it matters where nobody says so
    seen = second["signal"].clone()
    seen[1, :, :120] += torch.randn(3, 120)
    assert (outcome({**second, **told, "signal": seen})[0] - two[0]).abs() > 1e-5


@pytest.mark.parametrize("by_lead", [False, True])
@pytest.mark.parametrize("kind", ["module", "fused"])
@torch.no_grad()
def test_its_attention_can_be_seen(kind: str, by_lead: bool) -> None:
    torch.manual_seed(0)
    toy = Toy(by_lead, kind=kind)
    settings = SignalSettings(leads=("I", "II", "V1"), duration=2, min_duration=1, normalise="none")
    encoder = Encoder(toy, {}, settings).eval()
    signal, recorded = batch()["signal"][:2], torch.tensor([200, 100])
    leads = torch.tensor([[True, True, True], [True, False, True]])
    signal[1, :, 100:] = signal[1, 1] = 0
    heat = attention_rollout(encoder, signal, True, recorded, leads)
    assert heat.shape == (2, 3, 200)

    tokens = toy.embed(toy.patchify(signal))
    x = torch.cat([toy.start.expand(2, -1, -1), tokens], dim=1)
    for record in range(2):
        kept = [0]
        for token in range(tokens.shape[1]):
            lead, column = divmod(token, 20) if by_lead else (None, token)
            if 4.5 + 10 * column < recorded[record] and (lead is None or leads[record, lead]):
                kept.append(1 + token)
        shown = x[record : record + 1, kept]
        if kind == "module":
            weights = toy.attention(shown, shown, shown)[1][0]
        else:
            weights = (shown[0] @ shown[0].T / 8**0.5).softmax(1)
        mixed = (weights + torch.eye(len(kept))) / 2
        expected = torch.zeros(1 + tokens.shape[1])
        expected[kept] = mixed[1:].mean(0)
        rows = expected[1:].view(toy.rows, 20).numpy()
        for lead in range(3):
            wanted = np.interp(np.arange(200), 4.5 + 10 * np.arange(20), rows[lead if by_lead else 0])
            np.testing.assert_allclose(heat[record, lead].numpy(), wanted, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize("by_lead", [False, True])
def test_its_features_can_be_explained(by_lead: bool) -> None:
    torch.manual_seed(0)
    settings = SignalSettings(leads=("I", "II", "V1"), duration=2, min_duration=1, normalise="none")
    model = Classifier(Encoder(Toy(by_lead), {}, settings), create_task("arrhythmia", ("a", "b"))).eval()
    nn.init.normal_(model.head.weight)
    signal, recorded = batch()["signal"], torch.tensor([200, 200, 200, 100])
    leads = torch.ones(4, 3, dtype=torch.bool)
    leads[0, 1] = False
    heat = grad_cam(model, signal, by_lead=True, recorded=recorded, leads=leads)
    assert heat.shape == (4, 3, 200)
    assert heat.isfinite().all()
    assert heat.amax((1, 2)).max() > 0
    assert (heat[3, :, 105:] == 0).all()  # between the middles of the last recorded patch and the next it comes to 0
    assert bool((heat[0, 1] == 0).all()) or not by_lead


def test_what_cannot_be_used_says_what_is_needed() -> None:
    settings = SignalSettings(leads=("I", "II", "V1"), duration=2, min_duration=1, normalise="none")
    with pytest.raises(ValueError, match=r"Toy': its attention among 21 tokens was not seen; compute it with torch"):
        attention_rollout(Encoder(Toy(kind="hand"), {}, settings).eval(), batch()["signal"])
    for name in ("jepa", "wav2vec2"):
        with pytest.raises(ValueError, match=f"backbone=Toy: {name} hides patches of all leads, its"):
            create_objective(name, Toy(by_lead=True), 100.0)
    with pytest.raises(ValueError, match=r"choose a backbone with tokens of one lead, vit1d_lead"):
        create_objective("st_mem", Toy(), 100.0)
    with pytest.raises(ValueError, match=r"backbone=Linear: .*derive yours from ssl_ecg.backbones.TokenBackbone"):
        create_objective("mae", nn.Linear(2, 2), 100.0)
    with pytest.raises(ValueError, match="patch=300, samples=200"):
        TokenBackbone(3, 8, patch=300, samples=200)
