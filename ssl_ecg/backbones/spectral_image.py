"""spectral_image: a 2-D network over the spectrogram or the wavelet transform of every lead.

    signal [B, L, T] -> |filters of H frequencies|^2, compressed [B, L, H, T / hop] -> 2-D network of timm -> features

Systems of the challenges give scalograms to networks made for photographs: SqueezeNet (``squeezenet1_1``),
EfficientNet (``efficientnet_b0``), MobileNetV3 (``mobilenetv3_small_100``). Both transforms are one convolution with
complex filters,

    spectrogram    Hann window of ``window`` samples, frequencies evenly spaced
    wavelet        Morlet: Gauss of ``cycles`` / (2 pi f) samples, less its mean, frequencies in even ratios

each scaled so that a sine of amplitude a has the power a^2 at its frequency. So they run on the device, in training
and in an exported program alike. Chosen here, since published layouts differ: leads are the channels of the image, and
the power p is compressed to log(1 + 100 p).
"""

from __future__ import annotations

import math
from typing import Literal, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_ecg.backbones.image_network import ImageNetwork
from ssl_ecg.backbones.registry import register

Transform = Literal["wavelet", "spectrogram"]
DEVIATIONS = 3  # of the Gauss, on either side, that a wavelet's filter holds
GAIN = 100.0
COLUMNS = 32  # of the narrowest image: networks for photographs divide its sides by 32
LONGEST, MOST_BANDS = 4096, 512


class SpectralImage(ImageNetwork):
    """Any convolutional 2-D network of timm over the spectra of all leads at all times.

    Args:
        in_leads: leads L of the signal, the channels of the image.
        network: name of the network in timm, such as "efficientnet_b0", or "squeezenet1_1".
        weights: where it starts: None for random weights, "hub" for timm's pretrained ones, or the path of a
            safetensors file with the network's tensors; see ``ecg_image``.
        transform: "wavelet" or "spectrogram".
        bands: frequencies H, rows of the image, the lowest first.
        lowest: frequency of the first row in cycles a sample: .01 is 1 Hz at 100 Hz.
        highest: that of the last, at most .5.
        hop: samples across a column of the image.
        cycles: of a wavelet within two pi of its deviations.
        window: samples of the spectrogram's window.

    Raises:
        ValueError: an option out of range, an unknown network, or weights that are not to be had; by name.
    """

    filters: Tensor

    def __init__(
        self,
        in_leads: int = 12,
        network: str = "mobilenetv3_small_100",
        weights: str | None = None,
        transform: Transform = "wavelet",
        bands: int = 32,
        lowest: float = 0.01,
        highest: float = 0.4,
        hop: int = 4,
        cycles: float = 6.0,
        window: int = 64,
    ) -> None:
        if transform not in get_args(Transform):
            raise ValueError(f"transform={transform!r}: choose one of {', '.join(get_args(Transform))}")
        if not 0 < lowest < highest <= 0.5:
            raise ValueError(f"lowest={lowest}, highest={highest}: choose frequencies that rise, between 0 and .5")
        if not 2 <= bands <= MOST_BANDS or hop < 1:
            raise ValueError(f"bands={bands}, hop={hop}: choose 2 to {MOST_BANDS} bands and at least 1 sample")
        half = window // 2 if transform == "spectrogram" else math.ceil(DEVIATIONS * cycles / (2 * math.pi * lowest))
        if not 1 <= half <= LONGEST:
            raise ValueError(
                f"window={window}, cycles={cycles}, lowest={lowest}: filters of {2 * half + 1} samples; choose between "
                f"3 and {2 * LONGEST + 1}"
            )
        super().__init__(in_leads, network, weights, in_leads, hop)
        self.bands, self.hop, self.reach = bands, hop, half
        self.min_samples = COLUMNS * hop
        steps = torch.linspace(0, 1, bands)
        if transform == "wavelet":
            frequencies = lowest * (highest / lowest) ** steps
            envelopes = torch.exp(-0.5 * (self._times() * 2 * math.pi * frequencies[:, None] / cycles).square())
        else:
            frequencies = lowest + (highest - lowest) * steps
            envelopes = torch.cos(math.pi * self._times() / (2 * half + 2)).square().expand(bands, -1)
        # Made of the options, so not among the weights.
        self.register_buffer("filters", self._filters(frequencies, envelopes), persistent=False)

    def _times(self) -> Tensor:
        return torch.arange(-self.reach, self.reach + 1, dtype=torch.float32)

    def _filters(self, frequencies: Tensor, envelopes: Tensor) -> Tensor:
        """Return real and imaginary parts of the filters [2 * H, 1, samples] of these envelopes [H, samples]."""
        envelopes = 2 * envelopes / envelopes.sum(1, keepdim=True)
        phase = 2 * math.pi * frequencies[:, None] * self._times()
        # Less what the envelope lets through of a constant, so that a wandering baseline is in no row.
        waves = [
            envelopes * wave - envelopes / 2 * (envelopes * wave).sum(1, keepdim=True)
            for wave in (phase.cos(), phase.sin())
        ]
        return torch.cat(waves)[:, None]

    def image_size(self, samples: int) -> tuple[int, int]:
        """Return height and width in pixels of the image of a signal of T samples."""
        return self.bands, math.ceil(samples / self.hop)

    def power(self, signal: Tensor) -> Tensor:
        """Map signal [B, L, T] to the power of its frequencies around every ``hop``th sample, [B, L, H, T / hop]."""
        with torch.autocast(signal.device.type, enabled=False):
            leads = signal.float().flatten(0, 1)[:, None]
            both = F.conv1d(leads, self.filters, stride=self.hop, padding=self.reach).unflatten(1, (2, self.bands))
            return both.square().sum(1).unflatten(0, (-1, self.in_leads))

    def draw(self, signal: Tensor) -> Tensor:
        """Draw signal [B, L, T] as images [B, L, H, T / hop]."""
        self.check(signal)
        return (GAIN * self.power(signal)).log1p()

    def lead_shares(self, samples: int, steps: int) -> Tensor:
        """Return the weights of the rows of patches [1, rows], which are of frequencies and not of leads: all alike."""
        rows, _ = self.rows_and_stride(samples, steps)
        return torch.full((1, rows), 1 / rows)


register("spectral_image", SpectralImage)
