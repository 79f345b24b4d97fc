"""Labels corrected by prototypes: what deep features say of a label that may be wrong.

Vazquez et al. (Computing in Cardiology 2021), after Han, Luo and Wang (ICCV 2019). Prototypes of a class are records
that lie where features are dense and that differ from each other; a record's corrected label is that of the prototypes
to which its features are nearer, by the mean cosine. Of several labels each is corrected by itself, between the
prototypes of records with it and of records without it: the papers' classes exclude each other, so this is an
assumption, as is that the mean of all features is taken away first, without which those of a ReLU all point one way.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

PROTOTYPES = 8
DENSE = 0.6
"""quantile of the cosines between the records of a class above which two count as near: the top 40 % (Han et al.)"""
ALIKE = 0.95
"""cosine to a denser record from which on a record is no further prototype (Han et al.)"""
MOST = 1280
"""records of a side that are compared with each other (Han et al.), drawn where there are more"""


def prototypes(features: Tensor, count: int = PROTOTYPES) -> Tensor:
    """Choose prototypes: the densest records, of which none is like a denser one.

    The density of a record is the number of records nearer than usual less the number of those further away.

    Args:
        features: [m, D], of records with the same label.
        count: how many, at most.

    Returns:
        [p, D], of length 1, the densest first.
    """
    unit = normalize(features.double(), dim=1)
    cosine = unit @ unit.T
    density = torch.sign(cosine - torch.quantile(cosine.flatten(), DENSE)).sum(1)
    order = torch.argsort(-density, stable=True)
    place = torch.argsort(order)
    # Likeness to the most alike of the denser records; the densest of all has none.
    likeness = cosine.masked_fill(place[None, :] >= place[:, None], -1.0).amax(1)
    chosen = order[likeness[order] < ALIKE][:count]
    return unit[chosen]


def corrected_labels(
    features: NDArray[np.floating], targets: NDArray[np.floating], seed: int = 0, count: int = PROTOTYPES
) -> NDArray[np.float32]:
    """Return what prototypes say of labels.

    Args:
        features: [n, D].
        targets: [n, C], 1, 0 or NaN.
        seed: of the records that are compared, where there are many.
        count: prototypes of either side of a class.

    Returns:
        [n, C], 1 or 0; as given where unknown, and in classes that have no two records on either side.
    """
    rng = np.random.default_rng(seed)
    given, x = np.asarray(targets, np.float32), torch.from_numpy(np.asarray(features, np.float64))
    x = x - x.mean(0)
    found, unit = given.copy(), normalize(x, dim=1)
    for c in range(given.shape[1]):
        sides = [np.flatnonzero(given[:, c] == value) for value in (0, 1)]
        if min(map(len, sides)) < 2:
            continue
        near = []
        for rows in sides:
            some = rng.choice(rows, MOST, replace=False) if len(rows) > MOST else rows
            near.append((unit @ prototypes(x[np.sort(some)], count).T).mean(1))
        known = ~np.isnan(given[:, c])
        found[known, c] = (near[1] > near[0]).float().numpy()[known]
    return found


class Correction:
    """The loss that also believes corrected labels: (1 - a) of the given ones and a of the corrected ones.

    a is 0 until the first correction, and grows over the later ones to its full weight.

    Args:
        weight: of corrected labels in the end.
        evaluations: of the training, after each of which they are made anew; in the first half what is given is
            believed.
        rows: int64 [n], archive rows of the training records.
        targets: theirs, as given, [n, C].
        features: gives those of the training records, [n, D].
        seed: of the draw of records.
    """

    def __init__(
        self,
        weight: float,
        evaluations: int,
        rows: NDArray[np.int64],
        targets: NDArray[np.float32],
        features: Callable[[], NDArray[np.floating]],
        seed: int,
    ) -> None:
        self.weight, self.first, self.evaluations, self.seed = weight, evaluations // 2, evaluations, seed
        order = np.argsort(rows, kind="stable")
        self.rows, self.targets = torch.from_numpy(rows[order]), targets[order]
        self.features = lambda: features()[order]
        self.done = 0
        self.labels: Tensor | None = None

    def update(self) -> None:
        """Note that an evaluation is over; correct the labels where their time has come."""
        self.done += 1
        if self.done >= self.first:
            self.labels = torch.from_numpy(corrected_labels(self.features(), self.targets, self.seed))

    def state(self) -> dict[str, Any]:
        """Return what a training that goes on needs."""
        return {"done": self.done, "labels": self.labels}

    def go_on(self, state: Mapping[str, Any]) -> None:
        """Go on from what ``state`` returned."""
        self.done, self.labels = state["done"], state["labels"]

    @property
    def share(self) -> float:
        """The weight of corrected labels now."""
        if self.labels is None:
            return 0.0
        later = max(1, self.evaluations - self.first)
        return self.weight * min(1.0, (self.done - self.first + 1) / later)

    def loss(self, loss: Callable[[Tensor, Tensor], Tensor], logits: Tensor, targets: Tensor, rows: Tensor) -> Tensor:
        """Return the loss of a batch.

        Args:
            loss: of logits and targets.
            logits: [B, C].
            targets: as given, [B, C].
            rows: int64 [B], archive rows of the records.
        """
        share = self.share
        if not share or self.labels is None:
            return loss(logits, targets)
        places = torch.searchsorted(self.rows, rows.cpu())
        believed = self.labels[places].to(targets.device)
        return (1 - share) * loss(logits, targets) + share * loss(logits, believed)
