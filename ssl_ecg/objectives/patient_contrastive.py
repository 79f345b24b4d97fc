"""The patient-specific contrastive loss of CLOCS (Kiyasseh, Zhu, Clifton, ICML 2021), as a pure function.

For two views a, b of B recordings with similarities s_ij = cos(a_i, b_j) / temperature, and log-softmaxes by rows
p_ij = s_ij - logsumexp_k s_ik and by columns q_ij = s_ij - logsumexp_k s_kj, the loss is the mean of those of four
terms that exist:

    diagonal:      -mean_i p_ii   and   -mean_i q_ii
    other rows of the same patient, above the diagonal: -mean_{i<j} p_ij;   below it: -mean_{i>j} q_ij

Positives stay in the denominators. Over V views it is the mean over all V (V - 1) / 2 pairs of views.

With weights w_ij of -p_ij, those of -q_ij being w_ji, and r_i = sum_j w_ij, a pair of views costs
sum_i r_i (logsumexp_k s_ik + logsumexp_k s_ki) - sum_ij (w_ij + w_ji) s_ij. The first part needs all similarities; the
second only sums of embeddings by patient, since w takes one value for rows of one patient, and another for i = j.
"""

from __future__ import annotations

import math
from typing import Any, Literal, NamedTuple, get_args

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Reduction = Literal["clocs", "pooled"]
# Similarities held at a time: 4 MB, near what a core's cache takes.
CELLS = 2**20
# exp(+-70) and sums of 10^8 of them are normal float32 numbers.
SAFE_EXPONENT = 70


def patient_contrastive_loss(
    view_a: Tensor,
    view_b: Tensor,
    patient: Tensor,
    temperature: float = 0.1,
    reduction: Reduction = "clocs",
) -> Tensor:
    """Return the loss of two views in which rows of the same patient attract each other.

    Args:
        view_a: embeddings [B, D] of one view; need not be normalised. A zero vector counts as orthogonal to all.
        view_b: embeddings [B, D] of the other view, row by row of the same recordings.
        patient: patient code of every row [B].
        temperature: divisor of the cosine similarities.
        reduction: "clocs" as above; "pooled": half the sum of the means of -p and of -q over all cells of the same
            patient (equal to "clocs" where no patient repeats).

    Returns:
        The loss, a float32 scalar whatever the embeddings' type.

    Raises:
        ValueError: shapes that do not fit, a temperature that is not finite and above 0, an unknown reduction.
    """
    if view_a.ndim != 2 or view_a.shape != view_b.shape:
        raise ValueError(f"view_a {tuple(view_a.shape)}, view_b {tuple(view_b.shape)}: expected the same [B, D]")
    return multiview_contrastive_loss(torch.stack([view_a, view_b]), patient, temperature, reduction)


def multiview_contrastive_loss(
    views: Tensor, patient: Tensor, temperature: float = 0.1, reduction: Reduction = "clocs"
) -> Tensor:
    """Return the mean of the two-view loss over all pairs of V views, in batched matrix products.

    Args:
        views: embeddings [V, B, D], V >= 2; row b of every view belongs to recording b.
        patient: patient code of every recording [B].
        temperature: as in ``patient_contrastive_loss``.
        reduction: as in ``patient_contrastive_loss``.

    Returns:
        The loss, a float32 scalar.
    """
    if views.ndim != 3 or len(views) < 2:
        raise ValueError(f"views {tuple(views.shape)}: expected [V >= 2, B, D]")
    if patient.shape != views.shape[1:2]:
        raise ValueError(f"patient {tuple(patient.shape)}: expected one code per row, [{views.shape[1]}]")
    check_temperature(temperature)
    check_reduction(reduction)
    # float32 even under autocast: exponentials of similarities / 0.1 need it.
    with torch.autocast(views.device.type, enabled=False):
        unit = unit_length(views.float()).contiguous()
        cells = _cells(patient, reduction)
        of_patient = unit.new_zeros(unit.shape).index_add(1, cells.code, unit)  # [V, at most B patients, D]
        attraction = cells.own * _products(unit) + cells.shared * _products(of_patient)
        denominators = _Denominators.apply(unit, cells.reach, temperature)
        return (denominators - attraction / temperature) / (len(views) * (len(views) - 1) / 2)


def check_temperature(temperature: float) -> None:
    """Refuse a temperature by which no similarity can be divided."""
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature={temperature}: must be finite and above 0")


def check_reduction(reduction: str) -> None:
    """Refuse a reduction that ``patient_contrastive_loss`` does not know."""
    if reduction not in get_args(Reduction):
        raise ValueError(f"reduction={reduction!r}: choose one of {', '.join(get_args(Reduction))}")


class _Cells(NamedTuple):
    """Weights w_ij of every -p_ij, whose mirror image is those of -q_ij; together they sum to 1.

    Attributes:
        code: patient of every row, counted from 0 [B].
        reach: sum_j w_ij of every row [B].
        own, shared: w_ij + w_ji is ``shared`` where i and j are of one patient, and ``own`` more where i = j.
    """

    code: Tensor
    reach: Tensor
    own: Tensor
    shared: Tensor


