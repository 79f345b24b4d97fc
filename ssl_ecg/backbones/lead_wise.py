"""One network for every lead: leads as instances, as in CLOCS (Kiyasseh, Zhu, Clifton, ICML 2021).

A one-lead network sees the leads of a signal one by one, with shared weights; its features are averaged over the leads.
So single-lead pretraining, which reaches the network itself as ``.single``, gives an encoder of the whole signal.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ssl_ecg.backbones.base import Backbone, groups_inside, mean_of_present
from ssl_ecg.backbones.registry import create_backbone, register


class LeadWise(Backbone):
    """A one-lead network applied to each lead, and the mean of its features over the leads that are there.

    Args:
        single: the network; its ``in_leads`` is 1.
        in_leads: leads L of the signal.

    Attributes:
        single: the network.
        width: size D of its features and of their mean.
        in_leads: leads L.
    """

    def __init__(self, single: Backbone, in_leads: int) -> None:
        super().__init__(in_leads, single.width)
        self.single, self.starting = single, getattr(single, "starting", ())
        self.rows, self.min_samples = in_leads, single.min_samples

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to the step features of all leads, lead by lead [B, L * N, D']."""
        self.check(signal)
        features = self.single.forward_features(signal.flatten(0, 1)[:, None])  # [B * L, N, D']
        return features.unflatten(0, (-1, self.in_leads)).flatten(1, 2)

    def pool(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Pool step features [B, L * N, D'], those ``present`` [B, L * N] alone, to [B, D].

        The network pools the steps of every lead; the result is the mean over the leads of which a step is present.
        """
        steps = features.unflatten(1, (self.in_leads, -1)).flatten(0, 1)  # [B * L, N, D']
        if present is None:
            return self.single.pool(steps).unflatten(0, (-1, self.in_leads)).mean(1)
        present = present.unflatten(1, (self.in_leads, -1))
        leads = self.single.pool(steps, present.flatten(0, 1)).unflatten(0, (-1, self.in_leads))  # [B, L, D]
        return mean_of_present(leads, present.any(2))

    def step_times(self, samples: int, steps: int) -> Tensor:
        """Tell the centres of the steps [L * N]: those of the network, for each lead."""
        return self.single.step_times(samples, steps // self.rows).repeat(self.rows)

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups of the network, for timm's layer-wise learning-rate decay."""
        return groups_inside(self.single.group_matcher(coarse), "single")


def lead_wise(in_leads: int = 12, single: str = "clocs", **options: Any) -> LeadWise:
    """One network of single leads, such as clocs, that sees each lead by itself.

    Args:
        in_leads: leads of the signal.
        single: name of the network of one lead, see ``list_backbones()``.
        options: of that network.
    """
    return LeadWise(create_backbone(single, in_leads=1, **options), in_leads)


register("lead_wise", lead_wise)
