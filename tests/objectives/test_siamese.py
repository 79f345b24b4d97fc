"""What every objective that compares views must keep, whatever its loss."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from ssl_ecg.backbones import create_backbone
from ssl_ecg.objectives import create_objective, list_objectives, patient_contrastive_loss
from ssl_ecg.objectives.pieces import in_pieces
from ssl_ecg.objectives.siamese import gather_rows, mean_over_pairs

# Name of a case to objective, its options, and its views of a recording of 3 leads.
FAMILY: dict[str, tuple[str, dict[str, object], int]] = {
    "cmsc": ("cmsc", {}, 2),
    "cmsc-pooled": ("cmsc", {"reduction": "pooled", "segments": 3}, 3),
    "cmsc-single": ("cmsc", {"leads": "single"}, 2 * 3),
    "cmlc": ("cmlc", {}, 3),
    "cmsmlc": ("cmsmlc", {}, 2 * 3),
    "simclr": ("simclr", {}, 2),
    "vicreg": ("vicreg", {}, 2),
    "barlow_twins": ("barlow_twins", {}, 2),
    "byol": ("byol", {"predictor_width": 16}, 2),
    "byol-single": ("byol", {"predictor_width": 16, "leads": "single"}, 2 * 3),
}
SIZES: dict[str, Any] = {"projector_width": 16, "embedding": 8, "augment": {}}
every_case = pytest.mark.parametrize("case", FAMILY)


def batch(size: int = 6, leads: int = 3, samples: int = 120, seed: int = 0) -> dict[str, Tensor]:
    signal = torch.randn(size, leads, samples, generator=torch.Generator().manual_seed(seed))
    whole = {"recorded": torch.full((size,), samples), "leads": torch.ones(size, leads, dtype=torch.bool)}
    return {"signal": signal, **whole, "patient": torch.arange(size) // 2, "row": torch.arange(size)}


def small(case: str, **options: object) -> nn.Module:
    name, given, _ = FAMILY[case]
    torch.manual_seed(0)
    single = given.get("leads") == "single" or name in ("cmlc", "cmsmlc")
    backbone = (
        create_backbone("lead_wise", in_leads=3, single="xresnet1d10", width=4)
        if single
        else create_backbone("xresnet1d10", in_leads=3, width=4)
    )
    return create_objective(name, backbone, 100.0, **{**SIZES, **given, **options})


def gradients(objective: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad for name, p in objective.named_parameters() if p.requires_grad}


def opened(objective: nn.Module) -> nn.Module:
    """In eval mode a row's embedding is its own affair; the norms that start at zero would hide whole branches."""
    for module in objective.modules():
        if isinstance(module, nn.BatchNorm1d):
            nn.init.ones_(module.weight)
    return objective.eval()


def test_the_family_is_there() -> None:
    assert {name for name, *_ in FAMILY.values()} <= set(list_objectives())


@every_case
def test_keeps_the_contract(case: str) -> None:
    objective = small(case)
    parts = objective(batch())
    assert set(parts) == {"loss", "alignment", "features"}
    assert parts["loss"].ndim == parts["alignment"].ndim == 0
    assert -1 <= float(parts["alignment"]) <= 1
    assert parts["features"].shape == (FAMILY[case][2] * 6, objective.backbone.width)
    assert not any(parts[name].requires_grad for name in ("alignment", "features"))
    parts["loss"].backward()
    assert all(gradient is not None and gradient.isfinite().all() for gradient in gradients(objective).values())


@every_case
def test_every_segment_of_every_lead_of_every_recording_receives_a_gradient(case: str) -> None:
    data = batch()
    data["signal"].requires_grad_()
    opened(small(case))(data)["loss"].backward()
    assert data["signal"].grad is not None
    segments = data["signal"].grad.unflatten(2, (6, 20)).abs().amax(3)  # whatever number of segments divides six
    assert (segments > 1e-9).all()


