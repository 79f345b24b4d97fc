"""Linear probe for survival: what a frozen representation tells a linear discrete-time hazard model."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from ssl_ecg.tasks.survival import discrete_survival_nll

GRID = tuple(float(c) for c in np.logspace(-5, 1, 13))
"""Inverse regularisation strengths tried: half decades."""


class HazardProbe:
    """One ridge-penalised logit an interval on standardised features, fitted by maximum likelihood (L-BFGS, float64).

    The weights of interval j are ``u + V_j``: a part that all intervals share and one of its own, so that few events
    teach the order of the records and many how it changes with time. Minimises ``sum_i NLL_i + (|u|^2 + |V|^2 +
    |b - b0|^2) / (2 C)``, where ``b0`` are the logits of the observed hazard of each interval plus one person with the
    mean hazard. So there is one solution, also where an interval has no event, and for small C every record gets the
    survival of the whole group. C is the one with the best validation score, the smaller of equals.

    Args:
        scores: turns logits [n, bins] into scores.
        grid: candidates for C, in any order.

    Attributes:
        coef: [bins, D], weights in the original feature space.
        intercept: [bins].
        C: chosen inverse regularisation strength.
        validation_score: the score of validation at C.
    """

    coef: NDArray[np.float64]
    intercept: NDArray[np.float64]
    C: float
    validation_score: float

    def __init__(self, scores: Callable[[Tensor], Tensor], grid: Sequence[float] = GRID) -> None:
        if not len(grid) or min(grid) <= 0:
            raise ValueError(f"grid={list(grid)}: must hold positive inverse regularisation strengths")
        self._scores, self.grid = scores, sorted(grid)

    def fit(
        self,
        x: NDArray[np.floating],
        survived: Tensor,
        event_bin: Tensor,
        validation_x: NDArray[np.floating],
        judge: Callable[[NDArray[np.float64]], float],
    ) -> HazardProbe:
        """Fit at every C and keep the best on validation.

        Args:
            x: [n, D] features.
            survived: [n, bins], as ``encode_survival`` gives it.
            event_bin: [n, bins].
            validation_x: [m, D].
            judge: the value, higher is better, of the scores of the validation records.

        Raises:
            ValueError: features that are not finite, or no event to learn from.
        """
        if not np.isfinite(x).all() or not np.isfinite(validation_x).all():
            raise ValueError("x and validation_x: features must be finite")
        if not event_bin.any():
            raise ValueError(f"train_y: none of its {len(x)} records has an event within the horizon")
        scaler = StandardScaler().fit(np.asarray(x, np.float64))
        features = torch.from_numpy(scaler.transform(np.asarray(x, np.float64)))
        survived, event_bin = survived.double(), event_bin.double()
        events, exposed = event_bin.sum(0), (survived + event_bin).sum(0)
        mean = events.sum() / exposed.sum()
        base = torch.logit((events + mean) / (exposed + 1), eps=1e-6)
        shared, own = torch.zeros(features.shape[1]).double(), torch.zeros(len(base), features.shape[1]).double()
        bias = base.clone()
        self.validation_score = -np.inf
        for strength in self.grid:  # along the grid each fit starts from the one before
            _minimise(shared, own, bias, base, features, survived, event_bin, strength)
            coef = (shared + own).numpy() / scaler.scale_
            intercept = bias.numpy() - coef @ scaler.mean_
            score = judge(self._scored(coef, intercept, validation_x))
            if score > self.validation_score:
                self.C, self.validation_score, self.coef, self.intercept = strength, score, coef, intercept
        return self

    def scores(self, x: NDArray[np.floating]) -> NDArray[np.float64]:
        """Return the scores [n, bins] of features [n, D]."""
        return self._scored(self.coef, self.intercept, x)

    def _scored(
        self, coef: NDArray[np.float64], intercept: NDArray[np.float64], x: NDArray[np.floating]
    ) -> NDArray[np.float64]:
        return self._scores(torch.from_numpy(np.asarray(x, np.float64) @ coef.T + intercept)).numpy()


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
