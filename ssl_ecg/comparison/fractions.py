"""Whether the labels of a comparison can teach and judge anything."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import numpy as np

from ssl_ecg.evaluation import undefined_classes
from ssl_ecg.labels.splits import Splits, nested_fractions
from ssl_ecg.labels.tables import LabelTable

logger = logging.getLogger(__name__)


def check_fractions(
    labels: LabelTable, splits: Splits, fractions: Sequence[float], seeds: Sequence[int], nested: bool = False
) -> None:
    """Refuse label fractions that no arm can learn from, before anything is run.

    Classes that all training records teach, but those of a fraction do not, are named in the log, once for all runs.

    Args:
        labels: label table.
        splits: indices into it.
        fractions: of the labels.
        seeds: of the draws.
        nested: whether validation shrinks with the fraction.

    Raises:
        ValueError: a fraction whose records hold both outcomes of no class that validation can score.
    """
    taught = ~undefined_classes(labels.outcome[splits.train])
    lost: dict[float, set[str]] = {}
    for seed in seeds:
        drawn = nested_fractions(labels, splits.validation, fractions, seed) if nested else {}
        for fraction, train in nested_fractions(labels, splits.train, fractions, seed).items():
            unknown = undefined_classes(labels.outcome[train])
            lost.setdefault(fraction, set()).update(np.array(labels.outcomes)[unknown & taught])
            judges = drawn.get(fraction, splits.validation)
            if not (~undefined_classes(labels.outcome[judges]) & ~unknown).any():
                raise ValueError(
                    f"fractions={fraction:g}: with seed {seed} its {len(train)} labelled records hold both outcomes of "
                    f"no class that {len(judges)} validation records can score; choose a larger fraction"
                )
    if any(lost.values()):
        told = (f"{100 * part:g} %: {', '.join(sorted(names))}" for part, names in sorted(lost.items()) if names)
        logger.warning("with some seed these fractions cannot teach all classes: %s", "; ".join(told))
