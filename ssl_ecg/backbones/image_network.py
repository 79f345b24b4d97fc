"""A 2-D network of timm over an image of the ECG: what ``ecg_image`` and ``spectral_image`` have in common."""

from __future__ import annotations

import math
from abc import abstractmethod
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from ssl_ecg.backbones.base import Backbone, mean_of_present
from ssl_ecg.backbones.untrusted import check_start

SQUEEZENET = "squeezenet1_1"
"""the one network that is torchvision's, since timm has none of its kind"""


class ImageNetwork(Backbone):
    """Any convolutional 2-D network of timm over images that ``draw`` makes of signals.

    Args:
        in_leads: leads L of the signal.
        network: name of the network in timm, or "squeezenet1_1".
        weights: where it starts: None for random weights, "hub" for timm's pretrained ones from the Hugging Face hub,
            or the path of a safetensors file with the network's tensors. Only a start: an encoder folder does not keep
            this, since it holds the weights.
        in_chans: channels of the image.
        samples_per_column: samples across a column of pixels.

    Raises:
        ValueError: an unknown network, or weights that are not to be had; by name.
    """

    starting = ("weights",)

    def __init__(
        self, in_leads: int, network: str, weights: str | None, in_chans: int, samples_per_column: int
    ) -> None:
        made = create_network(network, weights, in_chans)
        super().__init__(in_leads, made.head_hidden_size)
        self.network = made
        self.samples_per_column = samples_per_column

    @abstractmethod
    def image_size(self, samples: int) -> tuple[int, int]:
        """Return height and width in pixels of the image of a signal of T samples."""

    @abstractmethod
    def draw(self, signal: Tensor) -> Tensor:
        """Draw signal [B, L, T] as images [B, channels, H, W]."""

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to the features of the image's patches, row by row [B, rows * columns, D']."""
        features = self.network.forward_features(self.draw(signal))
        if features.ndim != 4 or features.shape[1] != self.network.num_features:
            raise ValueError(f"network: its features {tuple(features.shape)} are no [batch, channels, rows, columns]")
        return features.flatten(2).transpose(1, 2)

    def pool(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Pool the features of patches [B, rows * columns, D'], those ``present``, to [B, D] as the network does."""
        if present is not None:
            # With the mean of those that count in place of the others, neither mean nor maximum sees the others.
            features = features.where(present[..., None], mean_of_present(features, present)[:, None])
        # Pooling over all patches does not depend on how they are arranged.
        return self.network.forward_head(features.transpose(1, 2)[..., None])

    def step_times(self, samples: int, steps: int) -> Tensor:
        """Tell the centres of the patches [rows * columns]: a patch is around every ``stride``th column of pixels."""
        rows, stride = self.rows_and_stride(samples, steps)
        return (torch.arange(steps // rows) * float(stride * self.samples_per_column)).repeat(rows)

    def rows_and_stride(self, samples: int, steps: int) -> tuple[int, int]:
        """Return how many rows of patches an image has, and how many pixels apart they are."""
        height, width = self.image_size(samples)

        def patches(stride: int) -> int:
            return math.ceil(height / stride) * math.ceil(width / stride)

        stride = min((2**power for power in range(9)), key=lambda stride: abs(patches(stride) - steps))
        return math.ceil(height / stride), stride

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups of the network, for timm's layer-wise learning-rate decay."""

        def inside(pattern: Any) -> Any:
            if isinstance(pattern, str):
                return rf"^network\.(?:{pattern.removeprefix('^').replace('|^', '|')})"
            return [(inside(each), order) for each, order in pattern]

        return {name: inside(pattern) for name, pattern in self.network.group_matcher(coarse).items()}


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1 (Iandola et al. 2016, arXiv:1602.07360) of torchvision, with the methods of a network of timm.

    Padded, so that it divides the sides of any image by 16 and patches lie evenly.
    """

    num_features = head_hidden_size = 512

    def __init__(self, in_chans: int) -> None:
        from torchvision.models import squeezenet1_1

        super().__init__()
        self.features = squeezenet1_1(weights=None).features
        first = self.features[0]
        self.features[0] = nn.Conv2d(in_chans, first.out_channels, first.kernel_size, first.stride, padding=1)
        for number, module in enumerate(self.features):
            if isinstance(module, nn.MaxPool2d):
                self.features[number] = nn.MaxPool2d(3, stride=2, padding=1)

    def forward_features(self, image: Tensor) -> Tensor:
        """Map images [B, channels, H, W] to patches [B, 512, H / 16, W / 16]."""
        return self.features(image)

    def forward_head(self, features: Tensor) -> Tensor:
        """Pool patches [B, 512, rows, columns] to their mean [B, 512]."""
        return features.mean((2, 3))

    def forward(self, image: Tensor) -> Tensor:
        """Map images [B, channels, H, W] to features [B, 512]."""
        return self.forward_head(self.forward_features(image))

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups in the order of the data."""
        return {"features": r"^features\.(\d+)"}


def create_network(network: str, weights: str | None, in_chans: int) -> Any:
    """Make a network by its name, see ``ImageNetwork``."""
    import timm

    check_start(weights)
    if network == SQUEEZENET:
        if weights is not None:
            raise ValueError(f"weights={weights!r}: {network} starts from random weights alone; choose null")
        return SqueezeNet(in_chans)

    if not timm.is_model(network):
        near = ", ".join(timm.list_models(f"*{network}*")[:5]) or "resnet18, resnet50, resnet152"
        raise ValueError(f"network={network!r}: timm knows no such network; choose for example {near}")
    options: dict[str, Any] = {"in_chans": in_chans, "num_classes": 0}
    if weights is None:
        return timm.create_model(network, **options)
    if weights == "hub":
        try:
            return timm.create_model(network, pretrained=True, **options)
        except (OSError, RuntimeError) as error:
            raise ValueError(
                f"weights='hub': the hub did not deliver {network!r} ({error}); "
                "give the path of a safetensors file that holds them, or null for random weights"
            ) from error
    path = Path(weights)
    if path.suffix != ".safetensors" or not path.is_file():
        raise ValueError(f"weights={weights!r}: choose null, hub, or the path of an existing .safetensors file")
    tensors = load_file(path)
    if missing := sorted(set(timm.create_model(network, **options).state_dict()) - set(tensors)):
        raise ValueError(f"weights={weights!r}: lacks {len(missing)} tensors of {network!r}, such as {missing[0]}")
    # timm leaves out the classifier and sums the colours of the first layer where the image has one channel.
    return timm.create_model(network, pretrained=True, pretrained_cfg_overlay={"state_dict": tensors}, **options)
