"""The patient-specific contrastive loss of CLOCS (Kiyasseh, Zhu, Clifton, ICML 2021), as a pure function.

For two views a, b of B recordings with similarities s_ij = cos(a_i, b_j) / temperature, and log-softmaxes by rows
p_ij = s_ij - logsumexp_k s_ik and by columns q_ij = s_ij - logsumexp_k s_kj, the loss is the mean of those of four
terms that exist:

    diagonal:      -mean_i p_ii   and   -mean_i q_ii
    other rows of the same patient, above the diagonal: -mean_{i<j} p_ij;   below it: -mean_{i>j} q_ij

Positives stay in the denominators. Over V views it is the mean over all V (V - 1) / 2 pairs of views.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

REDUCTIONS = ("clocs", "pooled")
# Similarities held at a time: 4 MB, near what a core's cache takes.
CELLS = 2**20


def patient_contrastive_loss(
    view_a: Tensor,
    view_b: Tensor,
    patient: Tensor,
    temperature: float = 0.1,
    reduction: str = "clocs",
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
        ValueError: shapes that do not fit, a temperature not above 0, an unknown reduction.
    """
    if view_a.ndim != 2 or view_a.shape != view_b.shape:
        raise ValueError(f"view_a {tuple(view_a.shape)}, view_b {tuple(view_b.shape)}: expected the same [B, D]")
    return multiview_contrastive_loss(torch.stack([view_a, view_b]), patient, temperature, reduction)


def multiview_contrastive_loss(
    views: Tensor, patient: Tensor, temperature: float = 0.1, reduction: str = "clocs"
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
    if temperature <= 0:
        raise ValueError(f"temperature={temperature}: must be above 0")
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction={reduction!r}: choose one of {', '.join(REDUCTIONS)}")
    # float32 even under autocast: exponentials of similarities / 0.1 need it.
    with torch.autocast(views.device.type, enabled=False):
        unit = unit_length(views.float())
        return _MeanOverPairs.apply(unit, _cell_weights(patient, reduction), temperature)


class _MeanOverPairs(torch.autograd.Function):
    """The loss of unit vectors [V, B, D] and, in the same go, its gradient.

    With weights w_ij of -p_ij [B, B], and their mirror image for -q_ij, the loss of a pair of views is
    sum_i a_i (logsumexp_k s_ik + logsumexp_k s_ki) - sum_ij (w_ij + w_ji) s_ij with a_i = sum_j w_ij, and its gradient
    by s_ij is a_i exp(p_ij) + a_j exp(q_ij) - w_ij - w_ji. So V views need the similarities of a few pairs at a time
    only: several times faster than all at once, where these leave the cache, and of constant memory.
    """

    @staticmethod
    def forward(ctx: Any, unit: Tensor, weight: Tensor, temperature: float) -> Tensor:
        views, rows, _ = unit.shape
        first, second = torch.triu_indices(views, views, 1, device=unit.device)
        reach, attraction = weight.sum(1), weight + weight.T
        loss, gradient = unit.new_zeros(()), torch.zeros_like(unit)
        together = max(1, CELLS // rows**2)
        for i, j in zip(first.split(together), second.split(together)):
            a, b = unit[i], unit[j]
            similarity = (a @ b.mT).div_(temperature)  # [pairs, B, B]
            by_row, by_column = similarity.logsumexp(2), similarity.logsumexp(1)
            loss += ((by_row + by_column) @ reach - similarity.flatten(1) @ attraction.flatten()).sum()
            if ctx.needs_input_grad[0]:
                slope = (similarity - by_row[:, :, None]).exp_().mul_(reach[:, None])
                slope += similarity.sub_(by_column[:, None]).exp_().mul_(reach)
                slope -= attraction
                gradient.index_add_(0, i, slope @ b).index_add_(0, j, slope.mT @ a)
        ctx.save_for_backward(gradient / (temperature * len(first)))
        return loss / len(first)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> tuple[Tensor, None, None]:
        return outer * ctx.saved_tensors[0], None, None


def _cell_weights(patient: Tensor, reduction: str) -> Tensor:
    """Return the weight of every cell's -p_ij [B, B]; that of -q_ij is the transpose, and together they sum to 1."""
    same = (patient[:, None] == patient[None, :]).float()
    if reduction == "pooled":
        return same / (2 * same.sum())
    above = same.triu(1)
    pairs = above.sum()
    # Where no patient repeats two of the four terms do not exist; decided on the device, without a synchronisation.
    terms = 2 + 2 * (pairs > 0)
    diagonal = torch.eye(len(same), device=same.device) / len(same)
    return (diagonal + above / pairs.clamp(min=1)) / terms


def unit_length(vectors: Tensor) -> Tensor:
    """Scale vectors [..., D] to unit length; one without a direction becomes 0."""
    # It gets no gradient either: F.normalize, with its floor under the length, would divide its gradient by that floor.
    length = vectors.norm(dim=-1, keepdim=True)
    return vectors / length.where(length > 1e-8, torch.inf)
