"""One network for every lead: leads as instances, as in CLOCS (Kiyasseh, Zhu, Clifton, ICML 2021).

A one-lead network sees the leads of a signal one by one, with shared weights; its features are averaged over the leads,
or put one lead behind the other, so that what comes after can tell in which lead something is. So single-lead
pretraining, which reaches the network itself as ``.single``, gives an encoder of the whole signal.
"""

from __future__ import annotations

from typing import Any, Literal, get_args

from torch import Tensor

from ssl_ecg.backbones.base import Backbone, groups_inside, mean_of_present
from ssl_ecg.backbones.registry import create_backbone, register

LeadPooling = Literal["mean", "concat"]


class LeadWise(Backbone):
    """A one-lead network applied to each lead, and its features of all leads as one feature vector.

    Args:
        single: the network; its ``in_leads`` is 1.
        in_leads: leads L of the signal.
        lead_pooling: "mean" of its features over the leads that are there, or "concat", one lead behind the other, with
            0 for a lead that is not there.

    Attributes:
        single: the network.
        width: size D of its features, L times as much where they are concatenated.
        in_leads: leads L.

    Raises:
        ValueError: unknown ``lead_pooling``.
    """

    def __init__(self, single: Backbone, in_leads: int, lead_pooling: LeadPooling = "mean") -> None:
        if lead_pooling not in get_args(LeadPooling):
            raise ValueError(f"lead_pooling={lead_pooling!r}: choose one of {', '.join(get_args(LeadPooling))}")
        super().__init__(in_leads, single.width * (in_leads if lead_pooling == "concat" else 1))
        self.single, self.starting = single, getattr(single, "starting", ())
        self.rows, self.lead_pooling = in_leads, lead_pooling

    @property
    def min_samples(self) -> int:  # type: ignore[override]
        """Shortest signal, in samples, that leaves the network a step to pool."""
        return self.single.min_samples

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to the step features of all leads, lead by lead [B, L * N, D']."""
        self.check(signal)
        features = self.single.forward_features(signal.flatten(0, 1)[:, None])  # [B * L, N, D']
        return features.unflatten(0, (-1, self.in_leads)).flatten(1, 2)

    def pool(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Pool step features [B, L * N, D'], those ``present`` [B, L * N] alone, to [B, D].

        The network pools the steps of every lead; the leads that count are those of which a step is present.
        """
        steps = features.unflatten(1, (self.in_leads, -1)).flatten(0, 1)  # [B * L, N, D']
        there = None
        if present is not None:
            of_leads = present.unflatten(1, (self.in_leads, -1))
            present, there = of_leads.flatten(0, 1), of_leads.any(2)
        leads = self.single.pool(steps, present).unflatten(0, (-1, self.in_leads))  # [B, L, D]
        if self.lead_pooling == "mean":
            return mean_of_present(leads, there)
        return (leads if there is None else leads.masked_fill(~there[..., None], 0)).flatten(1)

    def step_times(self, samples: int, steps: int) -> Tensor:
        """Tell the centres of the steps [L * N]: those of the network, for each lead."""
        return self.single.step_times(samples, steps // self.rows).repeat(self.rows)

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups of the network, for timm's layer-wise learning-rate decay."""
        return groups_inside(self.single.group_matcher(coarse), "single")


def lead_wise(
    in_leads: int = 12, single: str = "clocs", lead_pooling: LeadPooling = "mean", **options: Any
) -> LeadWise:
    """One network of single leads, such as clocs, that sees each lead by itself.

    Args:
        in_leads: leads of the signal.
        single: name of the network of one lead, see ``list_backbones()``.
        lead_pooling: how the features of the leads become one vector, "mean" or "concat".
        options: of that network.
    """
    return LeadWise(create_backbone(single, in_leads=1, **options), in_leads, lead_pooling)


register("lead_wise", lead_wise)
