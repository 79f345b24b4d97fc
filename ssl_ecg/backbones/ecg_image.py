"""A 2-D network over the drawn ECG: the image path of Lampert et al. (JACC Clin Electrophysiol 2023).

    signal [B, L, T] -> median filter -> independent leads, drawn [B, 1, H, W] -> any 2-D network of timm -> features

They draw the eight independent leads, band-passed (here when the archive is made) and median-filtered, and train a
ResNet-152 that has seen photographs. What an image adds to the signal is only those photographs: a baseline.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from ssl_ecg.backbones.base import interpolate
from ssl_ecg.backbones.image_network import ImageNetwork
from ssl_ecg.backbones.registry import register
from ssl_ecg.views.drawing import draw_leads, median_filter

INDEPENDENT = (0, 1, 6, 7, 8, 9, 10, 11)
"""I, II and V1 to V6 in the order of ``records.LEADS``; the other four are sums of I and II."""


class EcgImage(ImageNetwork):
    """Any convolutional 2-D network of timm over an image of the ECG.

    Args:
        in_leads: leads L of the signal. Of 12, in the order of ``records.LEADS``, the eight independent ones are drawn;
            of other numbers all.
        network: name of the network in timm, such as "resnet18" or "resnet152".
        weights: where it starts: None for random weights, "hub" for timm's pretrained ones from the Hugging Face hub,
            or the path of a safetensors file with the network's tensors. Only a start: an encoder folder does not keep
            this, since it holds the weights.
        in_chans: channels of the image, 1 or 3 (the same line in each).
        lead_height: pixels of a lead's strip.
        samples_per_column: samples across a column of pixels: the paper speed.
        limit: amplitude at a strip's edges, in the unit of the signal; 6 suits leads of unit deviation, 2 millivolts.
        median: samples of the median filter, odd; 1 for none.

    Attributes:
        drawn: the rows of the signal that are drawn.

    Raises:
        ValueError: an option out of range, an unknown network, or weights that are not to be had; by name.
    """

    min_samples = 2

    def __init__(
        self,
        in_leads: int = 12,
        network: str = "resnet18",
        weights: str | None = None,
        in_chans: int = 1,
        lead_height: int = 32,
        samples_per_column: int = 2,
        limit: float = 6.0,
        median: int = 3,
    ) -> None:
        if in_chans not in (1, 3):
            raise ValueError(f"in_chans={in_chans}: choose 1 or 3")
        if samples_per_column < 1 or limit <= 0:
            raise ValueError(f"samples_per_column={samples_per_column}, limit={limit}: both must be positive")
        if median < 1 or median % 2 == 0:
            raise ValueError(f"median={median}: choose an odd number of samples, 1 for no filter")
        super().__init__(in_leads, network, weights, in_chans, samples_per_column)
        self.drawn = list(INDEPENDENT) if in_leads == 12 else list(range(in_leads))
        self.in_chans, self.lead_height = in_chans, lead_height
        self.limit, self.median = limit, median
        self.min_samples = max(2, median // 2 + 1)

    def image_size(self, samples: int) -> tuple[int, int]:
        """Return height and width in pixels of the image of a signal of T samples."""
        return self.lead_height * len(self.drawn), math.ceil((samples - 1) / self.samples_per_column)

    def draw(self, signal: Tensor) -> Tensor:
        """Draw signal [B, L, T] as images [B, in_chans, H, W], 0 for paper and 1 for ink."""
        self.check(signal)
        signal = median_filter(signal[:, self.drawn], self.median)
        image = draw_leads(signal, self.lead_height, self.samples_per_column, self.limit)
        return image[:, None].expand(-1, self.in_chans, -1, -1)

    def lead_shares(self, samples: int, steps: int) -> Tensor:
        """Return how rows of patches make a map of each lead [L, rows]: by the pixels of its strip."""
        rows, stride = self.rows_and_stride(samples, steps)
        pixels = interpolate(torch.eye(rows), torch.arange(rows) * float(stride), self.image_size(samples)[0])
        shares = torch.zeros(self.in_leads, rows)
        shares[self.drawn] = pixels.unflatten(1, (len(self.drawn), self.lead_height)).mean(2).T
        return shares


register("ecg_image", EcgImage)
