"""Linear probe of labels: what a frozen representation tells a logistic regression."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit, logit

from ssl_ecg.evaluation import undefined_classes
from ssl_ecg.tasks.probe import GRID, Probe

if TYPE_CHECKING:
    from ssl_ecg.tasks.task import Task

Array = NDArray[np.float64]
Vector = np.ndarray[tuple[int], np.dtype[np.float64]]


class LinearProbe(Probe):
    """One L2-regularised logistic regression per label (L-BFGS), all of one strength.

    Features are standardised by all training records; each label is fitted on the records where it is known. A label
    without a positive or without a negative in training cannot be fitted: it has the base rate (k + 1/2) / (n + 1), and
    no say in the choice of the strength; it is listed in ``undetermined`` where the prior does not tell it either.

    Args:
        task: with classes of labels.
        grid: inverse regularisation strengths to try.
        prior: a probe of the same features to whose weights regularisation pulls, instead of to 0: the mean of a
            Gaussian prior, of which the strength is the variance. How sure it is says nothing of other records: its
            logits have a standard deviation of 1 over those of training. The weaker the labels are heard, the more of
            it is left, and nothing but it for a label that they do not determine.

    Attributes:
        undetermined: names of the labels that neither training nor the prior determines.
    """

    undetermined: list[str]

    def __init__(self, task: Task, grid: Sequence[float] = GRID, prior: Probe | None = None) -> None:
        super().__init__(task, grid)
        self.prior = prior

    def usable(self, train: NDArray[Any], validation: NDArray[Any]) -> tuple[NDArray[np.bool_], NDArray[Any]]:
        """Return all records, and the validation labels with those blanked that training does not determine.

        Raises:
            ValueError: no label that training determines has both a positive and a negative in validation.
        """
        unknown = undefined_classes(train)
        said = np.zeros_like(unknown) if self.prior is None else self.prior.coef.any(axis=1)
        self.undetermined = [self.task.classes[c] for c in np.flatnonzero(unknown & ~said)]
        if (unknown | undefined_classes(validation)).all():
            raise ValueError(
                "no label has a positive and a negative in both training and validation, so C cannot be chosen; "
                f"undetermined in training: {', '.join(np.asarray(self.task.classes)[unknown]) or 'none'}"
            )
        return np.ones(len(train), dtype=bool), np.where(unknown, np.nan, validation)

    def path(self, x: Array, targets: NDArray[Any]) -> Iterator[tuple[float, Array, Array]]:
        """Yield the fits; each starts from the one before (warm start), which is close to it."""
        y = np.asarray(targets, dtype=np.float64)
        unknown = undefined_classes(y)
        known, positive = (~np.isnan(y)).sum(axis=0), np.nansum(y, axis=0)
        pulled, offset = np.zeros((y.shape[1], x.shape[1])), np.zeros(y.shape)
        if self.prior is not None:
            pulled = self.prior.coef * self.scale * x.any(axis=0)  # not of a feature that training does not see vary
            spread = (x @ pulled.T).std(axis=0)
            pulled /= np.where(spread > 0, spread, 1)[:, None]
            offset = x @ pulled.T
        weight, bias = pulled.copy(), np.where(unknown, logit((positive + 0.5) / (known + 1)), 0.0)
        fitted = {c: np.zeros(x.shape[1] + 1) for c in np.flatnonzero(~unknown)}
        for strength in self.grid:
            for c in fitted:
                rows = ~np.isnan(y[:, c])
                fitted[c] = _logistic(x[rows], y[rows, c], offset[rows, c], strength, fitted[c])
                weight[c], bias[c] = pulled[c] + fitted[c][:-1], fitted[c][-1]
            yield strength, weight.copy(), bias.copy()


def _logistic(x: Array, y: Array, offset: Array, strength: float, start: Vector) -> Vector:
    """Return the weights and, last, the bias [D + 1] of a logistic regression with an offset.

    Minimises ``sum_i log(1 + exp(-s_i m_i)) + |w|^2 / (2 C)`` with ``m = x w + b + offset`` and signs ``s``.

    Args:
        x: [n, D].
        y: [n], 1 or 0.
        offset: [n], added to the logits.
        strength: C.
        start: [D + 1].
    """
    sign = 2 * y - 1

    def objective(parameters: Vector) -> tuple[float, Vector]:
        weight, bias = parameters[:-1], parameters[-1]
        margin = sign * (x @ weight + bias + offset)
        slope = -sign * expit(-margin)
        value = np.logaddexp(0, -margin).sum() + weight @ weight / (2 * strength)
        return value / len(y), np.append(slope @ x + weight / strength, slope.sum()) / len(y)

    options: Any = {"maxiter": 5000, "maxfun": 20000, "gtol": 1e-6, "ftol": 64 * np.finfo(float).eps}
    return minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x
