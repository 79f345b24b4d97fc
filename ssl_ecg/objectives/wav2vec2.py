"""wav2vec 2.0 on patches of an ECG (Baevski et al., NeurIPS 2020): a multiple-choice question about what was hidden.

    signal [B, L, T] -> augmented -> patches [B, N, V] -> tokens [B, N, D] -> spans hidden -> encoded [B, N, D]

A record is cut into patches. Spans of neighbouring patches are hidden: the transformer sees a mask token there, which
says nothing but where it stands. What the transformer makes of each hidden place is compared, by cosine, with all
patches that were hidden in this record, and must be most similar to the one that was there. The others are the wrong
answers ("distractors"), so that no decoder and no second record is needed.

On ECGs, with random lead masking, and with CMSC beside it: Oh et al., CHIL 2022; ECG-FM (McKeen et al. 2024,
arXiv:2408.05178). The objective ``joint`` adds the CMSC.

What differs from the publications: patches become tokens by the backbone's own embedding (of ``vit1d`` one linear
layer) rather than by strided convolutions; the right answers are linear in that embedding, and not quantised; and a
record has fewer than the 100 wrong answers that are drawn there, so all of its hidden patches serve.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ecg.backbones.transformer import embedding as token
from ssl_ecg.objectives.masked_loss import check_ratio, check_tokens, present_tokens, take_present
from ssl_ecg.objectives.patient_contrastive import check_temperature, unit_length
from ssl_ecg.objectives.registry import register
from ssl_ecg.views import Augment, block_mask, take_tokens

AUGMENT: Mapping[str, float] = MappingProxyType({"lead_masking": 0.5})

# Cosine above which two targets are the same patch, such as the zeros behind a short record.
TWINS = 1 - 1e-6


class Wav2Vec2(nn.Module):
    """Hide spans of time, encode all tokens, and recognise each hidden patch among the record's hidden ones.

    Args:
        backbone: a ``TokenBackbone`` whose patches cover all leads, such as ``vit1d``.
        sampling_rate: Hz.
        ratio: share of patches that is hidden.
        spans: contiguous spans they form.
        temperature: divisor of the cosine similarities.
        embedding: size E in which outputs and patches are compared.
        augment: augmentation name to strength; both what is seen and what is to be recognised are augmented.

    Raises:
        ValueError: another backbone, or an option out of range.
    """

    def __init__(
        self,
        backbone: Any,
        sampling_rate: float,
        ratio: float = 0.5,
        spans: int = 5,
        temperature: float = 0.1,
        embedding: int = 128,
        augment: Mapping[str, float] | None = AUGMENT,
    ) -> None:
        super().__init__()
        check_tokens("wav2vec2", backbone, all_leads=True)
        check_ratio("ratio", ratio)
        check_temperature(temperature)
        self.backbone = backbone
        self.ratio, self.spans, self.temperature = ratio, spans, temperature
        self.augment = Augment(augment or {}, sampling_rate, backbone.leads)
        self.mask_token = token(backbone.width)
        self.predict = nn.Linear(backbone.width, embedding)
        self.target = nn.Linear(backbone.width, embedding)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of a batch: ``signal`` [B, L, T] and, where not all was recorded, ``recorded``, ``leads``.

        Returns:
            "loss"; "accuracy", the share of hidden patches that are recognised; "features" [B, D] of the partly hidden
            records, detached.
        """
        signal = self.augment(batch["signal"], batch.get("recorded"), batch.get("leads"))
        patches = self.backbone.patchify(signal)
        present = present_tokens(self.backbone, batch, patches.shape[1])
        mask = block_mask(len(patches), patches.shape[1], self.ratio, self.spans, patches.device, present)
        content = self.backbone.content(patches)
        # What stands at a hidden place knows where it is, as every token does.
        tokens = self.backbone.embed(patches) + mask.masked[..., None] * (self.mask_token - content)
        encoded = self.backbone.encode(tokens, present)[:, self.backbone.extra :]
        hidden = mask.restore.argsort(1)[:, mask.visible.shape[1] :]  # [B, M]
        prediction, target = self.predict(take_tokens(encoded, hidden)), self.target(take_tokens(content, hidden))
        with torch.autocast(patches.device.type, enabled=False):
            loss, accuracy = recognition_loss(
                prediction.float(), target.float(), self.temperature, take_present(present, hidden)
            )
        return {"loss": loss, "accuracy": accuracy, "features": self.backbone.pool(encoded, present).detach()}


def recognition_loss(
    prediction: Tensor, target: Tensor, temperature: float, present: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Return how hard it is to recognise each target among those of its record, and the share recognised.

    Args:
        prediction: [B, M, E], need not be normalised.
        target: [B, M, E]; those that equal the one to be recognised are no distractors.
        temperature: divisor of the cosine similarities.
        present: bool [B, M], those to recognise, and to be told from; None: all.

    Returns:
        Cross-entropy and accuracy, without gradient: scalars, means over all that are present.
    """
    prediction, target = unit_length(prediction), unit_length(target)
    similarity = prediction @ target.mT / temperature  # [B, M, M]
    itself = torch.eye(target.shape[1], dtype=torch.bool, device=target.device)
    if present is None:
        present = torch.ones_like(target[..., 0], dtype=torch.bool)
    with torch.no_grad():
        no_distractor = ((target @ target.mT > TWINS) | ~present[:, None]) & ~itself
    similarity = similarity.masked_fill(no_distractor, -torch.inf)
    right = similarity.diagonal(dim1=1, dim2=2)
    surprise, recognised = similarity.logsumexp(2) - right, right == similarity.amax(2)
    count = present.sum().clamp(min=1)
    return (surprise * present).sum() / count, (recognised & present).sum() / count


register("wav2vec2", Wav2Vec2)
