"""Grad-CAM (Selvaraju et al., ICCV 2017): which moments of the signal speak for an output.

The features of a layer are weighted by the mean gradient of the output over all steps, summed over channels, and cut
off below 0; captum computes it. By default the layer is the last one that knows time, the step features of the
backbone, for any backbone alike: 1-D networks, tokens of transformers, 2-D networks over the drawn ECG.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_ecg.explain.step_times import steps_to_samples
from ssl_ecg.signals.normalisation import recorded_mask
from ssl_ecg.tasks.classifier import Classifier
from ssl_ecg.tasks.ensemble import EnsembleHead
from ssl_ecg.tasks.joining import members_of


class _FromSteps(nn.Module):
    """A classifier whose step features [B, D', N] are the output of a module that captum can watch."""

    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model
        self.steps = nn.Identity()

    def forward(
        self, signal: Tensor, recorded: Tensor | None, leads: Tensor | None, static: Tensor | None = None
    ) -> Tensor:
        """Map signals, as the encoder takes them, to logits [B, outputs]."""
        encoder = self.model.encoder
        features, present = encoder.forward_steps(signal, recorded, leads)
        steps = self.steps(features.transpose(1, 2))
        return self.model.logits(encoder.backbone.pool(steps.transpose(1, 2), present), static)


def grad_cam(
    model: Classifier,
    signal: Tensor,
    target: int | str | None = None,
    layer: nn.Module | None = None,
    by_lead: bool = False,
    recorded: Tensor | None = None,
    leads: Tensor | None = None,
    static: Tensor | None = None,
) -> Tensor:
    """Map what speaks for an output of a model.

    Args:
        model: encoder and head, in eval mode.
        signal: [B, L, T], millivolts.
        target: number of the logit, or name of the class; None: the sum of all logits of the task, such as those of
            the hazards of all intervals.
        layer: a module of the model whose output is [B, channels, steps]; None: the backbone's step features, of an
            ensemble those of its members, whose maps are averaged. Networks of large stride, such as 32 samples, need
            an earlier layer to tell a P wave from its QRS complex.
        by_lead: whether to keep leads apart, where steps are of one lead (``lead_wise``, ``vit1d_lead``,
            ``ecg_image``); for other networks all leads then have the same map.
        recorded: int64 [B], samples of each record that were recorded; None: all T.
        leads: bool [B, L], leads of each record that were recorded; None: all L.
        static: [B, K], values of a model's static inputs, for which the map has no place.

    Returns:
        float [B, T], or [B, L, T] by lead, not negative, interpolated from steps to samples; 0 where nothing was
        recorded, and throughout where nothing speaks for the output.

    Raises:
        ValueError: a model in training mode, or a class that it does not have.

    Example:
        >>> heat = grad_cam(load_model("runs/model"), signal, target="low_lvef")
    """
    from captum.attr import LayerGradCam

    if model.training:
        raise ValueError("model is in training mode, in which a map depends on chance: call model.eval() first")
    output = _output(model, target)
    if isinstance(model.head, EnsembleHead) and layer is None:
        return _of_members(model, signal, output, by_lead, recorded, leads)
    from_steps = _FromSteps(model).eval()
    whole = from_steps if layer is None else model

    def forward(signal: Tensor) -> Tensor:
        logits = whole(signal, recorded, leads, static)
        return task_logits(model, logits).sum(1) if output is None else logits[:, output]

    cam = LayerGradCam(forward, from_steps.steps if layer is None else layer)
    with torch.enable_grad():
        steps = cam.attribute(signal.detach(), relu_attributions=True, attr_dim_summation=True)
    assert isinstance(steps, Tensor)
    heat = steps_to_samples(model.encoder.backbone, steps.detach().reshape(len(signal), -1), signal.shape[2])
    # Where steps are of all leads together, so is the map.
    heat = heat * recorded_mask(signal, recorded, leads if heat.shape[1] > 1 else None)
    return heat.expand_as(signal) if by_lead else heat.mean(1)


def _of_members(
    model: Classifier, signal: Tensor, output: int | None, by_lead: bool, recorded: Tensor | None, leads: Tensor | None
) -> Tensor:
    """Return the mean of the maps of an ensemble's members, each by what it has to say.

    Features of different networks have no common scale, so each map is brought to a mean of 1 first.
    """
    assert isinstance(model.head, EnsembleHead)
    with torch.no_grad():
        shares = model.head.shares(model.encoder(signal, recorded, leads), output)
    total = torch.zeros(())
    for member, share in zip(members_of(model), shares.T):
        heat = grad_cam(member.to(signal.device), signal, output, None, by_lead, recorded, leads)
        shape = (-1, *[1] * (heat.ndim - 1))
        total = total + share.view(shape) * heat / heat.flatten(1).mean(1).clamp(min=1e-12).view(shape)
    return total


def task_logits(model: Classifier, logits: Tensor) -> Tensor:
    """Return the logits [B, outputs] without those of auxiliary targets, such as age, which come last."""
    return logits[:, : logits.shape[1] - len(getattr(model.task, "beside", ()))]


def _output(model: Classifier, target: int | str | None) -> int | None:
    classes = model.task.classes
    if isinstance(target, str):
        if target not in classes:
            raise ValueError(f"target={target!r}: choose one of {', '.join(classes)}")
        return classes.index(target)
    return target
