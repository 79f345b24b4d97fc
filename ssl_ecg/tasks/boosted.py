"""Gradient boosting (scikit-learn) on features: a classical model, whatever the features are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

TREES, LEARNING_RATE = 200, 0.1


class Boosted:
    """A gradient-boosted classifier per class, of as many trees as validation chooses.

    Args:
        trees: most of a class.
        learning_rate: of the boosting.
        seed: of the trees.

    Attributes:
        models: of each class.
        chosen: trees of each class.
    """

    def __init__(self, trees: int = TREES, learning_rate: float = LEARNING_RATE, seed: int = 0) -> None:
        self.trees, self.learning_rate, self.seed = trees, learning_rate, seed
        self.models: list[Any] = []
        self.chosen: list[int] = []

    def fit(
        self, x: NDArray[Any], targets: NDArray[Any], validation_x: NDArray[Any], validation_targets: NDArray[Any]
    ) -> None:
        """Fit each class on the records [n, C] where it is known, and keep the trees of the lowest validation loss.

        A class without both outcomes in training predicts its base rate, (k + 1/2) / (n + 1), as the linear probe does.
        """
        from sklearn.ensemble import HistGradientBoostingClassifier
        from sklearn.metrics import log_loss

        for label, judged in zip(targets.T, validation_targets.T):
            known, usable = ~np.isnan(label), ~np.isnan(judged)
            if len(set(label[known])) < 2:
                self.models.append((np.nansum(label) + 0.5) / (known.sum() + 1))
                self.chosen.append(0)
                continue

            def made(trees: int) -> Any:
                return HistGradientBoostingClassifier(
                    learning_rate=self.learning_rate, max_iter=trees, early_stopping=False, random_state=self.seed
                )

            trees, model = self.trees, made(self.trees).fit(x[known], label[known])
            if usable.any():
                stages = model.staged_predict_proba(validation_x[usable])
                losses = [log_loss(judged[usable], stage[:, 1], labels=[0, 1]) for stage in stages]
                trees = int(np.argmin(losses)) + 1
                model = made(trees).fit(x[known], label[known])
            self.models.append(model)
            self.chosen.append(trees)

    def scores(self, x: NDArray[Any]) -> NDArray[np.float64]:
        """Return probabilities [n, C] of features [n, D]."""
        each = [np.full(len(x), m) if isinstance(m, float) else m.predict_proba(x)[:, 1] for m in self.models]
        return np.stack(each, axis=1)
