"""Features in two dimensions: where records lie, and which outcomes lie together."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

COLOURED = 5
NONE = "none of these"


def plane(features: ArrayLike, outcome: ArrayLike, outcomes: Sequence[str]) -> pd.DataFrame:
    """Project features, each of unit variance, onto their first two principal components.

    The plane that keeps most of the variance; what is apart in it is apart, what lies together need not be.

    Args:
        features: [n, D].
        outcome: [n, K], 1, 0 or NaN (unknown).
        outcomes: names of the K outcomes.

    Returns:
        ``first`` and ``second``, the share of the variance in each (``first_share``, ``second_share``) and ``outcome``:
        of the five most frequent outcomes the rarest that a record has, or "none of these". No row of fewer than three
        records.
    """
    from sklearn.decomposition import PCA
    from sklearn.preprocessing import StandardScaler

    x, known = np.asarray(features, dtype=np.float64), np.nan_to_num(np.asarray(outcome, dtype=np.float64))
    columns = ["first", "second", "first_share", "second_share", "outcome"]
    if len(x) < 3 or x.shape[1] < 2:
        return pd.DataFrame(columns=columns)
    model = PCA(2, random_state=0)
    found = model.fit_transform(StandardScaler().fit_transform(x))
    frequency = known.sum(axis=0)
    common = np.argsort(-frequency, kind="stable")[:COLOURED]
    common = common[frequency[common] > 0][::-1]  # the rarest first
    has = known[:, common] == 1
    names = np.array([*(outcomes[c] for c in common), NONE], dtype=object)
    named = names[np.where(has.any(axis=1), has.argmax(axis=1) if len(common) else 0, len(common))]
    shares = np.tile(model.explained_variance_ratio_, (len(x), 1))
    return pd.DataFrame(dict(zip(columns, (*found.T, *shares.T, named))))
