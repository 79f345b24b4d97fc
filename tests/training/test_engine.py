from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import nn

from ssl_ecg.backbones import create_backbone
from ssl_ecg.training.engine import (
    choose_precision,
    decay_groups,
    effective_rank,
    feature_deviation,
    not_decayed,
    one_cycle,
    seed_step,
    warmup_cosine,
)


def draw(seed: int, step: int, rank: int = 0, stream: int = 0) -> list[float]:
    seed_step(seed, step, rank, stream)
    return torch.rand(4).tolist()


def test_every_seed_step_rank_and_stream_draws_its_own_and_the_same_again() -> None:
    keys = [(0, 0), (0, 1), (1, 0), (0, 0, 1), (0, 0, 0, 1), (0, 2), (2, 0), (5, 10**6)]
    draws = [draw(*key) for key in keys]
    assert all(one != other for i, one in enumerate(draws) for other in draws[:i])
    assert [draw(*key) for key in keys] == draws


def test_effective_rank_of_known_matrices() -> None:
    # Centred rows +e_i, -e_i have equal singular values: the rank is full.
    assert effective_rank(torch.cat([torch.eye(6), -torch.eye(6)])) == pytest.approx(6, rel=1e-5)
    line = torch.linspace(-1, 1, 20)[:, None] * torch.randn(1, 5) + 3
    assert effective_rank(line) == pytest.approx(1, abs=1e-3)
    assert effective_rank(torch.full((8, 4), 2.0)) == pytest.approx(1, abs=1e-3)
    # Singular values 3 and 1: shares 3/4 and 1/4.
    two = torch.cat([torch.diag(torch.tensor([3.0, 1.0])), -torch.diag(torch.tensor([3.0, 1.0]))])
    entropy = -(0.75 * math.log(0.75) + 0.25 * math.log(0.25))
    assert effective_rank(two) == pytest.approx(math.exp(entropy), rel=1e-5)
    assert math.isnan(effective_rank(torch.full((8, 4), torch.nan)))  # says so, and does not end the run
    assert effective_rank(two.to(torch.bfloat16)) == pytest.approx(math.exp(entropy), rel=1e-3)


def test_feature_deviation_of_known_matrices() -> None:
    torch.manual_seed(0)
    assert feature_deviation(torch.randn(4000, 32)) == pytest.approx(1, abs=0.01)
    assert feature_deviation(torch.randn(4000, 32) * torch.rand(4000, 1)) == pytest.approx(1, abs=0.01)
    assert feature_deviation(torch.randn(1, 32).expand(50, 32)) == pytest.approx(0, abs=1e-5)


def test_schedule_warms_up_linearly_and_ends_at_zero_as_half_a_cosine() -> None:
    steps, warmup, peak = 40, 10, 0.2
    parameter = nn.Parameter(torch.zeros(1))
    made = warmup_cosine(torch.optim.SGD([parameter], lr=peak), steps, warmup)
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    assert made["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        schedule.step()
    rise = [after - before for before, after in pairwise(rates[:warmup])]
    assert rates[0] > 0
    assert rise == pytest.approx([peak / warmup] * (warmup - 1))
    assert max(rates) == pytest.approx(peak)
    after = [(1 + math.cos(math.pi * i / (steps - warmup - 1))) / 2 * peak for i in range(steps - warmup)]
    assert rates[warmup:] == pytest.approx(after, abs=1e-9)
    assert rates[-1] == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (1, 5), (2, 2), (3, 100)])
def test_the_shortest_runs_have_a_schedule_too(steps: int, warmup: int) -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = warmup_cosine(optimizer, steps, warmup)["lr_scheduler"]["scheduler"]
    assert optimizer.param_groups[0]["lr"] > 0
    for _ in range(steps):
        optimizer.step()
        schedule.step()
        assert 0 <= optimizer.param_groups[0]["lr"] <= 1


def test_precision_is_taken_as_given_and_chosen_where_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    assert choose_precision("16-mixed") == "16-mixed"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for processor, chosen in (
        ({"avx2": True, "avx512_f": True, "avx512_bf16": False, "amx_bf16": False}, "32-true"),
        ({"avx512_bf16": True}, "bf16-mixed"),
        ({"avx512_bf16": False, "amx_bf16": True}, "bf16-mixed"),
        ({"bf16": True}, "32-true"),  # ARM: not measured
    ):
        monkeypatch.setattr(torch.cpu, "get_capabilities", lambda processor=processor: processor)
        assert choose_precision("auto") == chosen
        assert choose_precision("32-true") == "32-true"
    # A GPU decides alone, whatever the processor beside it can do.
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: {"avx512_bf16": True})
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    for able, chosen in ((False, "32-true"), (True, "bf16-mixed")):
        monkeypatch.setattr(torch.cuda, "is_bf16_supported", lambda able=able: able)
        assert choose_precision("auto") == chosen


