from __future__ import annotations

import math
from collections.abc import Callable
from itertools import combinations

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_ecg.objectives import multiview_contrastive_loss, patient_contrastive_loss

REDUCTIONS = ("clocs", "pooled")


def by_loops(views: Tensor, patient: Tensor, temperature: float, reduction: str) -> float:
    """The definition, cell by cell in double precision."""
    losses = []
    for first, second in combinations(range(len(views)), 2):
        a, b = views[first].double().numpy(), views[second].double().numpy()
        rows = range(len(a))
        s = np.array(
            [[math.exp(a[i] @ b[j] / np.linalg.norm(a[i]) / np.linalg.norm(b[j]) / temperature) for j in rows]
             for i in rows]
        )  # fmt: skip
        by_row = [[-math.log(s[i, j] / s[i, :].sum()) for j in rows] for i in rows]
        by_column = [[-math.log(s[i, j] / s[:, j].sum()) for j in rows] for i in rows]
        same = [(i, j) for i in rows for j in rows if patient[i] == patient[j]]
        if reduction == "pooled":
            losses.append((np.mean([by_row[i][j] for i, j in same]) + np.mean([by_column[i][j] for i, j in same])) / 2)
            continue
        terms = [
            [by_row[i][i] for i in rows],
            [by_column[i][i] for i in rows],
            [by_row[i][j] for i, j in same if i < j],
            [by_column[i][j] for i, j in same if i > j],
        ]
        losses.append(np.mean([np.mean(term) for term in terms if term]))
    return float(np.mean(losses))


