"""The attention regulariser of xECGNet (Yoo, Jun, Kim, Computer Methods and Programs in Biomedicine 208:106281, 2021).

Where several arrhythmias are in one ECG, a network tends to look at one of them. One more term of the loss pulls the
attention map, where the features of the last layer are large, towards the mean of the response maps of the true
classes, where the head finds them (class activation maps, Zhou et al., CVPR 2016).

What the abstract leaves open is chosen here. Both maps are read from the features that are pooled, without a branch of
their own. Their scales have nothing in common, so maps are compared by their correlation over steps. The response
maps are the goal and get no gradient.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_ecg.backbones.base import mean_of_present

_EPSILON = 1e-3  # of the norm of a centred map: one that is flat has no shape to correlate, and no steep gradient


def attention_map(steps: Tensor) -> Tensor:
    """Return the mean magnitude of step features [B, N, D] over channels, [B, N]."""
    return steps.abs().mean(2)


def response_maps(steps: Tensor, head: nn.Module) -> Tensor:
    """Return how much each step adds to each logit.

    With mean pooling the mean of a map over steps is the logit, less the bias.

    Args:
        steps: step features [B, N, D].
        head: linear, from the pooled steps [B, D] to C logits.

    Returns:
        [B, C, N].

    Raises:
        ValueError: a head that is not linear, or on features of another width than a step has.
    """
    if not isinstance(head, nn.Linear) or head.in_features != steps.shape[2]:
        raise ValueError(
            f"steps {tuple(steps.shape)}, head {head}: response maps need a linear head on the mean or the maximum of "
            "the steps; choose a backbone with such a pooling"
        )
    return head.weight.to(steps.dtype) @ steps.transpose(1, 2)


def label_map(responses: Tensor, targets: Tensor) -> Tensor:
    """Return the mean response map of the true classes, [B, N]; 0 where a record has none.

    Args:
        responses: [B, C, N].
        targets: [B, C], 1, 0 or NaN (unknown: not counted as true).
    """
    true = (targets == 1).to(responses.dtype)
    return (true[..., None] * responses).sum(1) / true.sum(1, keepdim=True).clamp(min=1)


def attention_loss(steps: Tensor, head: nn.Module, targets: Tensor, counted: Tensor | None = None) -> Tensor:
    """Return 1 - correlation of the attention map and the map of the labels, in float32.

    Args:
        steps: step features [B, N, D].
        head: linear, from the pooled steps [B, D] to C logits; gets no gradient.
        targets: [B, C], 1, 0 or NaN (unknown).
        counted: bool [B, N], steps of what was recorded; None: all.

    Returns:
        The mean over records with a true class, between 0 and 2; 0 where there is none.

    Raises:
        ValueError: a head that is not linear, or on features of another width than a step has.
    """
    with torch.autocast(steps.device.type, enabled=False):
        steps = steps.float()
        goal = label_map(response_maps(steps, head), targets).detach()
        if counted is None:
            counted = torch.ones_like(goal, dtype=torch.bool)
        attention, goal = ((x - mean_of_present(x[..., None], counted)) * counted for x in (attention_map(steps), goal))
        alike = F.cosine_similarity(attention, goal, dim=1, eps=_EPSILON)
        labelled = (targets == 1).any(1)
        return ((1 - alike) * labelled).sum() / labelled.sum().clamp(min=1)
