"""The patient-specific contrastive loss of CLOCS (Kiyasseh, Zhu, Clifton, ICML 2021), as a pure function.

For two views a, b of B recordings with similarities s_ij = cos(a_i, b_j) / temperature, and log-softmaxes by rows
p_ij = s_ij - logsumexp_k s_ik and by columns q_ij = s_ij - logsumexp_k s_kj, the loss is the mean of those of four
terms that exist:

    diagonal:      -mean_i p_ii   and   -mean_i q_ii
    other rows of the same patient, above the diagonal: -mean_{i<j} p_ij;   below it: -mean_{i>j} q_ij

Positives stay in the denominators. Over V views it is the mean over all V (V - 1) / 2 pairs of views.
"""

from __future__ import annotations

import torch
from torch import Tensor

REDUCTIONS = ("clocs", "pooled")


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
    """Return the mean of the two-view loss over all pairs of V views, in one batched matrix product.

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
        first, second = torch.triu_indices(len(views), len(views), 1, device=views.device)
        similarity = (unit[first] / temperature) @ unit[second].transpose(1, 2)  # [pairs, B, B]
        # With weights w_ij of -p_ij, and their mirror image for -q_ij, the loss is linear in the similarities and their
        # log-sum-exps: no matrix of log-softmaxes is ever made.
        weight = _cell_weights(patient, reduction)
        normaliser = similarity.logsumexp(2) + similarity.logsumexp(1)  # [pairs, B]
        return (normaliser @ weight.sum(1) - similarity.flatten(1) @ (weight + weight.T).flatten()).mean()


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
