"""Networks of one's own that know nothing of this package: any module from a signal to features is a backbone.

    encoder = Encoder(MyNetwork(), {}, signal)      # MyNetwork: [B, L, T] -> [B, D]

One that also has ``forward_features``, signal [B, L, T] to steps [B, N, D], keeps its steps, whose mean is the feature
vector: so it has heat maps, and short recordings leave steps out. To choose more, derive from ``Backbone``.
"""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import torch
from torch import Tensor, nn

from ssl_ecg.backbones.base import Backbone, groups_in_order


class ForeignBackbone(Backbone):
    """A module that is no ``Backbone``, as one.

    Args:
        network: the module.
        in_leads: leads L of the signal.
        samples: length T of the signal.

    Raises:
        ValueError: a module that does not map signals [B, L, T] to features.
    """

    def __init__(self, network: nn.Module, in_leads: int, samples: int) -> None:
        has_steps = callable(getattr(network, "forward_features", None))
        super().__init__(in_leads, _width(network, has_steps, in_leads, samples))
        self.network, self.has_steps = network, has_steps

    def forward_features(self, signal: Tensor, leads: Tensor | None = None) -> Tensor:
        """Map signal [B, L, T] to the network's steps [B, N, D]; its feature vector is a single step."""
        self.check(signal)
        return _features(self.network, self.has_steps, signal)

    def step_times(self, samples: int, steps: int) -> Tensor:
        """Spread the steps evenly; a feature vector lies nowhere in time."""
        if steps == 1 and not self.has_steps:
            return torch.full((1,), torch.nan)
        return super().step_times(samples, steps)

    def group_matcher(self, coarse: bool = False) -> dict[str, object]:
        """Name the layer groups of the network in the order in which its modules were made."""
        return groups_in_order(self.network, "network.")


def as_backbone(network: nn.Module, in_leads: int, samples: int) -> Backbone:
    """Return a copy of a network as a backbone for signals [B, in_leads, samples]; the given one stays as it is.

    Raises:
        ValueError: a network for another number of leads, or that does not map signals to features.
    """
    network = copy.deepcopy(network)
    if not isinstance(network, Backbone):
        return ForeignBackbone(network, in_leads, samples)
    if network.in_leads != in_leads:
        raise ValueError(
            f"backbone={class_path(network)}: takes {network.in_leads} leads, and the signals have {in_leads}; make "
            f"one with in_leads={in_leads}"
        )
    return network


def class_path(network: nn.Module) -> str:
    """Return the class of a network, or of the one that is a backbone in an adapter, as "package.module:Class"."""
    kind = type(network.network if isinstance(network, ForeignBackbone) else network)
    return f"{kind.__module__}:{kind.__qualname__}"


def describe(network: object) -> dict[str, Any] | None:
    """Return the class of a network of one's own, and a hash of the shapes of its parameters; None of anything else."""
    if not isinstance(network, nn.Module):
        return None
    shapes = repr([(name, tuple(parameter.shape)) for name, parameter in network.named_parameters()])
    return {"name": class_path(network), "shapes": hashlib.sha256(shapes.encode()).hexdigest()[:16]}


def reset(network: nn.Module) -> nn.Module:
    """Return a copy of a network with new random weights, drawn by the ``reset_parameters`` of its modules.

    Raises:
        ValueError: a parameter that no module can reset.
    """
    network = copy.deepcopy(network)
    for name, module in network.named_modules():
        own = [key for key, _ in module.named_parameters(recurse=False)]
        if callable(reset_parameters := getattr(module, "reset_parameters", None)):
            reset_parameters()
        elif own and not isinstance(module, nn.MultiheadAttention):
            where = ".".join(part for part in (name, own[0]) if part)
            raise ValueError(
                f"backbone={class_path(network)}: cannot be started again from random weights, since nothing resets "
                f"{where}; give {type(module).__name__} a method reset_parameters()"
            )
        elif own:
            module._reset_parameters()
    return network


def _features(network: nn.Module, has_steps: bool, signal: Tensor) -> Tensor:
    return network.forward_features(signal) if has_steps else network(signal)[:, None]  # type: ignore[operator]


@torch.no_grad()
def _width(network: nn.Module, has_steps: bool, in_leads: int, samples: int) -> int:
    """Find the size D of the features by a dry run on zeros, in eval mode, so that no statistics change."""
    modes = {module: module.training for module in network.modules()}
    network.eval()
    signal, name = torch.zeros(2, in_leads, samples), type(network).__name__
    expected = f"{name}.forward_features must map" if has_steps else f"{name} must map"
    expected += f" [batch, {in_leads} leads, {samples} samples] to [batch, {'steps, ' if has_steps else ''}features]"
    first = next(network.parameters(), signal)
    try:
        features = _features(network, has_steps, signal.to(first))
    except Exception as error:  # somebody else's network: whatever it raises, say what is needed
        raise ValueError(f"backbone={class_path(network)}: {expected}, and raises {error!r}") from error
    finally:
        for module, mode in modes.items():
            module.training = mode
    if not isinstance(features, Tensor) or features.ndim != 3 or len(features) != 2:
        found = tuple(features.shape) if isinstance(features, Tensor) else type(features).__name__
        raise ValueError(f"backbone={class_path(network)}: {expected}, and of two gives {found}")
    return features.shape[2]