@every_case
@pytest.mark.parametrize("precision", [torch.bfloat16, torch.float16])
def test_loss_stays_float32_under_autocast(case: str, precision: torch.dtype) -> None:
    objective, data = small(case), batch()
    with torch.autocast("cpu", precision):
        loss = objective(data)["loss"]
    assert loss.dtype == torch.float32
    loss.backward()
    assert all(gradient.isfinite().all() for gradient in gradients(objective).values())


@every_case
@pytest.mark.parametrize("edge", ["zero", "constant", "one_patient", "one_record", "one_dead_record"])
def test_loss_and_gradients_are_finite_at_the_edges(case: str, edge: str) -> None:
    data = batch(size=1 if edge == "one_record" else 6)
    if edge in ("zero", "constant"):
        data["signal"][:] = float(edge == "constant")
    elif edge == "one_patient":
        data["patient"][:] = 3
    elif edge == "one_dead_record":
        data["signal"][2] = 0
    objective = small(case)
    for mode in (True, False):
        objective.zero_grad()
        loss = objective.train(mode)(data)["loss"]
        loss.backward()
        assert loss.isfinite()
        assert all(gradient.isfinite().all() for gradient in gradients(objective).values())
    # A row has nothing to be told apart from; BYOL compares it with itself, single leads with each other.
    if edge == "one_record" and not case.startswith("byol") and case != "cmsc-single":
        assert float(loss.detach()) == pytest.approx(0, abs=1e-5)


@every_case
def test_views_are_augmented_anew_by_the_global_generator(case: str) -> None:
    objective = small(case, augment={"amplitude_scaling": 0.5}).eval()
    assert not torch.equal(objective(batch())["loss"], objective(batch())["loss"])
    torch.manual_seed(1)
    once = objective(batch())["loss"]
    torch.manual_seed(1)
    assert torch.equal(objective(batch())["loss"], once)


@every_case
def test_every_view_of_every_recording_has_an_augmentation_of_its_own(case: str) -> None:
    plain = small(case).views(batch()).signal
    views = small(case, augment={"amplitude_scaling": 0.5}).views(batch()).signal
    factor = views.norm(dim=3) / plain.norm(dim=3)  # [V, R, leads]
    assert ((factor - 1).abs() > 1e-4).all()
    assert len(factor.unique()) == factor.numel()


def test_what_does_not_fit_is_refused_by_name() -> None:
    joint = create_backbone("xresnet1d10", in_leads=3, width=4)
    for name, options in [("cmsc", {"leads": "single"}), ("cmlc", {}), ("cmsmlc", {}), ("byol", {"leads": "single"})]:
        with pytest.raises(ValueError, match=r"backbone\.in_leads=3: .*backbone=lead_wise"):
            create_objective(name, joint, 100.0, **options, augment={})
        with pytest.raises(ValueError, match=r"augment\.lead_masking: .*set it to 0"):
            create_objective(name, joint, 100.0, **options, augment={"lead_masking": 0.5})
    with pytest.raises(ValueError, match=r"leads='both': choose one of joint, single"):
        create_objective("simclr", joint, 100.0, leads="both")
    with pytest.raises(ValueError, match=r"momentum=1\.5"):
        create_objective("byol", joint, 100.0, momentum=1.5)
    for name in ("simclr", "vicreg", "barlow_twins", "byol"):
        with pytest.raises(TypeError, match="temprature"):
            create_objective(name, joint, 100.0, temprature=0.1)
        with pytest.raises(ValueError, match="count=1: choose between 2 segments"):
            create_objective(name, joint, 100.0, segments=1)(batch())


@pytest.mark.parametrize(
    ("name", "option", "value"),
    [
        *[(name, "temperature", value) for name in ("cmsc", "simclr") for value in (0, -0.1, np.nan, np.inf)],
        *[("cmsc", size, 0) for size in ("projector_width", "projector_layers", "embedding")],
        ("cmsc", "reduction", "sum"),
        *[("vicreg", weight, -1.0) for weight in ("invariance", "variance", "covariance")],
        ("vicreg", "variance", np.nan),
        ("barlow_twins", "redundancy", -1.0),
    ],
)
def test_an_option_that_trains_nothing_is_refused_before_the_first_batch(name: str, option: str, value: object) -> None:
    backbone = create_backbone("xresnet1d10", in_leads=3, width=4)
    with pytest.raises(ValueError, match=f"{option}={value!r}: "):
        create_objective(name, backbone, 100.0, **{option: value})


