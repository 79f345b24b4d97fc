"""Supervised contrastive loss (Khosla et al., NeurIPS 2020) for multi-label data, as a pure function.

Rows i and j attract each other by the overlap of their labels, the Jaccard index w_ij = |both| / |either| over classes
known for both. With s_ij = cos(z_i, z_j) / temperature and p_ij = s_ij - logsumexp_{k != i} s_ik the loss is the mean,
over rows that have a positive, of -sum_j w_ij p_ij / sum_j w_ij.
"""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_ecg.objectives.patient_contrastive import check_temperature, unit_length


def supervised_contrastive_loss(embeddings: Tensor, targets: Tensor, temperature: float = 0.1) -> Tensor:
    """Return the loss by which records with common labels attract each other.

    Args:
        embeddings: [B, D], or [V, B, D] with V views of every record, which attract each other fully; need not be
            normalised.
        targets: labels [B, C], 1, 0 or NaN (unknown: of no weight). Two records without a label in common have no
            overlap, not even where both have none.
        temperature: divisor of the cosine similarities.

    Returns:
        The loss, a float32 scalar; 0 where no row has a positive.

    Raises:
        ValueError: shapes that do not fit, labels other than 0 and 1, a temperature not above 0.
    """
    views = embeddings[None] if embeddings.ndim == 2 else embeddings
    if views.ndim != 3 or targets.ndim != 2 or len(targets) != views.shape[1]:
        raise ValueError(
            f"embeddings {tuple(embeddings.shape)}, targets {tuple(targets.shape)}: expected [B, D] or [V, B, D] and "
            "[B, C]"
        )
    check_temperature(temperature)
    with torch.autocast(embeddings.device.type, enabled=False):
        weight = label_overlap(targets).fill_diagonal_(1).repeat(len(views), len(views)).fill_diagonal_(0)
        unit = unit_length(views.float().flatten(0, 1))  # [V * B, D]
        itself = torch.eye(len(unit), dtype=torch.bool, device=unit.device)
        similarity = (unit @ unit.T / temperature).masked_fill(itself, -torch.inf)
        # A row with nobody else has no softmax; its weight is 0 and must not meet an infinity.
        log_share = similarity.log_softmax(1).masked_fill(itself, 0)
        total = weight.sum(1)
        each = -(weight * log_share).sum(1) / total.where(total > 0, 1)
        return each.sum() / (total > 0).sum().clamp(min=1)


def label_overlap(targets: Tensor) -> Tensor:
    """Return the Jaccard index of the labels of every two records [B, B], over classes known for both; 0 / 0 is 0.

    Args:
        targets: [B, C], 1, 0 or NaN (unknown).

    Raises:
        ValueError: labels other than 0 and 1.
    """
    known = (~targets.isnan()).float()
    label = targets.nan_to_num().float()
    if not ((label == 0) | (label == 1)).all():
        raise ValueError(f"targets: hold {float(label.max())} and {float(label.min())}; expected 1, 0 or NaN")
    both = label @ label.T
    either = label @ known.T + known @ label.T - both
    return both / either.clamp(min=1)
