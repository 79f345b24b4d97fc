"""How usual a record is for a model: a conformal p-value of the Mahalanobis distance of its features.

A record that is unlike all that trained (another animal, a detached electrode, a machine that filters otherwise) gets a
score like any other. Its features lie far from those of the training records (Lee et al., NeurIPS 2018, here of one
class); how far is far is told by the validation records, which the distance was not fitted to:

    p = (1 + number of validation records at least as far) / (1 + number of validation records)

For a record drawn like the validation records, p <= a with probability at most a (Vovk et al. 2005), whatever the
distribution of the features is; other records have no such promise, only a small p where the distance sees them.
"""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn


class Typicality(nn.Module):
    """Features [B, D] in, p-values [B] out.

    Args:
        width: D.
        known: number n of validation records.
    """

    mean: Tensor
    root: Tensor
    distances: Tensor

    def __init__(self, width: int, known: int) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(width))
        self.register_buffer("root", torch.eye(width))
        self.register_buffer("distances", torch.zeros(known))

    @classmethod
    def fit(cls, train: NDArray[np.floating], validation: NDArray[np.floating]) -> Self | None:
        """Fit mean and covariance (shrunk, Ledoit & Wolf 2004) to features [m, D], and take distances of others [n, D].

        None where there is nothing to fit: fewer than two records on either side, or features that are all alike.
        """
        from sklearn.covariance import LedoitWolf

        x = np.asarray(train, dtype=np.float64)
        if len(x) < 2 or len(validation) < 2 or not x.std(axis=0).any():
            return None
        fitted = LedoitWolf(store_precision=True).fit(x)
        made = cls(x.shape[1], len(validation))
        made.mean.copy_(torch.from_numpy(fitted.location_))
        made.root.copy_(torch.from_numpy(np.linalg.cholesky(fitted.precision_)))
        made.distances.copy_(made._distance(torch.from_numpy(np.asarray(validation, dtype=np.float32))).sort().values)
        return made

    def _distance(self, features: Tensor) -> Tensor:
        return ((features.float() - self.mean) @ self.root).square().sum(1)

    def forward(self, features: Tensor) -> Tensor:
        """Return the p-value of each record."""
        known = len(self.distances)
        nearer = torch.searchsorted(self.distances, self._distance(features).contiguous())
        return (1 + known - nearer).float() / (1 + known)