def test_a_network_of_one_lead_needs_no_wrapper_for_a_signal_of_one_lead() -> None:
    torch.manual_seed(0)
    backbone = create_backbone("xresnet1d10", in_leads=1, width=4)
    losses = []
    for leads in ("joint", "single"):
        torch.manual_seed(1)
        objective = create_objective("cmsc", backbone, 100.0, leads=leads, **SIZES).eval()
        losses.append(objective(batch(leads=1))["loss"])
    assert torch.equal(*losses)


def test_single_lead_cmsc_has_a_row_for_every_lead_with_the_patient_of_its_recording() -> None:
    objective, data = small("cmsc-single").eval(), batch()
    rows = [(record, lead) for record in range(6) for lead in range(3)]

    def embed(start: int) -> Tensor:
        signals = torch.stack([data["signal"][record, lead, start : start + 60] for record, lead in rows])
        return objective.projector(objective.backbone.single(signals[:, None]))

    patient = torch.stack([data["patient"][record] for record, _ in rows])
    expected = patient_contrastive_loss(embed(0), embed(60), patient, reduction="pooled")
    torch.testing.assert_close(objective(data)["loss"], expected)


def incomplete() -> dict[str, Tensor]:
    """Lead 1 of record 0 and leads 0 and 2 of record 3 are missing; record 4 lasts 50 of 120 samples."""
    data = batch()
    data["leads"][0, 1] = data["leads"][3, 0] = data["leads"][3, 2] = False
    data["recorded"][4] = 50
    return data


@every_case
def test_what_was_not_recorded_is_neither_seen_nor_learned_from(case: str) -> None:
    """Single leads that are missing receive no gradient, and nothing does that lies past the end of a record."""
    data = incomplete()
    data["signal"].requires_grad_()
    loss = opened(small(case))(data)["loss"]
    loss.backward()
    assert loss.isfinite()
    gradient = data["signal"].grad.abs()
    if case != "cmlc":  # its whole records are given as they are: past their end they hold 0
        assert not gradient[4, :, 50:].any()
    assert (gradient[[1, 2, 5]].amax(2) > 0).all()
    if small(case).leads == "single":
        assert torch.equal(gradient.amax(2) > 0, data["leads"])


def test_the_rows_of_single_leads_are_those_that_were_recorded() -> None:
    objective, data = small("cmsc-single").eval(), incomplete()
    rows = [(record, lead) for record in range(6) for lead in range(3) if data["leads"][record, lead]]
    assert len(rows) == 15

    def embed(half: int) -> Tensor:
        made = []
        for record, lead in rows:
            share = int(data["recorded"][record]) // 2
            view = torch.zeros(1, 1, 60)
            view[0, 0, :share] = data["signal"][record, lead, half * share : (half + 1) * share]
            made.append(objective.backbone.single(view, torch.tensor([share])))
        return objective.projector(torch.cat(made))

    patient = torch.stack([data["patient"][record] for record, _ in rows])
    expected = patient_contrastive_loss(embed(0), embed(1), patient, reduction="pooled")
    torch.testing.assert_close(objective(data)["loss"], expected)


def test_a_lead_that_is_masked_is_still_one_that_was_recorded() -> None:
    data = incomplete()
    views = small("cmsc", augment={"lead_masking": 0.9}).views(data)
    shown = views.signal.abs().amax(3) > 0
    assert torch.equal(views.leads, data["leads"].expand(2, -1, -1))
    assert (views.leads & ~shown).any()
    assert (views.leads & shown).any(2).all()  # one that was recorded stays
    assert not (shown & ~views.leads).any()