def _cells(patient: Tensor, reduction: str) -> _Cells:
    """Say how much each pair of rows (i, j) of the same patient weighs in the loss, for all views at once.

    The loss is a weighted sum over the cells of a [B, B] matrix. The weights of a row's own cell (i, i) differ from
    those of the patient's other rows, and the four terms of CLOCS count each of these once in each direction; so four
    numbers or vectors per patient are enough, and the matrix is never made. What decides them is how many rows each
    patient has, which is counted by sorting, without waiting for the device.

    Args:
        patient: patient code of every row [B].
        reduction: as in ``patient_contrastive_loss``.
    """
    rows = len(patient)
    ordered, order = patient.sort(stable=True)
    place = torch.arange(rows, device=patient.device)
    code, rank = torch.empty_like(place), torch.empty_like(place)
    code[order] = torch.nn.functional.pad((ordered[1:] != ordered[:-1]).cumsum(0), (1, 0))
    rank[order] = place
    count = torch.zeros_like(place).index_add_(0, code, torch.ones_like(place))
    if reduction == "pooled":
        shared = 1 / count.square().sum()
        return _Cells(code, count[code] * shared / 2, torch.zeros_like(shared), shared)
    later = count.cumsum(0)[code] - 1 - rank  # further rows of the same patient
    pairs = later.sum()
    # Where no patient repeats two of the four terms do not exist.
    terms = 2 + 2 * (pairs > 0)
    shared = (pairs > 0) / (pairs.clamp(min=1) * terms)
    return _Cells(code, 1 / (rows * terms) + later * shared, 2 / (rows * terms) - shared, shared)


def _products(views: Tensor) -> Tensor:
    """Return the sum of a_i b_i over rows i and all pairs a, b of views [V, B, D]."""
    later = torch.ones(2 * views.shape[:1], device=views.device).triu(1)  # [V, V], from a view to those after it
    return (views.flatten(1) * (later @ views.flatten(1))).sum()


class _Denominators(torch.autograd.Function):
    """Sum of the log-sum-exps of unit vectors [V, B, D] and, in the same go, its gradient.

    Weighted with the reach r_i of rows and columns, over all pairs of views; its gradient by s_ij is r_i exp(p_ij) +
    r_j exp(q_ij). So the similarities of a few pairs of views are held at a time, near what a cache takes.
    """

    @staticmethod
    def forward(ctx: Any, unit: Tensor, reach: Tensor, temperature: float) -> Tensor:
        rows, together = len(reach), max(1, CELLS // len(reach) ** 2)
        total, gradient = unit.new_zeros(()), torch.zeros_like(unit)
        for first in range(len(unit) - 1):
            a = unit[first] / temperature
            for start in range(first + 1, len(unit), together):
                others = slice(start, start + together)
                b = unit[others].flatten(0, 1)
                similarity = (a @ b.T).view(rows, -1, rows)  # [B, others, B]
                by_row, by_column, slope = _log_sums(similarity, reach, 1 / temperature)
                total += (reach @ by_row).sum() + (by_column @ reach).sum()
                if ctx.needs_input_grad[0]:
                    slope = slope.view(rows, -1)
                    gradient[first].addmm_(slope, b, alpha=1 / temperature)
                    gradient[others].view_as(b).addmm_(slope.T, a)
        ctx.save_for_backward(gradient)
        return total

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:
        return outer * ctx.saved_tensors[0], None, None


def _log_sums(similarity: Tensor, reach: Tensor, largest: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return the log-sum-exps by rows [B, N] and by columns [N, B] of s [B, N, B], and what they change with s.

    Args:
        similarity: of B rows of a view with those of N others; overwritten.
        reach: weight of every row [B], and of every column.
        largest: no similarity is beyond this, either way.
    """
    if largest < SAFE_EXPONENT:
        # Neither exponentials nor their sums leave float32: rows and columns can share them without loss.
        power = similarity.exp_()
        row, column = power.sum(2), power.sum(0)
        share = (reach[:, None] / row)[:, :, None] + reach / column
        return row.log(), column.log(), power.mul_(share)
    by_row, by_column = similarity.logsumexp(2), similarity.logsumexp(0)
    slope = (similarity - by_row[:, :, None]).exp_().mul_(reach[:, None, None])
    return by_row, by_column, slope.add_(similarity.sub_(by_column).exp_().mul_(reach))


def unit_length(vectors: Tensor) -> Tensor:
    """Scale vectors [..., D] to unit length; one without a direction becomes 0."""
    # It gets no gradient either: F.normalize, with its floor under the length, would divide its gradient by that floor.
    length = vectors.norm(dim=-1, keepdim=True)
    return vectors / length.where(length > 1e-8, torch.inf)
