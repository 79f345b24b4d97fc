"""xresnet1d: the ResNet of "Bag of Tricks for Image Classification" (He et al. 2019) for signals.

Three small convolutions as stem, residual stages whose shortcuts pool before they project, and the last batch norm of
every branch initialised to zero. The 1-D form and its use on PTB-XL follow Strodthoff et al. 2021
(doi:10.1109/JBHI.2020.3022989). Widths and depths are options, so that it fits two CPU cores as well as a GPU.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from ssl_ecg.backbones.base import StepBackbone, check_kernel
from ssl_ecg.backbones.registry import register


class ConvNorm(nn.Sequential):
    """Convolution, batch norm and, if wanted, ReLU; the length is divided by ``stride``."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, activate: bool = True) -> None:
        convolution = nn.Conv1d(inputs, outputs, kernel, stride, padding=kernel // 2, bias=False)
        nn.init.kaiming_normal_(convolution.weight, nonlinearity="relu")
        activation = [nn.ReLU(inplace=True)] if activate else []
        super().__init__(convolution, nn.BatchNorm1d(outputs), *activation)


class ResidualBlock(nn.Module):
    """Residual block; ``expansion`` 1 is the basic block of two convolutions, 4 the bottleneck of three."""

    def __init__(self, inputs: int, width: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        outputs = width * expansion
        if expansion == 1:
            self.branch = nn.Sequential(
                ConvNorm(inputs, width, kernel, stride), ConvNorm(width, outputs, kernel, activate=False)
            )
        else:
            self.branch = nn.Sequential(
                ConvNorm(inputs, width, 1),
                ConvNorm(width, width, kernel, stride),
                ConvNorm(width, outputs, 1, activate=False),
            )
        # The branch starts at zero, so that the network starts as its shortcuts.
        last_norm = list(self.branch.modules())[-1]
        assert isinstance(last_norm, nn.BatchNorm1d)
        nn.init.zeros_(last_norm.weight)
        shortcut: list[nn.Module] = []
        if stride > 1:
            # As in xresnet: pool, then project, so that no sample is skipped.
            shortcut.append(nn.AvgPool1d(stride, ceil_mode=True))
        if inputs != outputs:
            shortcut.append(ConvNorm(inputs, outputs, 1, activate=False))
        self.shortcut = nn.Sequential(*shortcut)
        self.activation = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map [B, inputs, T] to [B, width * expansion, ceil(T / stride)]."""
        return self.activation(self.branch(x) + self.shortcut(x))


class XResNet1d(StepBackbone):
    """Residual network over 12-lead (or any number of leads) signals.

    Args:
        in_leads: leads L of the signal.
        depths: residual blocks per stage; every stage after the first halves the rate.
        stem_width: channels of the stem.
        base_width: channels of the first stage.
        kernel: samples of the residual convolutions (odd).
        expansion: 1 for basic blocks, 4 for bottlenecks.
        pooling: "mean", "max", "mean_max" or "mean_max_std", over the steps.
        block: makes a residual block from (inputs, width, kernel, stride, expansion).
        growth: factor on the channels from one stage to the next.
    """

    def __init__(
        self,
        in_leads: int = 12,
        depths: Sequence[int] = (2, 2, 2, 2),
        stem_width: int = 32,
        base_width: int = 64,
        kernel: int = 5,
        expansion: int = 1,
        pooling: str = "mean",
        block: Callable[..., ResidualBlock] = ResidualBlock,
        growth: int = 2,
    ) -> None:
        super().__init__(in_leads, base_width * growth ** (len(depths) - 1) * expansion, pooling)
        check_kernel(kernel)
        self.stem = nn.Sequential(
            ConvNorm(in_leads, stem_width, kernel, stride=2),
            ConvNorm(stem_width, stem_width, kernel),
            ConvNorm(stem_width, base_width, kernel),
            nn.MaxPool1d(3, stride=2, padding=1),
        )
        stages, inputs = [], base_width
        for index, depth in enumerate(depths):
            width = base_width * growth**index
            blocks = []
            for number in range(depth):
                blocks.append(block(inputs, width, kernel, 2 if index and not number else 1, expansion))
                inputs = width * expansion
            stages.append(nn.Sequential(*blocks))
        self.stages = nn.Sequential(*stages)

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to step features [B, N, D'], N about T / 2^(stages + 1)."""
        self.check(signal)
        return self.stages(self.stem(signal)).transpose(1, 2)

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups in the order of the data, for timm's layer-wise learning-rate decay."""
        return {
            "stem": r"^stem",
            "blocks": r"^stages\.(\d+)" if coarse else r"^stages\.(\d+)\.(\d+)",
        }


def _factory(
    depths: tuple[int, ...], expansion: int, growth: int = 2, pooling: str = "mean"
) -> Callable[..., XResNet1d]:
    def create(
        in_leads: int = 12,
        width: int = 64,
        kernel: int = 5,
        pooling: str = pooling,
        depths: Sequence[int] = depths,
    ) -> XResNet1d:
        """Residual network with the bag of tricks (He et al. 2019), for signals.

        Args:
            in_leads: leads of the signal.
            width: channels of the first stage.
            kernel: samples of the residual convolutions, odd.
            pooling: "mean", "max", "mean_max" or "mean_max_std", over the steps.
            depths: residual blocks per stage.
        """
        return XResNet1d(in_leads, depths, max(1, width // 2), width, kernel, expansion, pooling, growth=growth)

    return create


register("xresnet1d10", _factory((1, 1, 1, 1), 1))
register("xresnet1d10_narrow", partial(_factory((1, 1, 1, 1), 1), width=8))  # for small devices
register("xresnet1d18", _factory((2, 2, 2, 2), 1))
register("xresnet1d34", _factory((3, 4, 6, 3), 1))
register("xresnet1d50", _factory((3, 4, 6, 3), 4))
register("xresnet1d101", _factory((3, 4, 23, 3), 4))
# As it was trained on PTB-XL: as many channels in every stage, mean and maximum joined (Strodthoff et al. 2021).
register("xresnet1d101_ptbxl", _factory((3, 4, 23, 3), 4, growth=1, pooling="mean_max"))
