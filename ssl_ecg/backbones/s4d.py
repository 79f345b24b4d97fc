"""s4d: a diagonal state-space model (Gu et al. 2022, arXiv:2206.11893), as Mehari and Strodthoff 2022 use S4 for ECGs.

Every channel is a linear system with complex states that decay and oscillate independently:

    x'(t) = A x(t) + u(t),    y(t) = 2 Re(C x(t)) + D u(t),    A = diag(a_1, a_2, ...),    Re a_n < 0

With the input held for steps of dt, it answers a unit sample, D aside, with

    K[l] = 2 Re sum_n C_n (exp(dt a_n) - 1) / a_n exp(dt a_n l)

and a whole signal with its convolution by K, done by FFT. S4D-Lin starts at a_n = -1/2 + i pi n, n = 0, 1, ...
The ECG model (arXiv:2211.07579) has 4 layers of 512 channels with 8 real states (4 conjugate pairs), looks both ways,
and normalises after each residual sum; the default here is narrower.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.fft import irfft, rfft
from torch.nn.functional import pad

from ssl_ecg.backbones.base import StepBackbone
from ssl_ecg.backbones.registry import register

DT_RANGE = (1e-3, 1e-1)  # of the first step sizes: memories of about 20 to 2000 samples


class DiagonalKernel(nn.Module):
    """Impulse responses of independent diagonal systems.

    Args:
        channels: systems H.
        state: real state size of each; conjugate pairs make it state / 2 complex states.
    """

    def __init__(self, channels: int, state: int) -> None:
        super().__init__()
        pairs = state // 2
        low, high = (math.log(dt) for dt in DT_RANGE)
        self.log_dt = nn.Parameter(torch.empty(channels).uniform_(low, high))
        self.log_decay = nn.Parameter(torch.full((channels, pairs), math.log(0.5)))
        self.frequency = nn.Parameter((math.pi * torch.arange(pairs)).repeat(channels, 1))
        # Real and imaginary part, because optimisers, weight files and mixed precision expect real numbers.
        self.output = nn.Parameter(torch.randn(channels, pairs, 2) * math.sqrt(0.5))

    def forward(self, length: int) -> Tensor:
        """Return the first samples of every response, float32 [H, length]."""
        a = torch.complex(-self.log_decay.exp(), self.frequency)
        step = a * self.log_dt.exp().unsqueeze(1)
        weight = torch.view_as_complex(self.output) * torch.expm1(step) / a
        time = torch.arange(length, device=step.device)
        powers = torch.exp(step.unsqueeze(2) * time)  # [H, pairs, length]
        return 2 * (weight.unsqueeze(2) * powers).sum(1).real


class StateSpace(nn.Module):
    """The systems of all channels applied to signals [B, H, T], looking back or both ways."""

    def __init__(self, channels: int, state: int, bidirectional: bool) -> None:
        super().__init__()
        self.past = DiagonalKernel(channels, state)
        self.future = DiagonalKernel(channels, state) if bidirectional else None
        self.direct = nn.Parameter(torch.randn(channels))
        self.frozen: Tensor | None = None

    def spectrum(self, length: int) -> Tensor:
        """Return the Fourier transform of the responses on a circle of 2 * length samples, [H, length + 1]."""
        kernel = pad(self.past(length), (0, length)) + pad(self.direct.unsqueeze(1), (0, 2 * length - 1))
        if self.future is not None:
            # Response to a sample l + 1 steps ahead, at the lag -(l + 1) of a circle of 2 * length.
            kernel = kernel + pad(self.future(length).flip(1), (length, 0))
        return rfft(kernel)

    @torch.no_grad()
    def precompute(self, x: Tensor) -> None:
        """Compute once what depends on the weights and the length of signals [B, H, T] alone, for ``export``."""
        self.frozen = torch.view_as_real(self.spectrum(x.shape[2]))

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, H, T] to float32 [B, H, T]."""
        x = x.float()  # FFTs and decays need float32 under autocast too
        length = x.shape[2]
        if self.frozen is None:
            return irfft(rfft(x, 2 * length) * self.spectrum(length), 2 * length)[..., :length]
        # The same product in real numbers, which ONNX needs.
        (a, b), (c, d) = torch.view_as_real(rfft(x, 2 * length)).unbind(-1), self.frozen.unbind(-1)
        product = torch.view_as_complex(torch.stack([a * c - b * d, a * d + b * c], -1))
        return irfft(product, 2 * length)[..., :length]


class S4DBlock(nn.Module):
    """State space, GELU and a gated mixing of the channels, added to the input; then layer norm."""

    def __init__(self, channels: int, state: int, bidirectional: bool, dropout: float) -> None:
        super().__init__()
        self.state_space = StateSpace(channels, state, bidirectional)
        self.mix = nn.Sequential(
            nn.GELU(), nn.Dropout(dropout), nn.Conv1d(channels, 2 * channels, 1), nn.GLU(1), nn.Dropout(dropout)
        )
        self.norm = nn.LayerNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, H, T] to [B, H, T]."""
        x = x + self.mix(self.state_space(x))
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class S4D(StepBackbone):
    """State-space model over signals; it keeps the sampling rate: a step a sample.

    Args:
        in_leads: leads L of the signal.
        width: channels of every layer, and size D of the features.
        depth: layers.
        state: real state size of a channel (even).
        bidirectional: False lets a step see only its past, as predicting the future needs.
        dropout: share dropped after the activations and the mixing.
        pooling: "mean", "max", "mean_max" or "mean_max_std", over the steps.
    """

    def __init__(
        self,
        in_leads: int = 12,
        width: int = 128,
        depth: int = 4,
        state: int = 8,
        bidirectional: bool = True,
        dropout: float = 0.2,
        pooling: str = "mean",
    ) -> None:
        super().__init__(in_leads, width, pooling)
        if state < 2 or state % 2:
            raise ValueError(f"state={state}: choose an even number, for conjugate pairs")
        self.stem = nn.Conv1d(in_leads, width, 1)
        self.blocks = nn.Sequential(*(S4DBlock(width, state, bidirectional, dropout) for _ in range(depth)))

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to step features [B, T, width]."""
        self.check(signal)
        return self.blocks(self.stem(signal)).transpose(1, 2)


register("s4d", S4D)
