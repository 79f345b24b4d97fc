"""Sources that label different sets of classes: what one of them never labels is unknown there, and not absent.

Joined label tables say 0 where a source has no such statement at all. A network would learn that as a negative, and
with it to tell the sources apart. Zhu et al. (Computing in Cardiology 2020) relabel across sources: by the model of
another source, which names what it is sure of.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike, NDArray


def never_labelled(targets: ArrayLike, source: Sequence[object]) -> NDArray[np.bool_]:
    """Return which labels are of a class that the record's source never gives: bool [n, C].

    Args:
        targets: [n, C], 1, 0 or NaN.
        source: [n], of each record; a missing one is a source of its own.

    Returns:
        True for every record of a source without a single 1 of the class, whatever its label.
    """
    of = pd.Series(list(source)).fillna("").astype(str)
    given = (pd.DataFrame(np.asarray(targets)) == 1).groupby(of.to_numpy()).transform("any")
    return ~given.to_numpy()


def cross_label(
    targets: ArrayLike, unknown: ArrayLike, scores: ArrayLike | None = None, above: float = 0.9, below: float = 0.1
) -> NDArray[np.float32]:
    """Return targets that are blank where unknown, or filled in where a model is sure.

    Args:
        targets: [n, C], 1, 0 or NaN.
        unknown: bool [n, C], as ``never_labelled`` returns them.
        scores: [n, C], probabilities of another source's model, NaN where it has no such class; None: nothing is
            filled in.
        above: score from which a label is 1.
        below: score up to which it is 0.

    Returns:
        float32 [n, C].

    Raises:
        ValueError: thresholds that overlap.
    """
    if not 0 <= below < above <= 1:
        raise ValueError(f"below={below:g}, above={above:g}: choose 0 <= below < above <= 1")
    label = np.where(unknown, np.nan, np.asarray(targets, np.float32)).astype(np.float32)
    if scores is None:
        return label
    score = np.asarray(scores, np.float64)
    filled = np.where(score >= above, 1.0, np.where(score <= below, 0.0, np.nan))
    return np.where(unknown, filled, label).astype(np.float32)
