"""clocs: a single-lead encoder of the size used by CLOCS (Kiyasseh et al., ICML 2021, arXiv:2005.13249).

Three blocks of convolution (7 samples, stride 3), batch norm, ReLU, maximum over 2 steps and dropout, with 4, 16 and 32
channels, then one linear layer. Two things differ from the paper, so that any length works: the convolutions pad, and
the steps are averaged to 10 before the linear layer, as many as the paper's unpadded 2500 samples leave. A third, so
that any rate works: strides of 3 are for 500 Hz; an ``Encoder`` of another rate has those whose steps are nearest to
the same .43 s, such as 3, 2 and 1 at 100 Hz.
"""

from __future__ import annotations

import math
from itertools import combinations_with_replacement, pairwise
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn.functional import adaptive_avg_pool1d

from ssl_ecg.backbones.base import Backbone
from ssl_ecg.backbones.registry import register

CHANNELS = (4, 16, 32)
KERNEL, STRIDES, POOL = 7, (3, 3, 3), 2
PUBLISHED_RATE = 500  # Hz
STEPS = 10
LEVELS = 2**16  # of the random numbers that choose what is dropped


class _LargerOfPairs(torch.autograd.Function):
    """Maximum over pairs of steps [..., T] -> [..., T // 2]; of two alike the first gets the gradient."""

    @staticmethod
    def forward(ctx: Any, steps: Tensor) -> Tensor:
        first, second = _pairs(steps)
        ctx.save_for_backward(second - first)
        ctx.shape = steps.shape
        return torch.maximum(first, second)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, outer: Tensor) -> Tensor:
        (further,) = ctx.saved_tensors
        gradient = outer.new_empty(ctx.shape)
        gradient[..., 2 * outer.shape[-1] :] = 0
        first, second = _pairs(gradient)
        second.copy_(torch.ops.aten.threshold_backward(outer, further, 0))  # where the second is larger
        torch.sub(outer, second, out=first)
        return gradient


def _pairs(steps: Tensor) -> tuple[Tensor, ...]:
    """Return the first and the second of every pair of steps [..., T], views [..., T // 2] both."""
    return steps[..., : steps.shape[-1] // 2 * 2].unflatten(-1, (-1, 2)).unbind(-1)


class PairPool(nn.MaxPool1d):
    """``MaxPool1d(2)``, which trains three times as fast on a CPU."""

    def __init__(self) -> None:
        super().__init__(POOL)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, C, T] to [B, C, T // 2]."""
        return _LargerOfPairs.apply(x) if self.training and not x.is_cuda else super().forward(x)


class Dropout(nn.Dropout):
    """``nn.Dropout``, three times as fast on a CPU: of one 64-bit random number come the draws of four values.

    There the share dropped is ``p`` to 1 in 131,072, and what is kept is scaled by just that share.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Map a tensor to one of the same shape."""
        dropped = round(self.p * LEVELS)
        if not self.training or x.is_cuda or not 0 < dropped < LEVELS:
            return super().forward(x)
        draw = torch.empty((x.numel() + 3) // 4, dtype=torch.int64, device=x.device).random_(-(2**63), None)
        kept = draw.view(torch.int16)[: x.numel()].view(x.shape) >= dropped - LEVELS // 2
        return x * kept.to(x.dtype).mul_(LEVELS / (LEVELS - dropped))


class Clocs(Backbone):
    """CLOCS-sized encoder. The method shows it one lead at a time; it takes any number.

    Args:
        in_leads: leads L of the signal.
        width: size D of the embedding; the paper has 32 to 320.
        dropout: share of every block's output dropped.
    """

    def __init__(self, in_leads: int = 12, width: int = 320, dropout: float = 0.1) -> None:
        super().__init__(in_leads, width)
        self.blocks = nn.Sequential(
            *(
                nn.Sequential(
                    nn.Conv1d(inputs, outputs, KERNEL, padding=KERNEL // 2),
                    nn.BatchNorm1d(outputs),
                    PairPool(),  # before the ReLU, which changes no value and has half as many to look at
                    nn.ReLU(inplace=True),
                    Dropout(dropout),
                )
                for inputs, outputs in pairwise((in_leads, *CHANNELS))
            )
        )
        self.linear = nn.Linear(CHANNELS[-1] * STEPS, width)
        self._stride(STRIDES)

    def suit(self, sampling_rate: float) -> None:
        """Choose the strides whose steps are as long, in seconds, as the published ones; the most even of equals."""
        wanted = math.prod(STRIDES) * sampling_rate / PUBLISHED_RATE
        possible = combinations_with_replacement(range(4, 0, -1), len(CHANNELS))
        self._stride(min(possible, key=lambda strides: (abs(math.log(math.prod(strides) / wanted)), strides)))

    def _stride(self, strides: tuple[int, ...]) -> None:
        self.strides, self.min_samples = strides, 1
        convolutions = (module for module in self.blocks.modules() if isinstance(module, nn.Conv1d))
        for convolution, stride in zip(convolutions, strides):
            convolution.stride = (stride,)
        # The last pooling needs POOL steps; every convolution before it makes ceil(T / stride) of T samples.
        for stride in reversed(strides):
            self.min_samples = (POOL * self.min_samples - 1) * stride + 1

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to step features [B, about T / 216 with strides of 3, 32]."""
        self.check(signal)
        return self.blocks(signal).transpose(1, 2)

    def pool(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Average step features [B, N, 32], of those ``present`` [B, N], to 10 steps and embed them: [B, D].

        What follows the recorded part changes nothing: the 10 steps divide that part.
        """
        if present is None:
            return self.linear(adaptive_avg_pool1d(features.transpose(1, 2), STEPS).flatten(1))
        count, step = present.sum(1)[:, None, None], torch.arange(STEPS, device=features.device)[:, None]
        place = torch.arange(features.shape[1], device=features.device)
        # The bins of adaptive_avg_pool1d, of as many steps as each record has.
        within = (place >= step * count // STEPS) & (place < -(-(step + 1) * count // STEPS))  # [B, 10, N]
        share = within / within.sum(2, keepdim=True).clamp(min=1)
        return self.linear((share.to(features.dtype) @ features).transpose(1, 2).flatten(1))

    def step_times(self, samples: int, steps: int) -> Tensor:
        """Tell the centres of the steps [N]: three times a strided convolution, then pairs of outputs."""
        first, stride = 0.0, 1
        for own in self.strides:
            first, stride = first + own / 2 * stride, POOL * own * stride
        return first + stride * torch.arange(steps)


register("clocs", Clocs)
