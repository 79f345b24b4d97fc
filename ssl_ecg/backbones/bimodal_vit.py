r"""The encoder of the bimodal masked autoencoder (BMIRC, doi:10.1016/j.patcog.2024.111311).

    signal [B, L, T]   -> patches -> time tokens      -> time blocks      \
                                                                           joint blocks -> tokens
    spectrum [B, L, F] -> patches -> frequency tokens -> frequency blocks /

One learnable global token goes in front of both streams; its two outputs are summed and go in front of the joint
blocks. Masking only chooses which tokens enter: the blocks never see the others.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ssl_ecg.backbones.base import Backbone, mean_of_present
from ssl_ecg.backbones.registry import register
from ssl_ecg.backbones.transformer import (
    embedding,
    initialise,
    layer_norm,
    patchify,
    position_table,
    positions,
    transformer_blocks,
)
from ssl_ecg.signals.spectrum import magnitude_spectrum
from ssl_ecg.views import take_tokens


class Encoded(NamedTuple):
    """What the encoder makes of the tokens it is shown, by modality.

    Attributes:
        tokens: output of the joint blocks [B, 1 + N, D], global token first, then the modalities one after the other.
        specific: outputs of each modality's own blocks, without the global token: modality -> blocks x [B, K, D].
        joint: outputs of the joint blocks, split by modality: modality -> blocks x [B, K, D].
    """

    tokens: Tensor
    specific: dict[str, list[Tensor]]
    joint: dict[str, list[Tensor]]


def _of_heads(attended: Tensor | None) -> Tensor | None:
    """Return bool [B, N], tokens that may be attended to, as attention takes it: [B, 1, 1, N]."""
    return None if attended is None else attended[:, None, None]


class Stream(nn.Module):
    """One modality: patches to tokens, and the blocks that only it goes through."""

    def __init__(self, inputs: int, tokens: int, width: int, depth: int, heads: int, drop_path: float) -> None:
        super().__init__()
        self.patch = nn.Linear(inputs, width)  # on patches laid out as [lead, sample]: a strided convolution
        self.position = position_table(width, tokens)
        self.blocks = transformer_blocks(width, depth, heads, drop_path=(0.0, drop_path))
        self.norm = layer_norm(width)

    def forward(
        self, patches: Tensor, visible: Tensor | None, global_token: Tensor, attended: Tensor | None
    ) -> tuple[Tensor, list[Tensor]]:
        """Map patches [B, N, L * P], or the ``visible`` [B, K] of them, to [B, 1 + K, D], and the blocks' outputs.

        ``attended`` bool [B, 1 + K] says which tokens may be attended to, the global one first; None: all.
        """
        position = positions(self.position, patches.shape[1])
        if visible is not None:
            patches = take_tokens(patches, visible)
            position = take_tokens(position.expand(len(visible), -1, -1), visible)
        x = self.patch(patches) + position
        x = torch.cat([global_token.to(x.dtype).expand(x.shape[0], -1, -1), x], dim=1)
        outputs = []
        for block in self.blocks:
            x = block(x, attn_mask=_of_heads(attended))
            outputs.append(x[:, 1:])
        return self.norm(x), outputs


class BimodalViT(Backbone):
    """Vision transformer over time patches and spectrum patches of an ECG.

    Args:
        in_leads: leads L.
        width: token width D.
        depth: blocks of each modality.
        joint_depth: blocks over both modalities.
        heads: attention heads.
        patch: samples, and frequency bins, of a patch over all leads.
        samples: length T whose positions are learnt; at other lengths they are interpolated.
        frequency: False leaves the spectrum out.
        drop_path: stochastic depth of the last block.

    Attributes:
        width: size D of the pooled feature vector.
        modalities: ("time", "frequency"), or ("time",).
    """

    def __init__(
        self,
        in_leads: int = 12,
        width: int = 192,
        depth: int = 4,
        joint_depth: int = 4,
        heads: int = 3,
        patch: int = 10,
        samples: int = 1000,
        frequency: bool = True,
        drop_path: float = 0.0,
    ) -> None:
        super().__init__(in_leads, width)
        for name, value in (("depth", depth), ("joint_depth", joint_depth), ("patch", patch)):
            if value < 1:
                raise ValueError(f"{name}={value}: choose at least 1")
        if samples < 2 * patch:
            raise ValueError(f"samples={samples}: choose at least two patches of {patch}")
        self.patch = patch
        self.modalities = ("time", "frequency") if frequency else ("time",)
        middle = drop_path * depth / (depth + joint_depth)
        self.global_token = embedding(1, 1, width)
        self.time = Stream(in_leads * patch, samples // patch, width, depth, heads, middle)
        if frequency:
            self.frequency = Stream(in_leads * patch, samples // 2 // patch, width, depth, heads, middle)
        self.joint = transformer_blocks(width, joint_depth, heads, drop_path=(middle, drop_path))
        initialise(self)

    def patches(self, signal: Tensor) -> dict[str, Tensor]:
        """Cut signal [B, L, T] and its spectrum into patches [B, N, L * P] by modality."""
        self.check(signal)
        made = {"time": patchify(signal, self.patch)}
        if "frequency" in self.modalities:
            made["frequency"] = patchify(magnitude_spectrum(signal), self.patch)
        return made

    def encode(
        self, patches: dict[str, Tensor], visible: dict[str, Tensor] | None = None, present: Tensor | None = None
    ) -> Encoded:
        """Encode patches [B, N, L * P] by modality.

        Args:
            patches: by modality.
            visible: positions [B, K] of those that are encoded, by modality; None: all.
            present: bool [B, N], patches of time that were recorded, to which alone others attend; None: all.
        """
        outputs, specific = {}, {}
        attended: dict[str, Tensor | None] = dict.fromkeys(self.modalities)
        for name in self.modalities:
            shown = None if visible is None else visible[name]
            if present is not None:
                there = present if name == "time" else present.new_ones(patches[name].shape[:2])
                attended[name] = F.pad(there if shown is None else there.gather(1, shown), (1, 0), value=True)
            stream = getattr(self, name)
            outputs[name], specific[name] = stream(patches[name], shown, self.global_token, attended[name])
        global_token = torch.stack([output[:, :1] for output in outputs.values()]).sum(0)
        x = torch.cat([global_token, *(output[:, 1:] for output in outputs.values())], dim=1)
        counts = [1, *(output.shape[1] - 1 for output in outputs.values())]
        joint: dict[str, list[Tensor]] = {name: [] for name in self.modalities}
        counted = [there[:, 1:] for there in attended.values() if there is not None]
        together = F.pad(torch.cat(counted, dim=1), (1, 0), value=True) if counted else None
        for block in self.joint:
            x = block(x, attn_mask=_of_heads(together))
            for name, part in zip(self.modalities, x.split(counts, dim=1)[1:], strict=True):
                joint[name].append(part)
        return Encoded(x, specific, joint)

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to tokens [B, 1 + N, D]: global, time, frequency; nothing is masked."""
        return self.encode(self.patches(signal)).tokens

    def forward_steps(
        self, signal: Tensor, recorded: Tensor | None = None, leads: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Map signal [B, L, T] to tokens [B, 1 + N, D]; no token attends to time that was not recorded."""
        patches = self.patches(signal)
        tokens = 1 + sum(values.shape[1] for values in patches.values())
        present = self.present(signal.shape[2], tokens, recorded)
        of_time = None if present is None else present[:, 1 : 1 + patches["time"].shape[1]]
        return self.encode(patches, present=of_time).tokens, present

    def forward_intermediates(self, signal: Tensor) -> list[Tensor]:
        """Return the tokens [B, N, D] after every block, from the first to the last, without the global token.

        Middle blocks can be better features than the last, which serves the reconstruction.
        """
        encoded = self.encode(self.patches(signal))
        layers = [*zip(*encoded.specific.values()), *zip(*encoded.joint.values())]
        return [torch.cat(parts, dim=1) for parts in layers]

    def pool(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Pool tokens [B, N, D], those ``present`` [B, N] alone, to their layer-normalised mean [B, D]."""
        # Without weights of its own: the linear head that follows has them, and pretraining would not train them.
        return F.layer_norm(mean_of_present(features, present), (self.width,))

    def step_times(self, samples: int, steps: int) -> Tensor:
        """Tell the centres of the tokens [1 + N]; the global token and those of the spectrum lie nowhere in time."""
        times = torch.full((steps,), torch.nan)
        count = samples // self.patch
        times[1 : 1 + count] = (self.patch - 1) / 2 + self.patch * torch.arange(count)
        return times

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups in the order of the data, for timm's layer-wise learning-rate decay."""
        last = len(self.time.blocks) - 1
        return {
            "stem": r"^global_token|^\w+\.(?:patch|position)",
            "specific": [(r"^(?:time|frequency)\.blocks\.(\d+)", None), (r"^(?:time|frequency)\.norm", (last,))],
            "joint": r"^joint\.(\d+)",
        }


register("bimodal_vit", BimodalViT)