def test_matches_the_published_implementation(read_oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    oracle = read_oracle("clocs_cmsc_loss")
    for number in range(4):
        case = {name.split("/")[1]: value for name, value in oracle.items() if name.startswith(f"{number}/")}
        patient = torch.tensor(np.unique(case["patient"], return_inverse=True)[1])
        views = [torch.tensor(case[name]) for name in ("view_a", "view_b")]
        loss = patient_contrastive_loss(*views, patient, float(case["temperature"]))
        assert float(loss) == pytest.approx(float(case["loss"]), abs=1e-5)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("patient", [[0, 1, 2, 3, 4, 5, 6], [0, 1, 0, 2, 1, 0, 5], [3, 3, 3, 3, 3, 3, 3]])
@pytest.mark.parametrize("count", [2, 5])
def test_equals_the_definition(count: int, patient: list[int], reduction: str) -> None:
    views = torch.randn(count, len(patient), 6, generator=torch.Generator().manual_seed(count)) * 3
    codes = torch.tensor(patient)
    for temperature in (0.01, 0.1, 0.5):  # below 1/70 exponentials would leave float32
        loss = multiview_contrastive_loss(views, codes, temperature, reduction)
        assert float(loss) == pytest.approx(by_loops(views, codes, temperature, reduction), rel=1e-5)


def test_pooled_equals_clocs_only_where_no_patient_repeats() -> None:
    views = torch.randn(3, 9, 4, generator=torch.Generator().manual_seed(0))

    def both(patient: Tensor) -> list[Tensor]:
        return [multiview_contrastive_loss(views, patient, reduction=reduction) for reduction in REDUCTIONS]

    torch.testing.assert_close(*both(torch.randperm(9)))
    clocs, pooled = both(torch.arange(9) // 2)
    assert abs(float(clocs - pooled)) > 1e-2


# lightly's NT-Xent is another loss even where patients are unique: beside the other view it has the rows of the same
# view in its denominators (2B - 2 negatives instead of B - 1). The loss here is the symmetric cross-entropy over the
# similarity matrix (InfoNCE by rows and by columns); NT-Xent adds to each of its 2B logarithms what those rows add.
@pytest.mark.parametrize("temperature", [0.1, 0.5])
def test_unique_patients_give_symmetric_infonce_and_ntxent_adds_the_rows_of_the_same_view(temperature: float) -> None:
    from lightly.loss import NTXentLoss

    a, b = torch.randn(2, 16, 8, generator=torch.Generator().manual_seed(4))
    loss = patient_contrastive_loss(a, b, torch.arange(16), temperature)

    def similarity(x: Tensor, y: Tensor) -> Tensor:
        return F.cosine_similarity(x[:, None], y[None], dim=2) / temperature

    across = similarity(a, b)
    expected = (F.cross_entropy(across, torch.arange(16)) + F.cross_entropy(across.T, torch.arange(16))) / 2
    torch.testing.assert_close(loss, expected)
    others = ~torch.eye(16, dtype=torch.bool)
    added = [
        (1 + (similarity(x, x).exp() * others).sum(1) / similarity(x, y).exp().sum(1)).log()
        for x, y in ((a, b), (b, a))
    ]
    torch.testing.assert_close(NTXentLoss(temperature)(a, b), loss + torch.cat(added).mean())


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_is_unmoved_by_order_scale_and_names_of_patients(reduction: str) -> None:
    views = torch.randn(3, 8, 5, generator=torch.Generator().manual_seed(0))
    patient = torch.tensor([0, 0, 1, 2, 3, 3, 3, 4])
    loss = multiview_contrastive_loss(views, patient, reduction=reduction)
    torch.testing.assert_close(multiview_contrastive_loss(views * 7, patient, reduction=reduction), loss)
    torch.testing.assert_close(multiview_contrastive_loss(views, patient * 10**12 - 5, reduction=reduction), loss)
    if reduction == "pooled":  # "clocs" tells above from below the diagonal, so only this one ignores the order
        order = torch.randperm(8)
        torch.testing.assert_close(
            multiview_contrastive_loss(views[:, order], patient[order], reduction=reduction), loss
        )


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("count", [2, 3, 5])
def test_every_row_of_every_view_receives_a_gradient(count: int, reduction: str) -> None:
    views = torch.randn(count, 6, 4, generator=torch.Generator().manual_seed(1)).requires_grad_()
    multiview_contrastive_loss(views, torch.tensor([0, 0, 1, 2, 3, 4]), reduction=reduction).backward()
    assert views.grad is not None
    assert (views.grad.abs().amax(2) > 1e-4).all()


def test_gradient_is_that_of_the_definition() -> None:
    views = torch.randn(3, 5, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    patient, step = torch.tensor([0, 1, 0, 2, 1]), 1e-4
    leaf = views.clone().requires_grad_()
    multiview_contrastive_loss(leaf, patient, 0.3).backward()
    assert leaf.grad is not None
    for place in [(0, 0, 1), (1, 3, 2), (2, 4, 0)]:
        up, down = views.clone(), views.clone()
        up[place] += step
        down[place] -= step
        slope = (by_loops(up, patient, 0.3, "clocs") - by_loops(down, patient, 0.3, "clocs")) / (2 * step)
        assert float(leaf.grad[place]) == pytest.approx(slope, abs=1e-4)


@pytest.mark.parametrize("reduction", REDUCTIONS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
@pytest.mark.parametrize("case", ["one_zero_vector", "all_zero", "all_equal", "one_patient", "huge", "one_row"])
def test_loss_and_gradient_are_finite_at_the_edges(case: str, dtype: torch.dtype, reduction: str) -> None:
    views = torch.randn(2, 6, 4, generator=torch.Generator().manual_seed(0))
    patient = torch.tensor([0, 1, 2, 2, 3, 4])
    if case == "one_zero_vector":
        views[0, 2] = 0
    elif case == "all_zero":
        views[:] = 0
    elif case == "all_equal":
        views[:] = views[0, 0]
    elif case == "one_patient":
        patient[:] = 7
    elif case == "huge":
        views *= 1e4
    else:
        views, patient = views[:, :1], patient[:1]
    leaf = views.to(dtype).requires_grad_()
    loss = patient_contrastive_loss(leaf[0], leaf[1], patient, reduction=reduction)
    loss.backward()
    assert leaf.grad is not None
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    assert leaf.grad.isfinite().all()
    assert leaf.grad.dtype == dtype
    # A vector without direction attracts nothing: it must not blow a step up.
    assert leaf.grad.abs().max() < 1e3
    if case == "one_row":
        assert float(loss.detach()) == pytest.approx(0, abs=1e-6)
    if case in ("all_zero", "all_equal"):
        assert float(loss.detach()) == pytest.approx(math.log(6), rel=1e-3)  # nothing can be told apart


def test_loss_is_float32_under_autocast_and_the_same() -> None:
    views = torch.randn(2, 12, 8, generator=torch.Generator().manual_seed(0))
    plain = patient_contrastive_loss(views[0], views[1], torch.arange(12) // 2)
    with torch.autocast("cpu", torch.bfloat16):
        cast = patient_contrastive_loss(views[0], views[1], torch.arange(12) // 2)
    assert cast.dtype == torch.float32
    assert torch.equal(cast, plain)


@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_loss_and_gradient_do_not_depend_on_how_many_pairs_are_held_at_a_time(
    reduction: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    patient, results = torch.tensor([0, 1, 0, 2, 1]), []
    for cells in (10**6, 4 * 5**2, 1):  # 15 pairs: together, in unequal parts, one by one
        monkeypatch.setattr("ssl_ecg.objectives.patient_contrastive.CELLS", cells)
        views = torch.randn(6, 5, 4, generator=torch.Generator().manual_seed(3)).requires_grad_()
        loss = multiview_contrastive_loss(views, patient, reduction=reduction)
        (3 * loss).backward()
        results.append((loss.detach(), views.grad))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0])


@pytest.mark.parametrize("temperature", [0.01, 0.2])
@pytest.mark.parametrize("reduction", REDUCTIONS)
def test_gradient_is_that_of_log_softmax_by_autograd(reduction: str, temperature: float) -> None:
    patient = torch.tensor([0, 1, 0, 2, 1, 0])
    views = torch.randn(4, 6, 5, generator=torch.Generator().manual_seed(2))
    given, plain = views.clone().requires_grad_(), views.clone().requires_grad_()
    multiview_contrastive_loss(given, patient, temperature, reduction).backward()
    losses = []
    for a, b in combinations(F.normalize(plain, dim=2), 2):
        by_row, by_column = (-(a @ b.T / temperature).log_softmax(dim) for dim in (1, 0))
        same = patient[:, None] == patient
        above = same.triu(1)
        if reduction == "pooled":
            losses.append((by_row[same].mean() + by_column[same].mean()) / 2)
        else:
            terms = [by_row.diagonal(), by_column.diagonal(), by_row[above], by_column[above.T]]
            losses.append(sum(term.mean() for term in terms) / 4)
    torch.stack(losses).mean().backward()
    torch.testing.assert_close(given.grad, plain.grad)


def test_errors_name_argument_and_value() -> None:
    view, patient = torch.randn(4, 3), torch.arange(4)
    with pytest.raises(ValueError, match=r"view_a \(4, 3\), view_b \(4, 2\)"):
        patient_contrastive_loss(view, view[:, :2], patient)
    with pytest.raises(ValueError, match=r"view_a \(3,\)"):
        patient_contrastive_loss(view[0], view[0], patient)
    with pytest.raises(ValueError, match=r"patient \(3,\).*\[4\]"):
        patient_contrastive_loss(view, view, patient[:3])
    with pytest.raises(ValueError, match=r"temperature=0"):
        patient_contrastive_loss(view, view, patient, temperature=0)
    with pytest.raises(ValueError, match=r"reduction='mean'.*clocs, pooled"):
        patient_contrastive_loss(view, view, patient, reduction="mean")
    with pytest.raises(ValueError, match=r"views \(1, 4, 3\)"):
        multiview_contrastive_loss(view[None], patient)
