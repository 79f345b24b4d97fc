"""Cox regression: what several numbers say together of the time to an event."""

from __future__ import annotations

import warnings

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray


def cox_regression(covariates: ArrayLike, time: ArrayLike, event: ArrayLike) -> NDArray[np.float64]:
    """Coefficients of proportional hazards, h(t) = h0(t) exp(x b), without a penalty (Cox, JRSS B 1972).

    Maximises the partial likelihood of ``torchsurv``, ties as Efron (JASA 1977) treats them. Where some covariate tells
    all events from the rest there is no maximum, and the coefficient is merely large.

    Args:
        covariates: [n, P].
        time: [n], days to the event or to the end of follow-up.
        event: [n], 1 event, 0 censored.

    Returns:
        [P]: a difference of 1 in covariate p multiplies the hazard by exp(b_p); 0 for a covariate that is the same for
        all.

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

    def objective() -> torch.Tensor:
        optimizer.zero_grad()
        value = neg_partial_log_likelihood(standardised @ coefficient, occurred, followed, ties_method="efron")
        value.backward()
        return value

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Ties in `time`")  # days are whole, so ties are the rule
        optimizer.step(objective)
    return coefficient.detach().numpy() / spread
