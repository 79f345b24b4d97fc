"""CPC: contrastive predictive coding (van den Oord et al. 2018, arXiv:1807.03748).

    z_t = latent of window t,   c_t = context of z_1 ... z_t,   for k = 1 ... K: recognise z_{t+k} by W_k c_t

W_k c_t must have a larger dot product with the latent k steps ahead than with latents of other places of the same
record: the cross-entropy of one right among ``negatives`` wrong answers (InfoNCE), without temperature and without
normalising lengths. On ECGs: Mehari and Strodthoff (Comput Biol Med 2022), with K = 12 and 128 negatives.

What the papers leave open, as it is here: the wrong answers of a latent are drawn evenly, with replacement, from the
record's other latents, once, and shared by the K predictions of it; the loss is the mean over all predictions of a
batch. What was not recorded is neither predicted nor a wrong answer.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ecg.objectives.registry import register


class CPC(nn.Module):
    """Predict the latents of the next steps from the context of the past.

    Args:
        backbone: a network with ``latents`` and a causal ``summarise``, such as ``cpc``.
        sampling_rate: Hz; not used.
        ahead: how many steps ahead are predicted, K.
        negatives: wrong answers beside each right one.

    Raises:
        ValueError: another backbone, or an option below 1.
    """

    def __init__(self, backbone: Any, sampling_rate: float, ahead: int = 12, negatives: int = 128) -> None:
        super().__init__()
        if not (hasattr(backbone, "latents") and hasattr(backbone, "summarise")):
            raise ValueError(
                f"backbone={type(backbone).__name__}: cpc predicts latents from a causal context of them, and this "
                "network has none; choose backbone=cpc, or give yours the methods latents and summarise"
            )
        for name, value in (("ahead", ahead), ("negatives", negatives)):
            if value < 1:
                raise ValueError(f"{name}={value}: must be at least 1")
        self.backbone = backbone
        self.ahead, self.negatives = ahead, negatives
        self.predict = nn.Linear(backbone.step_width, ahead * backbone.step_width, bias=False)  # all W_k

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of a batch: ``signal`` [B, L, T] and, where not all was recorded, ``recorded``, ``leads``.

        Returns:
            "loss"; "accuracy", the share of predictions that are nearer to the right latent than to all wrong ones;
            "features" [B, D] of the context, detached.
        """
        signal = batch["signal"]
        latents = self.backbone.latents(signal)  # [B, N, E]
        context = self.backbone.summarise(latents)
        present = self.backbone.present(signal.shape[2], latents.shape[1], batch.get("recorded"), batch.get("leads"))
        count = torch.full(signal.shape[:1], latents.shape[1], device=signal.device)
        wrong = draw_negatives(count if present is None else present.sum(1), latents.shape[1], self.negatives)
        predicted = self.predict(context).unflatten(2, (self.ahead, -1))  # [B, N, K, E]
        with torch.autocast(signal.device.type, enabled=False):
            loss, accuracy = predictive_loss(predicted.float(), latents.float(), wrong, present)
        return {"loss": loss, "accuracy": accuracy, "features": self.backbone.pool(context, present).detach()}


def draw_negatives(count: Tensor, steps: int, negatives: int) -> Tensor:
    """Draw other steps of its record for every step, evenly and with replacement.

    Args:
        count: int64 [B], steps of each record that may be drawn, the first ones.
        steps: N, of the longest record.
        negatives: M, draws of each step.

    Returns:
        int64 [B, N, M]; meaningless, but a step, of steps that may not be drawn and of records of a single step.
    """
    draw = torch.rand(len(count), steps, negatives, device=count.device)
    others = (count - 1).clamp(min=1)[:, None, None]
    place = (draw * others).long().minimum(others - 1)
    itself = torch.arange(steps, device=count.device)[None, :, None]
    return (place + (place >= itself)).clamp(max=steps - 1)


def predictive_loss(
    predicted: Tensor, latents: Tensor, wrong: Tensor, present: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return InfoNCE of latents predicted from earlier steps, and the share that is recognised.

    Args:
        predicted: [B, N, K, E]; at [t, k] stands what step t predicts of step t + k + 1.
        latents: [B, N, E].
        wrong: int64 [B, N, M], steps whose latents are the wrong answers for each step.
        present: bool [B, N], steps that are predicted, of each record the first ones; None: all.

    Returns:
        Cross-entropy and accuracy, without gradient: scalars, means over all predictions of steps that are present, in
        records that have another step; 0 where there is none.
    """
    batch, steps, ahead, _ = predicted.shape
    target = torch.arange(steps, device=latents.device)
    source = target - torch.arange(1, ahead + 1, device=latents.device)[:, None]  # [K, N]: who predicts each step
    counted = (source >= 0).expand(batch, -1, -1)
    if present is not None:
        counted = counted & present[:, None]  # a later step of a record is present only if the earlier ones are
    of_target = predicted.transpose(1, 2).gather(
        2, source.clamp(min=0)[None, :, :, None].expand(batch, -1, -1, predicted.shape[3])
    )  # [B, K, N, E]
    # All dot products of a record are fewer than those of its steps with as many drawn latents, and need no copies.
    products = of_target @ latents.mT[:, None]  # [B, K, N, N]
    answers = torch.cat([target[None, :, None].expand(batch, -1, 1), wrong], dim=2)  # the right one first
    logits = products.gather(3, answers[:, None].expand(-1, ahead, -1, -1))  # [B, K, N, 1 + M]
    surprise = logits.logsumexp(3) - logits[..., 0]
    recognised = logits[..., 0] > logits[..., 1:].amax(3)
    total = counted.sum().clamp(min=1)
    return (surprise * counted).sum() / total, (recognised & counted).sum() / total


register("cpc", CPC)
