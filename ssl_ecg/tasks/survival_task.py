"""Base class of tasks that predict the time to an event: the risk at every time up to a horizon.

Discrete time without proportional hazards (Gensheimer & Narasimhan, PeerJ 2019; ECG-AI: Khurshid et al., Circulation
2022). All metrics are of incident events: records with one before the ECG are left out of them.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_ecg.evaluation import (
    AUROC,
    AUROC_AT_HORIZON,
    BRIER_AT_HORIZON,
    C_INDEX,
    C_INDEX_IPCW,
    INTEGRATED_BRIER,
    auroc_at,
    brier_at,
    calibration_at,
    concordance_index,
    decision_curve_at,
    integrated_brier,
    kaplan_meier_by_group,
    risk_groups,
)
from ssl_ecg.evaluation.recalibration import CLIP
from ssl_ecg.tasks.hazard_probe import HazardProbe
from ssl_ecg.tasks.probe import Probe
from ssl_ecg.tasks.survival import discrete_survival_nll, encode, encode_survival, survival_at, survival_curve
from ssl_ecg.tasks.task import Task

COLUMNS = ("time_days", "event", "prevalent")
PREVALENT = ("exclude", "bin")
YEARS = (365.0, 730.0, 1825.0)
START_RISK = 0.1
"""Risk at the horizon that an untrained head gives; a head at even odds would have to unlearn near-certain events."""
_CELLS = 2**23  # of weights held at once, for a bootstrap of a large test set


class Survival(Task):
    """One hazard logit per interval; targets are ``time_days``, ``event`` and ``prevalent``.

    Scores are survival probabilities: column j of [n, bins] is the probability of no event until the end of interval j.
    With the encoding ``ecg_ai`` there is a column before them, the probability of no prevalent event, and the others
    hold for records without it. Columns after these, of what is learned beside, are passed over.

    Args:
        classes: the columns of the targets, ``COLUMNS``; nothing else is possible.
        horizon_days: end of the last interval.
        bins: intervals of equal length.
        encoding: ``"gensheimer"`` or ``"ecg_ai"``, see ``encode_survival``.
        prevalent: what to learn from events before the ECG: nothing (``"exclude"``), or its own column (``"bin"``,
            which only ``ecg_ai`` has).
        event: what is predicted, as tables call it, such as heart failure, stroke or death; null: the task's own.

    Raises:
        ValueError: other columns, or an impossible option.
    """

    columns = COLUMNS
    metrics = (C_INDEX, C_INDEX_IPCW, AUROC_AT_HORIZON, BRIER_AT_HORIZON, INTEGRATED_BRIER)
    class_metrics = (AUROC,)
    lacking = "nobody is known to be free of the event for longer than one with it"
    event: str = "the event"
    """What is predicted, as tables call it."""

    def __init__(
        self,
        classes: Sequence[str] | None = None,
        horizon_days: float = 1825.0,
        bins: int = 25,
        encoding: str = "gensheimer",
        prevalent: str = "exclude",
        event: str | None = None,
    ) -> None:
        super().__init__(classes)
        if horizon_days <= 0 or bins < 1:
            raise ValueError(f"horizon_days={horizon_days:g}, bins={bins}: both must be above 0")
        if prevalent not in PREVALENT:
            raise ValueError(f"prevalent={prevalent!r}: choose one of {', '.join(PREVALENT)}")
        if prevalent == "bin" and encoding != "ecg_ai":
            raise ValueError(
                f"prevalent='bin', encoding={encoding!r}: only encoding='ecg_ai' has a bin for prevalent events"
            )
        self.horizon, self.encoding, self.prevalent = float(horizon_days), encoding, prevalent
        self.options = {
            "horizon_days": self.horizon,
            "bins": bins,
            "encoding": encoding,
            "prevalent": prevalent,
        }
        if event is not None:
            if not event.strip():
                raise ValueError(f"event={event!r}: name what is predicted, such as death")
            self.event, self.outcomes = event, (event, f"{event} by the horizon")
            self.options = {**self.options, "event": event}
        self.breaks = np.linspace(0, self.horizon, bins + 1)
        self._first = int(encoding == "ecg_ai")  # column of the first interval
        # The columns of ecg_ai end one break earlier.
        edges = np.append(self.breaks, self.horizon + self.breaks[1]) if self._first else self.breaks
        encode_survival([], [], edges, encoding)
        self._edges, self._intervals = torch.from_numpy(edges), len(edges) - 1

    @property
    def outputs(self) -> int:
        """How many logits there are: one per interval."""
        return self._intervals

    def head(self, width: int) -> nn.Module:
        """Return a linear layer from features [B, width] to logits [B, intervals], starting at a low risk for all."""
        head = nn.Linear(width, self._intervals)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        hazard = 1 - (1 - START_RISK) ** (1 / self._intervals)
        nn.init.constant_(head.bias, float(np.log(hazard / (1 - hazard))))
        return head

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean negative log-likelihood over the records that carry information; 0 where none does.

        Args:
            logits: [B, intervals].
            targets: [B, C], days to the event or to the end of follow-up, whether an event, whether one before the ECG;
                NaN: unknown.
        """
        survived, event_bin = self.encode(targets)
        known = ((survived + event_bin) > 0).any(dim=1).sum()
        return discrete_survival_nll(logits, survived, event_bin, "sum") / known.clamp(min=1)

    def scores(self, logits: Tensor) -> Tensor:
        """Return survival probabilities [B, intervals], see the class."""
        logits = logits if logits.dtype == torch.float64 else logits.float()
        incident = survival_curve(logits[:, self._first :])
        return torch.cat([torch.sigmoid(-logits[:, : self._first]), incident], dim=1)

    def logits(self, scores: Tensor) -> Tensor:
        """Return the hazards' logits that have these survival probabilities [B, intervals]."""
        before, curve = scores[:, : self._first], scores[:, self._first : self._intervals]
        reached = torch.cat([torch.ones_like(curve[:, :1]), curve[:, :-1]], dim=1)
        return -torch.logit(torch.cat([before, curve / reached.clamp(min=CLIP)], dim=1), CLIP)

    def informative(self, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Return the records that say anything of an interval: not those of unknown or too short a follow-up."""
        return self.followed(targets)

    def outcome(self, targets: NDArray[Any]) -> NDArray[np.float32]:
        """Return two outcomes of records without a prevalent event, NaN for the others.

        The first is an event within the horizon, 0 where none was seen. The second is the same, but NaN where follow-up
        ended before the horizon without one.

        Raises:
            ValueError: events other than 0 and 1, or negative times without a prevalent event.
        """
        time, event, prevalent = np.asarray(targets).T[:3]
        encode_survival(time, event, self.breaks, "gensheimer", prevalent)
        known = self._known(targets)
        case = (event == 1) & (time <= self.horizon)
        seen = np.where(known, case, np.nan)
        followed = np.where(case | (time >= self.horizon), seen, np.nan)
        return np.column_stack([seen, followed]).astype(np.float32)

    def weighted_metrics(
        self, targets: NDArray[Any], scores: NDArray[Any], weights: NDArray[Any]
    ) -> dict[str, NDArray[np.float64]]:
        """Return metrics under each of R weightings of the records.

        C-index (Harrell's, and weighted against censoring) and AUROC of the risk at the horizon, Brier score there and
        its mean over all breaks.
        """
        time, event, curve, known = self.tested(targets, scores)
        weight, risk = np.asarray(weights)[known], 1 - curve[:, -1]
        step = max(1, _CELLS // max(1, len(weight)))
        parts = []
        for start in range(0, weight.shape[1], step):
            drawn = weight[:, start : start + step].astype(np.float64)
            parts.append(
                {
                    "c_index": concordance_index(time, event, risk, drawn, self.horizon),
                    "c_index_ipcw": concordance_index(time, event, risk, drawn, self.horizon, ipcw=True),
                    "auroc_at_horizon": auroc_at(time, event, risk, self.horizon, drawn),
                    "brier_at_horizon": brier_at(time, event, curve[:, -1:], self.breaks[-1:], drawn)[0],
                    "integrated_brier": integrated_brier(time, event, curve, self.breaks[1:], drawn),
                }
            )
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}

    def per_class(self, targets: NDArray[Any], scores: NDArray[Any]) -> pd.DataFrame:
        """Return the time-dependent AUROC at one, two and five years, as far as the horizon reaches."""
        time, event, curve, _ = self.tested(targets, scores)
        days = [day for day in YEARS if day <= self.horizon] or [self.horizon]
        return pd.DataFrame(
            {
                "class": [f"{self.event} within {day:g} days" for day in days],
                "positives_test": [int((event * (time <= day)).sum()) for day in days],
                "auroc": [auroc_at(time, event, 1 - survival_at(curve, self.breaks, day), day)[0] for day in days],
            }
        )

    def tables(self, targets: NDArray[Any], scores: NDArray[Any]) -> dict[str, pd.DataFrame]:
        """Return "predictions", "per_class", and of the risk at the horizon "calibration" and the like."""
        known = pd.DataFrame(dict(zip(self.classes, np.asarray(targets).T)))
        time, event, curve, _ = self.tested(targets, scores)
        risk = 1 - curve[:, -1]
        return {
            "predictions": known.join(self.predictions(scores)),
            "per_class": self.per_class(targets, scores),
            "calibration": calibration_at(time, event, risk, self.horizon),
            "kaplan_meier": kaplan_meier_by_group(time, event, risk_groups(risk), self.breaks),
            "decision_curve": decision_curve_at(time, event, risk, self.horizon),
        }

    def predictions(self, scores: NDArray[Any]) -> pd.DataFrame:
        """Return the risk at the horizon and the survival at every break, and whether the event was before the ECG."""
        curve = scores[:, self._first : self._intervals]
        columns = {"risk_at_horizon": 1 - curve[:, -1]}
        if self._first:
            columns["prevalent_score"] = 1 - scores[:, 0]
        columns |= {f"survival_{day:g}": curve[:, j] for j, day in enumerate(self.breaks[1:])}
        return pd.DataFrame(columns)

    def fit_probe(
        self,
        train_x: NDArray[Any],
        train_targets: NDArray[Any],
        validation_x: NDArray[Any],
        validation_targets: NDArray[Any],
    ) -> Probe:
        """Fit a linear discrete-time hazard."""
        return HazardProbe(self).fit(train_x, train_targets, validation_x, validation_targets)

    def encode(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return what targets [B, C] say of each interval, ``survived`` and ``event_bin`` of ``encode_survival``."""
        time, event, prevalent = targets[:, :3].unbind(1)
        survived, event_bin = encode(time, event, prevalent, self._edges.to(time), self.encoding)
        if self.prevalent == "exclude":
            event_bin = event_bin * (prevalent == 0)[:, None]
        return survived, event_bin

    def followed(self, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which records say anything of an interval."""
        survived, event_bin = self.encode(torch.from_numpy(np.asarray(targets)))
        return ((survived + event_bin) > 0).any(dim=1).numpy()

    def _known(self, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether follow-up for the incident event is known."""
        time, event, prevalent = np.asarray(targets).T[:3]
        return (prevalent == 0) & ~np.isnan(time) & ~np.isnan(event)

    def tested(self, targets: NDArray[Any], scores: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Return days, event and predicted curve [m, bins] of the measured records, and which of all [n] these are."""
        known = self._known(targets)
        if not known.any():
            raise ValueError(f"targets: the follow-up of none of {len(known)} records is known")
        time, event = np.asarray(targets, np.float64)[known].T[:2]
        return time, event, np.asarray(scores, np.float64)[known, self._first : self._intervals], known
