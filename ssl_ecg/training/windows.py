"""Scores of whole records from sliding windows, the protocol of PTB-XL (Strodthoff et al., IEEE JBHI 2021).

A network that was trained on crops sees crops of that length again, and what shows in one of them only is not averaged
away by the others: there, windows of 2.5 s every 1.25 s, and the highest score of each class.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ssl_ecg.archive import Archive
from ssl_ecg.tasks import Classifier

AGGREGATES = ("max", "mean")
OVER = ("scores", "features")


@dataclass(frozen=True)
class WindowSettings:
    """How records are cut into windows for scoring.

    Attributes:
        seconds: length of a window, or None for whole records.
        stride: seconds from one window to the next; the last window ends with the record, wherever that is.
        aggregate: "max" or "mean" over the windows of a record.
        over: "scores" of the windows, or their "features", of which the head then sees the aggregate (as in
            DSAIL-SNU's bag of tricks for the PhysioNet/CinC challenge of 2020).
    """

    seconds: float | None = None
    stride: float = 1.25
    aggregate: str = "max"
    over: str = "scores"

    def __post_init__(self) -> None:
        if self.seconds is not None and not 0 < self.stride <= self.seconds:
            raise ValueError(
                f"seconds={self.seconds:g}, stride={self.stride:g}: choose a stride above 0 that leaves no gap"
            )
        for name, choices in (("aggregate", AGGREGATES), ("over", OVER)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r}: choose one of {', '.join(choices)}")

    def cut(self, signal: Tensor, sampling_rate: float) -> Tensor:
        """Return the windows [B, W, L, samples] of signal [B, L, T]; whole records are one window.

        Raises:
            ValueError: records shorter than a window, or a stride below a sample.
        """
        if self.seconds is None:
            return signal[:, None]
        total, width, stride = signal.shape[-1], round(self.seconds * sampling_rate), round(self.stride * sampling_rate)
        if width > total or stride < 1:
            raise ValueError(
                f"seconds={self.seconds:g}, stride={self.stride:g}: records have {total} samples of "
                f"{1 / sampling_rate:g} s; choose shorter windows, or a stride of a sample or more"
            )
        starts = [*range(0, total - width, stride), total - width]
        return torch.stack([signal[..., start : start + width] for start in starts], dim=1)


@torch.inference_mode()
def predict_windows(
    model: Classifier, archive: Archive, rows: NDArray[np.int64], windows: WindowSettings, batch_size: int = 32
) -> NDArray[np.float32]:
    """Return the classifier's scores, float32 [n, C] between 0 and 1, of archive rows [n], from windows.

    Raises:
        ValueError: the archive was prepared otherwise than the encoder expects, windows that do not fit its records,
            or the highest of scores that do not rise with the risk.
    """
    if windows.aggregate == "max" and windows.over == "scores" and model.task.columns is not None:
        raise ValueError(f"aggregate='max': the scores of task {model.task.name!r} are not of classes; choose 'mean'")
    model.encoder.check(archive.settings)
    was_training = model.training
    model.eval()
    device = next(model.parameters()).device
    parts = []
    for start in range(0, len(rows), batch_size):
        signal = torch.from_numpy(archive.read(rows[start : start + batch_size])).to(device)
        crops = windows.cut(signal, model.encoder.sampling_rate)
        features = model.encoder.backbone(crops.flatten(0, 1)).float()
        if windows.over == "features":
            scores = model.task.scores(model.head(_aggregate(features, len(signal), windows.aggregate)))
        else:
            scores = _aggregate(model.task.scores(model.head(features)), len(signal), windows.aggregate)
        parts.append(scores.cpu().numpy())
    model.train(was_training)
    return np.concatenate(parts)


def _aggregate(each: Tensor, records: int, how: str) -> Tensor:
    """Reduce [B * W, S] to [B, S]."""
    each = each.unflatten(0, (records, -1))
    return each.amax(dim=1) if how == "max" else each.mean(dim=1)
