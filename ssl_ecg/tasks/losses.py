"""Losses of multi-label classification: means over the labels that are known, in float32, in logits form.

Everywhere z is a logit, p = sigmoid(z), targets are 1, 0 or NaN (unknown: no loss and no gradient), and every loss is
finite with a finite gradient however large the logits; 0 where no label is known.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

SPARSITY = 1.0  # weight of the pull of outputs to 0 or 1 in the challenge loss


def bce(logits: Tensor, targets: Tensor, positive_weight: Tensor | None = None) -> Tensor:
    """Binary cross-entropy, -w y log(p) - (1 - y) log(1 - p).

    Args:
        logits: [B, C].
        targets: [B, C].
        positive_weight: [C], w, how much a positive counts; 1 if not given.
    """
    known = ~targets.isnan()
    each = F.binary_cross_entropy_with_logits(
        logits.float(), targets.nan_to_num(), reduction="none", pos_weight=positive_weight
    )
    return _mean(each, known)


def positive_weight(targets: Tensor) -> Tensor:
    """Weight of a positive of each class: the square root of negatives over positives.

    The root lies half-way, on a log scale, between no weights and full balance: with full balance one positive of a
    class of 1 in 1,000 would outweigh all else in its batch.

    Args:
        targets: [n, C] of training.

    Returns:
        float32 [C]; 1 where there is no positive or no negative.
    """
    positives, negatives = (targets == 1).sum(dim=0), (targets == 0).sum(dim=0)
    return torch.where((positives > 0) & (negatives > 0), (negatives / positives.clamp(min=1)).sqrt(), 1.0)


def focal(logits: Tensor, targets: Tensor, gamma: float = 2.0, alpha: float = 0.25) -> Tensor:
    """Focal loss (Lin et al., ICCV 2017): cross-entropy that fades where the label is predicted well already.

    With p_t the probability of the true label, and alpha_t = alpha for positives and 1 - alpha for negatives:
    -alpha_t (1 - p_t)^gamma log(p_t). The paper divides by the number of positives, this by that of known labels.

    Args:
        logits: [B, C].
        targets: [B, C].
        gamma: how fast it fades; 0 is cross-entropy.
        alpha: weight of positives; below .5 because well-predicted negatives have faded.
    """
    known, label = ~targets.isnan(), targets.nan_to_num()
    towards = logits.float() * (2 * label - 1)  # the logit of the true label
    weight = alpha * label + (1 - alpha) * (1 - label)
    return _mean(-weight * torch.sigmoid(-towards) ** gamma * F.logsigmoid(towards), known)


def asymmetric(
    logits: Tensor, targets: Tensor, gamma_positive: float = 0.0, gamma_negative: float = 4.0, margin: float = 0.05
) -> Tensor:
    """Asymmetric loss (Ridnik et al., ICCV 2021): negatives fade faster than positives, easy ones altogether.

    A positive costs -(1 - p)^gamma_positive log(p), a negative -q^gamma_negative log(1 - q), q = max(p - margin, 0).

    Args:
        logits: [B, C].
        targets: [B, C].
        gamma_positive: how fast positives fade; 0: not at all.
        gamma_negative: how fast negatives fade.
        margin: negatives below this probability cost nothing.
    """
    known, label, logits = ~targets.isnan(), targets.nan_to_num(), logits.float()
    positive = -(torch.sigmoid(-logits) ** gamma_positive) * F.logsigmoid(logits)
    shifted = (torch.sigmoid(logits) - margin).clamp(min=0)
    # log(1 - q) = log(min(1 - p + margin, 1)), without a difference that saturates.
    log_rest = torch.logaddexp(F.logsigmoid(-logits), logits.new_tensor(margin).log()).clamp(max=0)
    negative = -(shifted**gamma_negative) * log_rest
    return _mean(torch.where(label == 1, positive, negative), known)


def sign(logits: Tensor, targets: Tensor) -> Tensor:
    """Sign loss (Zhu et al., Physiological Measurement 42:065008, 2021): labels on the right side of .5 count less.

    The cross-entropy of a label, weighted by y - 2 p y + p^2 = (y - p)^2, below 1/4, where |y - p| < .5, and by 1
    elsewhere. The weight jumps from 1/4 to 1 where a label changes sides, so the loss is not continuous there.

    Args:
        logits: [B, C].
        targets: [B, C].
    """
    known, label = ~targets.isnan(), targets.nan_to_num()
    towards = logits.float() * (2 * label - 1)  # the logit of the true label
    weight = torch.where(towards > 0, torch.sigmoid(-towards) ** 2, 1.0)
    return _mean(-weight * F.logsigmoid(towards), known)


def challenge(
    logits: Tensor, targets: Tensor, rewards: Tensor, normal: Sequence[int], sparsity: float = SPARSITY
) -> Tensor:
    """Cross-entropy, what a soft challenge metric lacks of 1, and a pull of outputs to 0 or 1 (Nejedly, CinC 2021).

    The soft metric is that of ``evaluation.challenge`` with probabilities p in place of decisions: a record earns
    sum_jk y_j W_jk p_k / max(1, sum_k (y_k + p_k - y_k p_k)), which is what it earns there where every p is 0 or 1.
    With l what the normal class alone earns the batch and h what the truth does, (e - l) / (h - l) is the metric and
    (h - e) / (h - l) lacks of 1; h - l counts as 1 at least, since a batch may hold normal records alone. Chosen here,
    where the paper is not specific: the three parts are summed, and the pull is the mean of p (1 - p).

    Args:
        logits: [B, C].
        targets: [B, C]; what is unknown is neither true nor named.
        rewards: [C, C], W, a row for each label and a column for each output.
        normal: columns of the class that an inactive classifier names.
        sparsity: weight of the pull.
    """
    known, label = ~targets.isnan(), targets.nan_to_num()
    probability = torch.sigmoid(logits.float())
    named = probability * known

    def earned(outputs: Tensor) -> Tensor:
        size = (label + outputs - label * outputs).sum(1).clamp(min=1)
        return ((label @ rewards * outputs).sum(1) / size).sum()

    inactive = torch.zeros_like(label)
    inactive[:, list(normal)] = 1
    highest, lowest = earned(label), earned(inactive)
    lacking = (highest - earned(named)) / (highest - lowest).clamp(min=1)
    return bce(logits, targets) + lacking + sparsity * _mean(probability * (1 - probability), known)


def _mean(each: Tensor, known: Tensor) -> Tensor:
    return (each * known).sum() / known.sum().clamp(min=1)
