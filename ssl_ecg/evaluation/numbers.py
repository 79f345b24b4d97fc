"""How near predicted numbers, such as ages, are to true ones."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray


def absolute_error(truth: ArrayLike, predicted: ArrayLike, weights: ArrayLike) -> NDArray[np.float64]:
    """Mean absolute error under each of R weightings of the records.

    Args:
        truth: [n].
        predicted: [n], in the unit of the truth.
        weights: [n, R], not negative.

    Returns:
        [R], in the same unit; NaN where nothing has a weight.
    """
    true, said, weight = (np.asarray(values, dtype=np.float64) for values in (truth, predicted, weights))
    return _mean(np.abs(said - true), weight)


def correlation(truth: ArrayLike, predicted: ArrayLike, weights: ArrayLike) -> NDArray[np.float64]:
    """Pearson's correlation under each of R weightings of the records.

    Args:
        truth: [n].
        predicted: [n].
        weights: [n, R], not negative.

    Returns:
        [R]; NaN where either has no variance.
    """
    true, said, weight = (np.asarray(values, dtype=np.float64) for values in (truth, predicted, weights))
    # Moments around the mean of all, which keeps their digits.
    x, y = true - true.mean(), said - said.mean()
    mean_x, mean_y = _mean(x, weight), _mean(y, weight)
    together = _mean(x * y, weight) - mean_x * mean_y
    variance = (_mean(x**2, weight) - mean_x**2) * (_mean(y**2, weight) - mean_y**2)
    return np.divide(together, np.sqrt(variance.clip(0)), out=np.full_like(together, np.nan), where=variance > 1e-20)


def _mean(values: NDArray[np.float64], weight: NDArray[np.float64]) -> NDArray[np.float64]:
    total = weight.sum(axis=0)
    return np.divide(values @ weight, total, out=np.full_like(total, np.nan), where=total > 0)