def nt_xent(a: np.ndarray, b: np.ndarray, temperature: float) -> float:
    """The definition of Chen et al. 2020, row by row: one positive, 2 B - 2 negatives."""
    rows = np.concatenate([a, b])
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    count, losses = len(rows), []
    for i in range(count):
        scores = {k: np.exp(rows[i] @ rows[k] / temperature) for k in range(count) if k != i}
        losses.append(-np.log(scores[(i + len(a)) % count] / sum(scores.values())))
    return float(np.mean(losses))


def vicreg(a: np.ndarray, b: np.ndarray) -> float:
    """The definition of Bardes et al. 2022 with its weights 25, 25 and 1."""
    loss = 25 * np.mean((a - b) ** 2)
    for z in (a, b):
        loss += 25 / 2 * np.mean([max(0, 1 - np.sqrt(np.var(z[:, d], ddof=1) + 1e-4)) for d in range(z.shape[1])])
        covariance = np.cov(z.T)
        loss += (
            sum(covariance[d, e] ** 2 for d in range(len(covariance)) for e in range(len(covariance)) if d != e)
            / (z.shape[1])
        )
    return float(loss)


def barlow_twins(a: np.ndarray, b: np.ndarray) -> float:
    """The definition of Zbontar et al. 2021, 0.005 off the diagonal, and batch norm's floor under the variance."""
    width = a.shape[1]
    a, b = ((z - z.mean(0)) / np.sqrt(z.var(0) + 1e-5) for z in (a, b))
    correlation = a.T @ b / len(a)
    weight = np.where(np.eye(width), 1, 0.005)
    return float((weight * (correlation - np.eye(width)) ** 2).sum())


@pytest.mark.parametrize("name", ["simclr", "vicreg", "barlow_twins"])
@pytest.mark.parametrize("count", [2, 3])
def test_baselines_are_their_definitions_as_the_mean_over_pairs_of_views(name: str, count: int) -> None:
    objective, data = small(name, segments=count).double().eval(), batch(size=16)
    data["signal"] = data["signal"].double()
    length = 120 // count
    with torch.no_grad():
        embeddings = [
            objective.projector(objective.backbone(data["signal"][:, :, n * length : (n + 1) * length])).numpy()
            for n in range(count)
        ]
        loss = float(objective(data)["loss"])
    definition = {"simclr": lambda a, b: nt_xent(a, b, 0.1), "vicreg": vicreg, "barlow_twins": barlow_twins}[name]
    pairs = [definition(embeddings[i], embeddings[j]) for i in range(count) for j in range(i + 1, count)]
    assert loss == pytest.approx(np.mean(pairs), rel=1e-4)


def test_mean_over_pairs_takes_every_pair_once() -> None:
    views = torch.tensor([1.0, 10.0, 100.0, 1000.0])[:, None, None].expand(4, 2, 1)
    assert float(mean_over_pairs(lambda a, b: (a + b).mean(), views)) == pytest.approx(1111 / 2)


def test_gathering_in_one_process_changes_nothing() -> None:
    rows = torch.randn(3, 2)
    assert gather_rows(rows) is rows


def double_batch() -> dict[str, Tensor]:
    data = batch(size=8)
    # Patient 0 has records in both processes, 1 in the second only, the rest one each.
    return {**data, "signal": data["signal"].double(), "patient": torch.tensor([0, 5, 0, 6, 1, 1, 0, 8])}


def one_of_two(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    torch.distributed.init_process_group("gloo", f"file://{folder}/rendezvous", rank=rank, world_size=2)
    results = {}
    for case in FAMILY:
        # Batch norm in training mode takes its statistics from the rows of one process (without SyncBatchNorm, which
        # needs a GPU); in eval mode what is left to compare is the loss and its gathering.
        objective = opened(small(case).double())
        mine = {name: value.chunk(2)[rank] for name, value in double_batch().items()}
        wrapped = DistributedDataParallel(objective)
        loss = wrapped(mine)["loss"]
        loss.backward()
        results[case] = {"loss": loss.detach(), "gradients": gradients(objective)}
        # A single record in each process, in training mode.
        objective = small(case)
        lonely = {name: value[rank : rank + 1] for name, value in batch().items()}
        wrapped = DistributedDataParallel(objective)
        loss = wrapped(lonely)["loss"]
        loss.backward()
        finite = all(gradient.isfinite().all() for gradient in gradients(objective).values())
        results[case]["lonely"] = (loss.detach(), finite)
    torch.save(results, f"{folder}/{rank}.pt")
    torch.distributed.destroy_process_group()


@pytest.fixture(scope="module")
def two_processes(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, dict]]:
    folder = tmp_path_factory.mktemp("processes")
    torch.multiprocessing.spawn(one_of_two, (str(folder),), nprocs=2)
    return [torch.load(folder / f"{rank}.pt") for rank in range(2)]


