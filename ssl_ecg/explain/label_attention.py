"""What the attention regulariser compares (``ssl_ecg.tasks.attention``), as maps to draw over an ECG."""

from __future__ import annotations

import torch
from torch import Tensor

from ssl_ecg.explain.step_times import steps_to_samples
from ssl_ecg.signals.normalisation import recorded_mask
from ssl_ecg.tasks.attention import attention_map, label_map, response_maps
from ssl_ecg.tasks.classifier import Classifier


@torch.no_grad()
def label_attention(
    model: Classifier, signal: Tensor, targets: Tensor, recorded: Tensor | None = None, leads: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Map where a network's features are large, and where its head finds some classes.

    A network that was trained with ``attention`` has maps that resemble each other.

    Args:
        model: encoder and linear head, in eval mode.
        signal: whole records [B, L, T], millivolts.
        targets: [B, C], 1 for the classes to look for: labels, or the task's decisions.
        recorded: int64 [B], samples of each record that were recorded; None: all T.
        leads: bool [B, L], leads of each record that were recorded; None: all L.

    Returns:
        Attention and the mean response of those classes, cut off below 0, each float [B, T], interpolated from steps
        to samples; 0 where nothing was recorded.

    Raises:
        ValueError: a model in training mode, or a head that is not linear, or not on pooled steps.
    """
    if model.training:
        raise ValueError("model is in training mode, in which a map depends on chance: call model.eval() first")
    steps, _ = model.encoder.forward_steps(signal, recorded, leads)
    response = label_map(response_maps(steps, model.head), targets).clamp(min=0)
    maps = attention_map(steps), response
    real = recorded_mask(signal, recorded)[:, 0]
    attention, found = (
        steps_to_samples(model.encoder.backbone, values, signal.shape[2]).mean(1) * real for values in maps
    )
    return attention, found
