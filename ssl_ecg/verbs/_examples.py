"""The worst errors of a model, drawn on ECG paper with where the network looked."""

from __future__ import annotations

from contextlib import suppress
from io import BytesIO
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.archive import Archive
from ssl_ecg.verbs._records import inputs_of

if TYPE_CHECKING:
    from ssl_ecg.tasks import Classifier

COUNT = 6
"""records that are drawn"""
DOTS = 110
"""of an inch: to be read on a screen; ``explain`` draws what is to be measured"""


def worst_errors(targets: NDArray[np.floating], scores: NDArray[np.floating], count: int) -> list[tuple[int, int]]:
    """Return record and class of the scores furthest from their label, a record once, the worst first.

    Args:
        targets: [n, C], 1, 0 or NaN.
        scores: [n, C], between 0 and 1.
        count: at most.
    """
    error = np.nan_to_num(np.abs(targets - scores), nan=-1.0)
    records = np.argsort(-error.max(axis=1), kind="stable")[:count]
    return [(int(record), int(error[record].argmax())) for record in records if error[record].max() > 0]


def worst_on_paper(
    model: Classifier,
    archive: Archive,
    rows: NDArray[np.int64],
    targets: NDArray[np.floating],
    scores: NDArray[np.floating],
) -> list[bytes]:
    """Return the worst errors as PNG; none where a task's targets are no labels.

    Args:
        model: that was tested.
        archive: signals.
        rows: of the test records in it [n].
        targets: of them [n, C].
        scores: of them [n, C].
    """
    if not model.task.of_labels or not COUNT:
        return []
    import torch

    from ssl_ecg.explain import ecg_figure, grad_cam

    drawn = []
    for record, c in worst_errors(targets, scores, COUNT):
        row = rows[[record]]
        signals = archive.read(row)
        told = archive.manifest.iloc[row[0]]
        given = inputs_of(model, signals, archive.manifest.iloc[row])
        signal, recorded, leads, *beside = (torch.from_numpy(part) for part in given)
        there, length = signals.leads[0], int(signals.recorded[0])
        heat = None
        with suppress(ValueError):  # a network of one's own that gives one feature vector has no map over time
            heat = grad_cam(model, signal, c, None, False, recorded, leads, *beside)[0].numpy()[..., :length]
        figure = ecg_figure(
            signals.signal[0][there, :length],
            [lead for lead, known in zip(archive.leads, there) if known],
            archive.sampling_rate,
            heat,
            bool(told["calibrated"]),
            f"{told['record_id']}   {model.task.classes[c]}: {targets[record, c]:.0f}, scored {scores[record, c]:.3f}",
        )
        figure.savefig(png := BytesIO(), format="png", dpi=DOTS, metadata={"Software": None})
        drawn.append(png.getvalue())
    return drawn