@pytest.mark.process
@every_case
def test_two_processes_give_the_loss_and_gradients_of_one_on_the_joined_batch(
    case: str, two_processes: list[dict[str, dict]]
) -> None:
    objective = opened(small(case).double())
    loss = objective(double_batch())["loss"]
    loss.backward()
    expected = gradients(objective)
    assert any(gradient.abs().max() > 1e-3 for name, gradient in expected.items() if name.startswith("backbone"))
    losses = [theirs[case]["loss"] for theirs in two_processes]
    if case.startswith("byol"):  # its rows know nothing of each other, so each process has the mean of its own
        losses = [torch.stack(losses).mean()]
    for theirs in losses:
        torch.testing.assert_close(theirs, loss.detach())
    for theirs in two_processes:
        for name, gradient in theirs[case]["gradients"].items():
            torch.testing.assert_close(gradient, expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.process
@every_case
def test_a_single_record_in_each_process_trains(case: str, two_processes: list[dict[str, dict]]) -> None:
    for theirs in two_processes:
        loss, finite = theirs[case]["lonely"]
        assert loss.isfinite()
        assert finite
        assert abs(float(loss)) > 1e-6  # there is another record to be told apart from


@pytest.mark.parametrize("case", ["cmsc", "cmlc", "vicreg", "byol"])
def test_pieces_have_the_loss_and_gradients_of_the_whole(case: str) -> None:
    whole, pieces = opened(small(case)), opened(small(case))
    pieces.micro_batch = 5
    losses = [each(batch())["loss"] for each in (whole, pieces)]
    torch.testing.assert_close(*losses)
    for loss in losses:
        loss.backward()
    for name, gradient in gradients(whole).items():
        torch.testing.assert_close(gradients(pieces)[name], gradient, atol=1e-6, rtol=1e-4, msg=name)


def test_pieces_are_computed_twice_and_counted_once() -> None:
    network = nn.Sequential(
        nn.Conv1d(3, 4, 5), nn.BatchNorm1d(4), nn.Dropout(0.5), nn.AdaptiveAvgPool1d(1), nn.Flatten()
    )
    signal, norm, calls = batch(16)["signal"], network[1], []
    network[0].register_forward_hook(lambda *_: calls.append(torch.is_grad_enabled()))
    torch.manual_seed(0)
    kept = in_pieces(network, (signal,), 8)
    mean, weights = norm.running_mean.clone(), torch.randn(16, 4)
    (kept * weights).sum().backward()
    gradient = network[0].weight.grad.clone()
    assert len(calls) == 4
    torch.testing.assert_close(norm.running_mean, mean)
    assert norm.num_batches_tracked == 2
    assert norm.track_running_stats

    network.zero_grad()
    torch.manual_seed(0)
    plain = torch.cat([network(piece) for piece in signal.split(8)])
    torch.testing.assert_close(plain, kept)  # with the same dropout
    (plain * weights).sum().backward()
    torch.testing.assert_close(network[0].weight.grad, gradient)


def test_pieces_need_less_memory() -> None:
    def kept(rows: int | None) -> int:
        network, held = create_backbone("xresnet1d10", width=8), []
        count = lambda tensor: held.append(tensor.nbytes) or tensor  # noqa: E731
        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            in_pieces(network, (torch.randn(16, 12, 500),), rows)
        return sum(held)

    assert kept(4) < kept(None) / 8  # the signals themselves are what is left
