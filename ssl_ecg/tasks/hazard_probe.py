"""Linear probe for survival: what a frozen representation tells a linear discrete-time hazard model."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ecg.tasks.probe import Probe
from ssl_ecg.tasks.survival import discrete_survival_nll

if TYPE_CHECKING:
    from ssl_ecg.tasks.survival_task import Survival


class HazardProbe(Probe):
    """One ridge-penalised logit per interval, fitted by maximum likelihood (L-BFGS, float64).

    The weights of interval j are ``u + V_j``: a part that all intervals share and one of its own, so that few events
    teach the order of the records and many how it changes with time. Minimises ``sum_i NLL_i + (|u|^2 + |V|^2 +
    |b - b0|^2) / (2 C)``, where ``b0`` are the logits of the observed hazard of each interval plus one person with the
    mean hazard. So there is one solution, also where an interval has no event, and for small C every record gets the
    survival of the whole group.
    """

    task: Survival

    def usable(self, train: NDArray[Any], validation: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """Return the records whose follow-up says something of an interval."""
        return self.task.followed(train), validation

    def path(self, x: NDArray[np.float64], targets: NDArray[Any]) -> Iterator[tuple[float, NDArray, NDArray]]:
        """Yield the fits, each started from the one before.

        Raises:
            ValueError: no event to learn from.
        """
        survived, event_bin = (part.double() for part in self.task.encode(torch.from_numpy(targets)))
        if not event_bin.any():
            raise ValueError(f"train_targets: none of its {len(x)} records has an event within the horizon")
        features = torch.from_numpy(x)
        events, exposed = event_bin.sum(0), (survived + event_bin).sum(0)
        mean = events.sum() / exposed.sum()
        base = torch.logit((events + mean) / (exposed + 1), eps=1e-6)
        shared, own = torch.zeros(features.shape[1]).double(), torch.zeros(len(base), features.shape[1]).double()
        bias = base.clone()
        for strength in self.grid:
            _minimise(shared, own, bias, base, features, survived, event_bin, strength)
            yield strength, (shared + own).numpy(), bias.numpy()


def _minimise(
    shared: Tensor,
    own: Tensor,
    bias: Tensor,
    base: Tensor,
    features: Tensor,
    survived: Tensor,
    event_bin: Tensor,
    strength: float,
) -> None:
    """Move ``shared`` [D], ``own`` [bins, D] and ``bias`` [bins] to the minimum for one C, in place."""
    parameters = [shared.requires_grad_(), own.requires_grad_(), bias.requires_grad_()]
    optimizer = torch.optim.LBFGS(
        parameters, max_iter=500, tolerance_grad=1e-6, tolerance_change=1e-10, line_search_fn="strong_wolfe"
    )

    def objective() -> Tensor:
        optimizer.zero_grad()
        likelihood = discrete_survival_nll(features @ (shared + own).T + bias, survived, event_bin, "sum")
        penalty = ((shared**2).sum() + (own**2).sum() + ((bias - base) ** 2).sum()) / (2 * strength)
        value = (likelihood + penalty) / len(features)
        value.backward()
        return value

    optimizer.step(objective)
    for parameter in parameters:
        parameter.requires_grad_(False)
