"""What every network is: signal in, features of steps out, and the pooling that makes one feature vector of them."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ecg.signals import SignalSettings

LEAST_VARIANCE = 1e-8  # of steps that differ; the root of less has too steep a gradient


class Backbone(nn.Module):
    """A network over signals [B, L, T]; a subclass needs ``forward_features`` alone.

    Args:
        in_leads: leads L of the signal.
        width: size D of the pooled feature vector.

    Attributes:
        width: size D of the pooled feature vector.
        in_leads: leads L.
        leads: their names, None until an ``Encoder`` says which signal this is for.
        signal: that signal.
        min_samples: shortest signal, in samples, that leaves a step to pool.
        rows: 1 where a step is of all leads; L where every lead has steps of its own, which then come lead after lead.

    Example:
        >>> class Filters(Backbone):
        ...     def __init__(self, in_leads: int = 12, width: int = 8) -> None:
        ...         super().__init__(in_leads, width)
        ...         self.filters = nn.Conv1d(in_leads, width, kernel_size=50, stride=25)
        ...
        ...     def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        ...         return self.filters(signal).transpose(1, 2)
        >>> Filters()(torch.zeros(2, 12, 1000)).shape
        torch.Size([2, 8])
    """

    min_samples = 1
    rows = 1
    leads: tuple[str, ...] | None = None
    signal: SignalSettings | None = None

    def __init__(self, in_leads: int, width: int) -> None:
        super().__init__()
        if in_leads < 1:
            raise ValueError(f"in_leads={in_leads}: a signal has at least one lead")
        if width < 1:
            raise ValueError(f"width: leaves {width} features; choose at least 1")
        self.in_leads = in_leads
        self.width = width

    def suit(self, sampling_rate: float) -> None:
        """Suit the network to signals of a rate in Hz; an ``Encoder`` says which. By default nothing depends on it."""

    def check(self, signal: Tensor) -> None:
        """Refuse a signal of another shape than [B, in_leads, at least min_samples]."""
        if signal.ndim != 3 or signal.shape[1] != self.in_leads:
            raise ValueError(f"signal {tuple(signal.shape)}: expected [batch, {self.in_leads} leads, samples]")
        if signal.shape[2] < self.min_samples:
            raise ValueError(f"signal {tuple(signal.shape)}: give at least {self.min_samples} samples")

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal to the features of its steps.

        Args:
            signal: [B, L, T].
            leads: bool [B, L], leads of each record that were recorded, for networks that can leave leads out; None:
                all.

        Returns:
            [B, N, D'].
        """
        raise NotImplementedError

    def pool(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Pool the features of steps to their mean.

        Args:
            features: [B, N, D'].
            present: bool [B, N], steps that count; None: all. A record without any has features of 0.

        Returns:
            [B, D].
        """
        return mean_of_present(features, present)

    def step_times(self, samples: int, steps: int) -> Tensor:
        """Tell where the steps lie in a signal: by default evenly spread.

        Args:
            samples: length T of the signal.
            steps: how many N there are, of ``forward_features`` or of a layer before it.

        Returns:
            The centre of each step in samples, float32 [N]; NaN for one that lies nowhere in time, which always counts.
        """
        count = steps // self.rows
        return ((torch.arange(count) + 0.5) * samples / count - 0.5).repeat(self.rows)

    def lead_shares(self, samples: int, steps: int) -> Tensor:
        """Return how the rows in which the steps lie, one row after the other, make a map of each lead.

        Args:
            samples: as in ``step_times``.
            steps: as in ``step_times``.

        Returns:
            float32 [1 or L, R], a weight of each row: one map for all leads, or a row for each lead, unless a network
            sees leads otherwise, such as parts of them.
        """
        return torch.eye(self.rows)

    def present(
        self, samples: int, steps: int, recorded: Tensor | None = None, leads: Tensor | None = None
    ) -> Tensor | None:
        """Tell which steps are of what was recorded.

        Args:
            samples: length T of the signal.
            steps: how many N there are.
            recorded: int64 [B], samples of each record that were recorded, from the first on; None: all T.
            leads: bool [B, L], leads of each record that were recorded; None: all.

        Returns:
            bool [B, N]: steps whose centre was recorded, and the earliest in any case, in leads that were recorded
            where steps are of one lead; None where all are.
        """
        present = None
        if recorded is not None:
            times = self.step_times(samples, steps).nan_to_num(-1.0).to(recorded.device)
            present = (times < recorded[:, None]) | (times == times.min())
        if leads is not None and self.rows > 1:
            of_lead = leads.repeat_interleave(steps // self.rows, dim=1)
            present = of_lead if present is None else present & of_lead
        return present

    def forward_steps(
        self, signal: Tensor, recorded: Tensor | None = None, leads: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Map signal to the features of its steps, and tell which of them count.

        Args:
            signal: [B, L, T].
            recorded: as in ``present``.
            leads: as in ``present``.

        Returns:
            [B, N, D'], and bool [B, N] or None, as ``pool`` takes them.
        """
        features = self.forward_features(signal, leads)
        return features, self.present(signal.shape[2], features.shape[1], recorded, leads)

    def forward(self, signal: Tensor, recorded: Tensor | None = None, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to one feature vector per record [B, D].

        Args:
            signal: [B, L, T].
            recorded: int64 [B], samples of each record that were recorded; steps beyond them do not count. None: all T.
            leads: bool [B, L], leads of each record that were recorded; None: all.
        """
        return self.pool(*self.forward_steps(signal, recorded, leads))

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups from input to output, for timm's layer-wise learning-rate decay.

        By default in the order in which the modules were made: parameters of the network itself, then each child, a
        list or sequence of blocks block by block.
        """
        return groups_in_order(self)


class StepBackbone(Backbone):
    """A convolutional network whose feature vector is the mean, maximum or standard deviation of its steps, or several.

    What repeats evenly and what does not can have one mean; their deviations over time differ.

    Args:
        in_leads: leads L of the signal.
        step_width: features D' of a step.
        pooling: how steps become one feature vector: "mean", "max", or, concatenated, "mean_max" (twice the width) or
            "mean_max_std" (three times).
    """

    def __init__(self, in_leads: int, step_width: int, pooling: str) -> None:
        if pooling not in POOLINGS:
            raise ValueError(f"pooling={pooling!r}: choose one of {', '.join(POOLINGS)}")
        super().__init__(in_leads, step_width * len(POOLINGS[pooling]))
        self.pooling = pooling

    def pool(self, features: Tensor, present: Tensor | None = None) -> Tensor:
        """Pool step features [B, N, D'], those ``present`` [B, N] alone, to [B, D]."""
        return torch.cat([pooled(features, present) for pooled in POOLINGS[self.pooling]], dim=1)

    def step_times(self, samples: int, steps: int) -> Tensor:
        """Tell the centres of the steps [N]: a convolution with centred padding puts step n at sample n x stride."""
        return torch.arange(steps) * float(math.ceil(samples / steps))


def mean_of_present(features: Tensor, present: Tensor | None) -> Tensor:
    """Return the mean of features [B, N, D] over those ``present``, bool [B, N]; None: over all. 0 where none is."""
    if present is None:
        return features.mean(1)
    # Not a product: what is not present may be anything, even infinite.
    counted = features.masked_fill(~present[..., None], 0)
    return counted.sum(1) / present.sum(1, keepdim=True).clamp(min=1)


def max_of_present(features: Tensor, present: Tensor | None) -> Tensor:
    """Return the maximum of features [B, N, D] over those ``present``, as ``mean_of_present`` the mean."""
    if present is None:
        return features.amax(1)
    highest = features.masked_fill(~present[..., None], -torch.inf).amax(1)
    return highest.masked_fill(~present.any(1, keepdim=True), 0)


def deviation_of_present(features: Tensor, present: Tensor | None) -> Tensor:
    """Return the standard deviation of features [B, N, D] over those ``present``, as ``mean_of_present`` the mean.

    Divided by the number of steps; 0, with a gradient of 0, where they are all alike.
    """
    with torch.autocast(features.device.type, enabled=False):
        values = features.float()
        variance = mean_of_present((values - mean_of_present(values, present)[:, None]).square(), present)
        deviation = variance.clamp(min=LEAST_VARIANCE).sqrt() * (variance > LEAST_VARIANCE)
    return deviation.to(features.dtype)


POOLINGS: dict[str, tuple[Callable[[Tensor, Tensor | None], Tensor], ...]] = {
    "mean": (mean_of_present,),
    "max": (max_of_present,),
    "mean_max": (mean_of_present, max_of_present),
    "mean_max_std": (mean_of_present, max_of_present, deviation_of_present),
}


def interpolate(values: Tensor, times: Tensor, samples: int) -> Tensor:
    """Interpolate values [..., N] at rising ``times`` [N] to the samples 0, 1, ... [..., samples]; constant beyond."""
    place = torch.arange(samples, dtype=times.dtype)
    after = torch.searchsorted(times, place).clamp(max=len(times) - 1)
    before = (after - 1).clamp(min=0)
    share = ((place - times[before]) / (times[after] - times[before]).clamp(min=1e-6)).clamp(0, 1)
    before, after, share = (part.to(values.device) for part in (before, after, share))
    return torch.lerp(values[..., before], values[..., after], share.to(values.dtype))


def groups_in_order(network: nn.Module, prefix: str = "") -> dict[str, object]:
    """Return the groups of ``Backbone.group_matcher`` in the order in which a network's modules were made.

    Args:
        network: whose parameters are grouped.
        prefix: what their names begin with, such as "network.".
    """
    start = "^" + re.escape(prefix)
    own = "|".join(re.escape(name) for name, _ in network.named_parameters(recurse=False))
    groups: dict[str, object] = {"own": f"{start}(?:{own})$"} if own else {}
    for name, child in network.named_children():
        if any(True for _ in child.parameters()):
            blocks = r"\.(\d+)\." if type(child) in (nn.Sequential, nn.ModuleList) else r"\."
            groups[name] = start + re.escape(name) + blocks
    return groups


def groups_inside(groups: Mapping[str, Any], name: str) -> dict[str, object]:
    """Return the groups of a network's ``group_matcher`` as those of one that holds it as its module ``name``."""

    def inside(pattern: Any) -> Any:
        if isinstance(pattern, str):
            return re.sub(r"(?<!\[)\^", rf"^{name}\\.", pattern)  # anchors, not the ^ of [^...]
        return [(inside(each), order) for each, order in pattern]

    return {group: inside(pattern) for group, pattern in groups.items()}


def check_kernel(kernel: int) -> None:
    """Refuse a kernel of an even number of samples, which cannot be centred."""
    if kernel < 1 or kernel % 2 == 0:
        raise ValueError(f"kernel={kernel}: choose an odd number of samples")
