"""attention_pooled: any network of steps, whose steps are weighed by multi-head attention instead of its own pooling.

The network of Nejedly et al. (CinC 2021) is a residual one with such a head; see ``attention_pooling`` for what is
chosen here. Attention starts as the mean of the steps, so a pretrained network can be given it:
``training.attention_heads`` of finetuning.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ssl_ecg.backbones.attention_pooling import AttentionPooling
from ssl_ecg.backbones.base import POOLINGS, Backbone, StepBackbone, groups_inside
from ssl_ecg.backbones.encoder import Encoder
from ssl_ecg.backbones.registry import create_backbone, register

NAME = "attention_pooled"


class AttentionPooled(Backbone):
    """The steps of a network, pooled by attention.

    Args:
        network: whose steps they are.
        heads: of the attention, a divisor of the features of a step.

    Raises:
        ValueError: a network whose pooling is more than that of its steps, or heads that do not divide the features.
    """

    def __init__(self, network: Backbone, heads: int) -> None:
        width = _step_width(network)
        super().__init__(network.in_leads, width)
        self.network, self.rows = network, network.rows
        self.starting = getattr(network, "starting", ())
        self.attention = AttentionPooling(width, heads)

    @property
    def min_samples(self) -> int:  # type: ignore[override]
        """Shortest signal, in samples, that leaves the network a step to pool."""
        return self.network.min_samples

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to the steps of the network [B, N, D]."""
        return self.network.forward_features(signal, leads)

    def pool(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Pool steps [B, N, D], those ``present`` [B, N] alone, to [B, D]."""
        return self.attention(features, present)

    def step_times(self, samples: int, steps: int) -> Tensor:
        """Tell the centres of the steps [N], which are the network's."""
        return self.network.step_times(samples, steps)

    def lead_shares(self, samples: int, steps: int) -> Tensor:
        """Return how rows of steps make a map of each lead, as in the network."""
        return self.network.lead_shares(samples, steps)

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups of the network, and the attention behind them."""
        return {**groups_inside(self.network.group_matcher(coarse), "network"), "attention": r"^attention"}


def _step_width(network: Backbone) -> int:
    if type(network).pool is Backbone.pool:
        return network.width
    if isinstance(network, StepBackbone) and type(network).pool is StepBackbone.pool:
        return network.width // len(POOLINGS[network.pooling])
    raise ValueError(f"{type(network).__name__}: does more than pool its steps, so attention cannot pool them instead")


def attention_pooled(
    in_leads: int = 12, steps_of: str = "xresnet1d18", attention_heads: int = 8, **options: Any
) -> AttentionPooled:
    """Any network of steps, pooled by multi-head attention (Nejedly et al. 2021).

    Args:
        in_leads: leads of the signal.
        steps_of: name of the network, see ``list_backbones()``.
        attention_heads: heads, a divisor of the features of a step.
        options: of that network.
    """
    return AttentionPooled(create_backbone(steps_of, in_leads=in_leads, **options), attention_heads)


def with_attention(encoder: Encoder, heads: int) -> Encoder:
    """Return the encoder with attention over its steps in place of its pooling; as it starts, the mean.

    Raises:
        ValueError: a network of one's own, or one that attention cannot pool.
    """
    if encoder.foreign:
        raise ValueError(f"attention_heads={heads}: {encoder.name} is a network of one's own; give it such a pooling")
    options = {"steps_of": encoder.name, "attention_heads": heads, **encoder.options}
    made = Encoder(NAME, options, encoder.signal, encoder.origin, encoder.patients, encoder.ecgs)
    assert isinstance(made.backbone, AttentionPooled)
    made.backbone.network.load_state_dict(encoder.backbone.state_dict())
    return made


register(NAME, attention_pooled)
