"""wav2vec 2.0 on patches of an ECG: tell what was hidden from what else was (Baevski et al., NeurIPS 2020).

Spans of tokens are replaced by a mask token; at each hidden place the transformer's output must be nearer to the patch
that was there than to the record's other hidden patches. On ECGs, with random lead masking, and with CMSC beside it: Oh
et al., CHIL 2022; ECG-FM (McKeen et al. 2024, arXiv:2408.05178). ``joint`` adds the CMSC.

    signal [B, L, T] -> augmented -> patches [B, N, V] -> embedded [B, N, D] -> spans hidden -> encoded [B, N, D]

Other than there, patches are embedded by ``vit1d``'s one linear layer rather than by strided convolutions; targets are
linear in the embedded patch, not quantised; and distractors are all other hidden patches of the record rather than 100
of them, of which a record here has fewer.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ecg.backbones.transformer import embedding as token
from ssl_ecg.objectives.masked_loss import check_joint_patches, check_ratio
from ssl_ecg.objectives.patient_contrastive import check_temperature, unit_length
from ssl_ecg.objectives.registry import register
from ssl_ecg.views import Augment, block_mask, take_tokens

AUGMENT: Mapping[str, float] = MappingProxyType({"lead_masking": 0.5})

# Cosine above which two targets are the same patch, such as the zeros behind a short record.
TWINS = 1 - 1e-6


class Wav2Vec2(nn.Module):
    """Hide spans of time, encode all tokens, and recognise each hidden patch among the record's hidden ones.

    Args:
        backbone: a ``vit1d`` whose patches cover all leads.
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
        check_joint_patches("wav2vec2", backbone)
        check_ratio("ratio", ratio)
        check_temperature(temperature)
        self.backbone = backbone
        self.ratio, self.spans, self.temperature = ratio, spans, temperature
        self.augment = Augment(augment or {}, sampling_rate, backbone.leads)
        self.mask_token = token(backbone.width)
        self.predict = nn.Linear(backbone.width, embedding)
        self.target = nn.Linear(backbone.width, embedding)

    def forward(self, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Return the loss of a batch with ``signal`` [B, L, T].

        Returns:
            "loss"; "accuracy", the share of hidden patches that are recognised; "features" [B, D] of the partly hidden
            records, detached.
        """
        patches = self.backbone.patchify(self.augment(batch["signal"]))
        mask = block_mask(len(patches), patches.shape[1], self.ratio, self.spans, patches.device)
        content = self.backbone.embedding(patches)
        # What stands at a hidden place knows where it is, as every token does.
        tokens = self.backbone.embed(patches) + mask.masked[..., None] * (self.mask_token - content)
        encoded = self.backbone.encode(tokens)
        hidden = mask.restore.argsort(1)[:, mask.visible.shape[1] :]  # [B, M]
        prediction, target = self.predict(take_tokens(encoded, hidden)), self.target(take_tokens(content, hidden))
        with torch.autocast(patches.device.type, enabled=False):
            loss, accuracy = recognition_loss(prediction.float(), target.float(), self.temperature)
        return {"loss": loss, "accuracy": accuracy, "features": self.backbone.pool(encoded).detach()}


def recognition_loss(prediction: Tensor, target: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Return how hard it is to recognise each target among those of its record, and the share recognised.

    Args:
        prediction: [B, M, E], need not be normalised.
        target: [B, M, E]; those that equal the one to be recognised are no distractors.
        temperature: divisor of the cosine similarities.

    Returns:
        Cross-entropy, the mean over B and M, and accuracy, without gradient; scalars.
    """
    prediction, target = unit_length(prediction), unit_length(target)
    similarity = prediction @ target.mT / temperature  # [B, M, M]
    itself = torch.eye(target.shape[1], dtype=torch.bool, device=target.device)
    with torch.no_grad():
        twins = (target @ target.mT > TWINS) & ~itself
    similarity = similarity.masked_fill(twins, -torch.inf)
    right = similarity.diagonal(dim1=1, dim2=2)
    return (similarity.logsumexp(2) - right).mean(), (right == similarity.amax(2)).float().mean()


register("wav2vec2", Wav2Vec2)
