"""time_spectrum: one network over the signal and one over its spectrum, their features joined.

Wickramasinghe and Athif (CinC 2021): the signal at 100 Hz and its Fourier transform go through convolutional networks
of their own, each of four convolutions with Swish, spatial dropout and average pooling. What the abstract leaves open
is chosen here: of the transform the standardised magnitudes of each lead (``signals.spectrum``); widths, kernels and a
batch norm after each convolution; and both ends are pooled by their mean instead of being flattened, so that any
length works.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from ssl_ecg.backbones.base import Backbone, check_kernel, mean_of_present
from ssl_ecg.backbones.registry import register
from ssl_ecg.signals.spectrum import magnitude_spectrum

DEPTH = 4


def _branch(in_leads: int, width: int, kernel: int, dropout: float) -> nn.Sequential:
    """Return four convolutions from [B, L, T] to [B, 8 * width, ceil(T / 16)]."""
    layers, inputs = [], in_leads
    for number in range(DEPTH):
        outputs = width * 2**number
        convolution = nn.Conv1d(inputs, outputs, kernel, padding=kernel // 2, bias=False)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        layers.append(
            nn.Sequential(
                convolution,
                nn.BatchNorm1d(outputs),
                nn.SiLU(inplace=True),
                nn.Dropout1d(dropout),
                nn.AvgPool1d(2, ceil_mode=True),
            )
        )
        inputs = outputs
    return nn.Sequential(*layers)


class TimeSpectrum(Backbone):
    """Two convolutional branches; the last step is the spectrum's, which lies nowhere in time and always counts.

    Args:
        in_leads: leads L of the signal.
        width: channels of the first convolution of a branch; each further one has twice as many, and the features of
            both branches together are 16 times as wide.
        kernel: samples of the convolutions over time, bins of those over the spectrum (odd).
        dropout: share of the channels dropped after each convolution.
    """

    min_samples = 2

    def __init__(self, in_leads: int = 12, width: int = 32, kernel: int = 9, dropout: float = 0.1) -> None:
        super().__init__(in_leads, 2 * width * 2 ** (DEPTH - 1))
        check_kernel(kernel)
        self.time = _branch(in_leads, width, kernel, dropout)
        self.spectrum = _branch(in_leads, width, kernel, dropout)

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to steps in time and, last, the spectrum's mean: [B, ceil(T / 16) + 1, 8 * width]."""
        self.check(signal)
        time, spectrum = self.time(signal), self.spectrum(magnitude_spectrum(signal))
        return torch.cat([time, spectrum.mean(2, keepdim=True)], 2).transpose(1, 2)

    def pool(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Join the mean of the steps in time, those ``present`` [B, N], and the spectrum: [B, 16 * width]."""
        time = mean_of_present(features[:, :-1], None if present is None else present[:, :-1])
        return torch.cat([time, features[:, -1]], 1)

    def step_times(self, samples: int, steps: int) -> Tensor:
        """Tell the middles of the samples that become one step [N]; NaN for the spectrum."""
        width = 2**DEPTH
        return torch.cat([torch.arange(steps - 1) * float(width) + (width - 1) / 2, torch.tensor([torch.nan])])

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups in the order of the data, for timm's layer-wise learning-rate decay."""
        return {"layers": r"^(?:time|spectrum)\.(\d+)"}


register("time_spectrum", TimeSpectrum)