def test_a_torch_that_cannot_tell_what_the_processor_can_do_computes_in_float32(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    assert choose_precision("auto") == "32-true"


def decayed(module: nn.Module) -> set[str]:
    groups = decay_groups(module, 0.05)
    assert {group["weight_decay"] for group in groups} <= {0.0, 0.05}
    pulled = {id(p) for group in groups if group["weight_decay"] for p in group["params"]}
    everyone = [id(p) for group in groups for p in group["params"]]
    assert sorted(everyone) == sorted(id(p) for p in module.parameters())  # each in one group
    return {name for name, parameter in module.named_parameters() if id(parameter) in pulled}


@pytest.mark.parametrize("backbone", ["xresnet1d10", "s4d", "recurrent"])
def test_weight_decay_is_that_of_timm(backbone: str) -> None:
    from timm.optim import param_groups_weight_decay

    module = create_backbone(backbone)
    next(module.parameters()).requires_grad_(False)
    theirs = param_groups_weight_decay(module, 0.05, no_weight_decay_list=not_decayed(module))
    for own, other in zip(decay_groups(module, 0.05), theirs, strict=True):
        assert own["weight_decay"] == other["weight_decay"]
        assert [*map(id, own["params"])] == [*map(id, other["params"])]


def test_weight_decay_leaves_tokens_positions_and_norms_alone() -> None:
    backbone = create_backbone("bimodal_vit", width=12, depth=1, joint_depth=1)
    pulled = decayed(backbone)
    assert {"time.patch.weight", "joint.0.attn.qkv.weight"} <= pulled
    kept = {name for name, _ in backbone.named_parameters()} - pulled
    assert {"global_token", "time.position", "frequency.position"} <= kept
    assert all(
        name.endswith(("bias", "token", "position", "norm.weight", "norm1.weight", "norm2.weight")) for name in kept
    )


def test_weight_decay_pulls_recurrent_and_attention_weights() -> None:
    module = nn.ModuleDict({"gru": nn.GRU(3, 4, num_layers=2), "attention": nn.MultiheadAttention(4, 2)})
    assert decayed(module) == {
        "gru.weight_ih_l0",
        "gru.weight_hh_l0",
        "gru.weight_ih_l1",
        "gru.weight_hh_l1",
        "attention.in_proj_weight",
        "attention.out_proj.weight",
    }


def rates(schedule, steps: int, *arguments: int) -> list[list[float]]:
    """Learning rates of two groups, of which the second learns half as fast, at each step."""
    groups = [{"params": [nn.Parameter(torch.ones(1))], "lr": rate} for rate in (0.4, 0.2)]
    made = schedule(torch.optim.AdamW(groups), steps, *arguments)
    seen = []
    for _ in range(steps):
        seen.append([group["lr"] for group in made["optimizer"].param_groups])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    return seen


def test_one_cycle_rises_from_a_25th_and_falls_to_almost_nothing_by_half_cosines() -> None:
    seen = rates(one_cycle, 20, 6)
    for step in range(20):
        up, down = step / 5, (step - 5) / 14  # the peak is the last of 6 rising steps
        if step <= 5:
            expected = 0.4 / 25 + (0.4 - 0.4 / 25) * (1 - math.cos(math.pi * up)) / 2
        else:
            expected = 0.4 * (1 + math.cos(math.pi * down)) / 2
        assert seen[step] == pytest.approx([expected, expected / 2], abs=1e-5)


@pytest.mark.parametrize(("steps", "warmup"), [(1, 0), (2, 0), (3, 3), (4, 0), (10, 1), (10, 10), (7, 2)])
def test_one_cycle_lasts_as_long_as_it_is_told(steps: int, warmup: int) -> None:
    peaks = [rate for rate, _ in rates(one_cycle, steps, warmup)]
    assert all(0 < rate <= 0.4 for rate in peaks)
    assert peaks[0] == pytest.approx(0.4 / 25)
