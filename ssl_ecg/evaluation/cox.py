"""Cox regression: what several numbers say together of the time to an event."""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

Z = 1.959964  # of a standard normal distribution, 95 % lies within


class CoxFit(NamedTuple):
    """What Cox regression finds of P covariates.

    Attributes:
        coefficient: [P]: a difference of 1 in covariate p multiplies the hazard by exp(b_p); 0 for a covariate that is
            the same for all.
        standard_error: [P], of the coefficients, from the curvature of the partial likelihood; NaN where that does not
            determine them, as for a covariate that is the same for all.
    """

    coefficient: NDArray[np.float64]
    standard_error: NDArray[np.float64]

    @property
    def p_value(self) -> NDArray[np.float64]:
        """Of Wald's test that the coefficient is 0, [P]."""
        from scipy.stats import norm

        return 2 * norm.sf(np.abs(self.coefficient / self.standard_error))

    def hazard_ratio(self, difference: ArrayLike = 1.0) -> NDArray[np.float64]:
        """Return the hazard ratio of such a difference of each covariate, and the ends of its 95 % interval, [3, P]."""
        half = Z * self.standard_error
        ends = np.stack([self.coefficient, self.coefficient - half, self.coefficient + half])
        return np.exp(ends * np.asarray(difference))


def cox_regression(covariates: ArrayLike, time: ArrayLike, event: ArrayLike) -> CoxFit:
    """Coefficients of proportional hazards, h(t) = h0(t) exp(x b), without penalty (Cox, JRSS B 1972), with errors.

    Maximises the partial likelihood of ``torchsurv``, ties as Efron (JASA 1977) treats them. Where some covariate tells
    all events from the rest there is no maximum, and the coefficient is merely large.

    Args:
        covariates: [n, P].
        time: [n], days to the event or to the end of follow-up.
        event: [n], 1 event, 0 censored.

    Returns:
        Coefficients and standard errors.

    Raises:
        ValueError: sizes differ, a value is not known, or there is no event.
    """
    from torchsurv.loss.cox import neg_partial_log_likelihood

    x, days, happened = (np.asarray(values, dtype=np.float64) for values in (covariates, time, event))
    if x.ndim != 2 or days.shape != happened.shape or days.shape != x.shape[:1]:
        raise ValueError(f"covariates {x.shape}, time {days.shape}, event {happened.shape}: must be [n, P], [n], [n]")
    if not (np.isfinite(x).all() and np.isfinite(days).all() and np.isin(happened, (0, 1)).all()):
        raise ValueError("covariates and time must be finite and event 0 or 1: leave out records that lack one")
    if not happened.any():
        raise ValueError(f"event: none of {len(days)} records has one, so there is nothing to regress on")
    spread = np.where(np.ptp(x, axis=0) > 0, x.std(axis=0), np.inf)
    standardised = torch.from_numpy((x - x.mean(axis=0)) / spread)
    followed, occurred = torch.tensor(days), torch.from_numpy(happened == 1)
    coefficient = torch.zeros(x.shape[1], dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.LBFGS(
        [coefficient], max_iter=200, tolerance_grad=1e-8, tolerance_change=1e-12, line_search_fn="strong_wolfe"
    )

    def likelihood(b: torch.Tensor, reduction: str = "sum") -> torch.Tensor:
        return neg_partial_log_likelihood(standardised @ b, occurred, followed, "efron", reduction)

    def objective() -> torch.Tensor:
        optimizer.zero_grad()
        value = likelihood(coefficient, "mean")
        value.backward()
        return value

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Ties in `time`")  # days are whole, so ties are the rule
        optimizer.step(objective)
        found = coefficient.detach()
        curvature = torch.autograd.functional.hessian(likelihood, found).numpy()
    variance = np.full(len(spread), np.nan)
    varies = np.isfinite(spread)
    inner = curvature[np.ix_(varies, varies)]
    if len(inner) and np.linalg.matrix_rank(inner) == len(inner):
        variance[varies] = np.diag(np.linalg.inv(inner))
    return CoxFit(found.numpy() / spread, np.sqrt(np.where(variance > 0, variance, np.nan)) / spread)
