"""joined: networks of the same signal side by side, their features one behind the other: the encoder of an ensemble."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ecg.backbones.base import Backbone
from ssl_ecg.backbones.encoder import Encoder
from ssl_ecg.backbones.registry import create_backbone, register

NAME = "joined"


class Joined(Backbone):
    """Several networks as one; what they have no steps in common for is one step that lies nowhere in time.

    Args:
        members: the networks, of the same leads.

    Attributes:
        members: the same.
        widths: how many features each of them gives; together they are the width.
    """

    def __init__(self, members: Sequence[Backbone]) -> None:
        widths = [member.width for member in members]
        super().__init__(members[0].in_leads, sum(widths))
        self.members, self.widths = nn.ModuleList(members), widths

    @property
    def min_samples(self) -> int:  # type: ignore[override]
        """Shortest signal, in samples, that leaves every network a step to pool."""
        return max(member.min_samples for member in self.members if isinstance(member, Backbone))

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to the features of all networks, as one step [B, 1, D]."""
        return self.forward_steps(signal, None, leads)[0]

    def forward_steps(
        self, signal: Tensor, recorded: Tensor | None = None, leads: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Map signal, as ``forward`` takes it, to the features of all networks, each pooled in its own way."""
        self.check(signal)
        return torch.cat([member(signal, recorded, leads) for member in self.members], 1)[:, None], None

    def step_times(self, samples: int, steps: int) -> Tensor:
        """Tell that the step lies nowhere in time: NaN."""
        return torch.full((steps,), torch.nan)

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name one layer group: no network comes before another."""
        return {"members": r"^members"}


def joined(in_leads: int = 12, members: Sequence[Mapping[str, Any]] = ()) -> Joined:
    """Networks side by side.

    Args:
        in_leads: leads of the signal.
        members: ``name`` and ``options`` of each.

    Raises:
        ValueError: no network.
    """
    if not members:
        raise ValueError("members=(): an ensemble has at least one network")
    return Joined([create_backbone(member["name"], in_leads=in_leads, **member["options"]) for member in members])


def joined_encoder(encoders: Sequence[Encoder]) -> Encoder:
    """Return encoders of the same signal as one, whose features are theirs one behind the other.

    It knows the patients of all.

    Raises:
        ValueError: encoders of signals that were prepared otherwise, or a network of one's own.
    """
    first = encoders[0]
    for encoder in encoders:
        if differences := first.differences(encoder.signal):
            raise ValueError(f"encoders: their signals differ ({'; '.join(differences)}); join those of one archive")
        if encoder.foreign:
            raise ValueError(
                f"encoders: {encoder.name} is a network of one's own; register it as a backbone to join it"
            )
    members = [{"name": encoder.name, "options": encoder.options} for encoder in encoders]
    sites = sorted({site for encoder in encoders for site in encoder.origin.get("sites", [])})
    patients = frozenset().union(*(encoder.patients for encoder in encoders))
    ecgs = frozenset().union(*(encoder.ecgs for encoder in encoders))
    made = Encoder(NAME, {"members": members}, first.signal, {"sites": sites}, patients, ecgs)
    assert isinstance(made.backbone, Joined)
    for network, encoder in zip(made.backbone.members, encoders):
        network.load_state_dict(encoder.backbone.state_dict())
    return made.eval()


register(NAME, joined, listed=False)
