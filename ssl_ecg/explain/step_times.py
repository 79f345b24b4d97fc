"""Maps over the steps of a network as maps over samples, by linear interpolation between the middles of the steps."""

from __future__ import annotations

from torch import Tensor

from ssl_ecg.backbones import Backbone
from ssl_ecg.backbones.base import interpolate


def steps_to_samples(backbone: Backbone, values: Tensor, samples: int) -> Tensor:
    """Interpolate values of steps to values of samples.

    Args:
        backbone: the network whose steps they are; it says where they lie.
        values: [B, N], a number for each step of the network's ``forward_features``, or of a layer before it.
        samples: length T of the signal.

    Returns:
        [B, L, T] where steps are of one lead, else [B, 1, T].

    Raises:
        ValueError: steps that lie nowhere in time.
    """
    shares = backbone.lead_shares(samples, values.shape[1]).to(values)  # [1 or L, R]
    values = values.unflatten(1, (shares.shape[1], -1))
    times = backbone.step_times(samples, values.shape[1] * values.shape[2])[: values.shape[2]]
    timed = times.isfinite()
    if not timed.any():
        raise ValueError(
            f"backbone={type(backbone).__name__}: gives one feature vector and no steps in time; "
            "name a layer that has some, or give the network a forward_features"
        )
    return shares @ interpolate(values[..., timed], times[timed], samples)
