from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ssl_ecg.backbones import create_backbone
from ssl_ecg.objectives import create_objective, list_objectives, patient_contrastive_loss
from ssl_ecg.views import adjacent_segments


def batch(size: int = 6, leads: int = 12, samples: int = 200, seed: int = 0) -> dict[str, Tensor]:
    signal = torch.randn(size, leads, samples, generator=torch.Generator().manual_seed(seed))
    return {"signal": signal, "patient": torch.arange(size) // 2, "row": torch.arange(size)}


def small_cmsc(**options: object) -> nn.Module:
    torch.manual_seed(0)
    backbone = create_backbone("xresnet1d10", in_leads=12, width=8)
    given = {"segments": 2, "temperature": 0.1, "reduction": "clocs", "projector_layers": 2, "augment": {}}
    return create_objective("cmsc", backbone, 100.0, projector_width=16, embedding=8, **{**given, **options})


def test_keeps_the_contract() -> None:
    objective = small_cmsc()
    parts = objective(batch())
    assert set(parts) == {"loss", "alignment", "features"}
    assert parts["loss"].ndim == 0
    assert parts["loss"].requires_grad
    assert parts["alignment"].ndim == 0
    assert -1 <= float(parts["alignment"]) <= 1
    assert parts["features"].shape == (12, objective.backbone.width)
    assert not any(parts[name].requires_grad for name in ("alignment", "features"))
    parts["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())
    assert any(p.grad.abs().max() > 0 for p in objective.backbone.stem.parameters())


def test_without_augmentation_it_is_the_loss_of_the_projected_halves() -> None:
    objective, data = small_cmsc(temperature=0.2, reduction="pooled").eval(), batch()
    first, second = adjacent_segments(data["signal"])
    views = [objective.projector(objective.backbone(view)) for view in (first, second)]
    expected = patient_contrastive_loss(*views, data["patient"], 0.2, "pooled")
    torch.testing.assert_close(objective(data)["loss"], expected)


def test_views_are_augmented_independently() -> None:
    objective = small_cmsc(augment={"lead_masking": 0.5})
    seen: list[Tensor] = []
    objective.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    objective(batch(size=32))
    kept = (seen[0] != 0).any(2)
    assert not torch.equal(kept[:32], kept[32:])
    assert kept.any(1).all()


def test_more_segments_are_more_views() -> None:
    objective = small_cmsc(segments=4)
    seen: list[Tensor] = []
    objective.backbone.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert objective(batch(size=3))["features"].shape == (12, objective.backbone.width)
    assert seen[0].shape == (12, 12, 50)


@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_loss_stays_float32_under_autocast(precision: torch.dtype) -> None:
    objective, data = small_cmsc(), batch()
    with torch.autocast("cpu", precision):
        parts = objective(data)
    assert parts["loss"].dtype == torch.float32
    parts["loss"].backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


def test_constant_signals_and_a_single_patient_give_finite_loss_and_gradient() -> None:
    data = batch()
    data["signal"][:] = 0
    data["patient"][:] = 3
    objective = small_cmsc()
    loss = objective(data)["loss"]
    loss.backward()
    assert loss.isfinite()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in objective.parameters())


def test_a_single_record_has_nothing_to_tell_apart() -> None:
    loss = small_cmsc()(batch(size=1))["loss"]
    assert float(loss.detach()) == pytest.approx(0, abs=1e-5)


def test_training_lowers_the_loss() -> None:
    objective, data = small_cmsc(), batch(size=16)
    optimizer = torch.optim.Adam(objective.parameters(), 3e-3)
    losses = []
    for _ in range(25):
        loss = objective(data)["loss"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < losses[0] - 0.5


def test_unknown_names_and_options_are_refused() -> None:
    assert "cmsc" in list_objectives()
    backbone = create_backbone("xresnet1d10", width=8)
    with pytest.raises(ValueError, match=r"objective='cmcs'.*cmsc"):
        create_objective("cmcs", backbone, 100.0)
    with pytest.raises(TypeError, match="temprature"):
        create_objective("cmsc", backbone, 100.0, temprature=0.1)
    with pytest.raises(ValueError, match=r"reduction='sum'"):
        create_objective("cmsc", backbone, 100.0, reduction="sum")(batch())


def double_objective() -> nn.Module:
    # Batch norm in training mode takes its statistics from the rows of one process (without SyncBatchNorm, which needs
    # a GPU), so its result depends on how the batch is split. In eval mode a row's embedding is its own affair, and
    # what is left to compare is the loss and its gathering. Double precision separates errors from rounding.
    objective = small_cmsc().double().eval()
    for module in objective.modules():
        if isinstance(module, nn.BatchNorm1d):  # the zero-initialised ones would hide whole branches
            nn.init.ones_(module.weight)
    return objective


def double_batch() -> dict[str, Tensor]:
    data = batch(size=8)
    # Patient 0 has records in both processes, 1 in the second only, the rest one each.
    return {"signal": data["signal"].double(), "patient": torch.tensor([0, 5, 0, 6, 1, 1, 0, 8])}


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    objective = double_objective()
    wrapped = DistributedDataParallel(objective)
    mine = {name: value.chunk(2)[rank] for name, value in double_batch().items()}
    loss = wrapped(mine)["loss"]
    loss.backward()
    gradients = {name: p.grad for name, p in objective.named_parameters()}
    torch.save({"loss": loss.detach(), "gradients": gradients}, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_give_the_loss_and_gradients_of_one_on_the_joined_batch(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(one_of_two, (str(tmp_path),), nprocs=2)
    objective = double_objective()
    loss = objective(double_batch())["loss"]
    loss.backward()
    assert any(p.grad.abs().max() > 1e-3 for p in objective.backbone.parameters())
    for rank in range(2):
        theirs = torch.load(tmp_path / f"{rank}.pt")
        torch.testing.assert_close(theirs["loss"], loss.detach())
        for name, parameter in objective.named_parameters():
            torch.testing.assert_close(theirs["gradients"][name], parameter.grad, rtol=1e-4, atol=1e-6, msg=name)
