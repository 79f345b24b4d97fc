"""AF-free survival: the risk of atrial fibrillation at every time up to a horizon, from a sinus-rhythm ECG.

Discrete time without proportional hazards (Gensheimer & Narasimhan, PeerJ 2019; ECG-AI: Khurshid et al., Circulation
2022). All metrics are of incident AF: records with AF before the ECG are left out of them.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_ecg.evaluation import (
    auroc_at,
    brier_at,
    calibration_at,
    concordance_index,
    decision_curve_at,
    integrated_brier,
    kaplan_meier_by_group,
    risk_groups,
)
from ssl_ecg.tasks.auxiliary import WEIGHTS, Auxiliary
from ssl_ecg.tasks.hazard_probe import HazardProbe
from ssl_ecg.tasks.registry import Probe, register
from ssl_ecg.tasks.survival import discrete_survival_nll, encode, encode_survival, survival_at, survival_curve

COLUMNS = ("time_days", "event", "prevalent")
PREVALENT = ("exclude", "bin")
YEARS = (365.0, 730.0, 1825.0)
START_RISK = 0.1
"""Risk at the horizon that an untrained head gives; a head at even odds would have to unlearn near-certain AF."""
_CELLS = 2**23  # of weights held at once, for a bootstrap of a large test set


class AfSurvival:
    """One hazard logit an interval; targets are ``time_days``, ``event`` and ``prevalent``.

    Scores are survival probabilities: column j of [n, bins] is the probability of no AF until the end of interval j.
    With the encoding ``ecg_ai`` there is a column before them, the probability of no prevalent AF, and the others hold
    for records without it.

    Args:
        classes: the columns of the targets, ``COLUMNS`` and those of auxiliary targets; nothing else is possible.
        horizon_days: end of the last interval.
        bins: intervals of equal length.
        encoding: ``"gensheimer"`` or ``"ecg_ai"``, see ``encode_survival``.
        prevalent: what to learn from AF before the ECG: nothing (``"exclude"``), or its own column (``"bin"``, which
            only ``ecg_ai`` has).
        auxiliary: weights of further losses, of ``"age"``, ``"sex"`` and ``"prevalent"``, each with an output of its
            own after the intervals; see ``ssl_ecg.tasks.auxiliary``. Scores are of survival alone.

    Raises:
        ValueError: other columns, or an impossible option.
    """

    name = "af_survival"
    columns: tuple[str, ...] | None = COLUMNS
    selection = "c_index"

    def __init__(
        self,
        classes: Sequence[str] | None = None,
        horizon_days: float = 1825.0,
        bins: int = 25,
        encoding: str = "gensheimer",
        prevalent: str = "exclude",
        auxiliary: Mapping[str, float] = WEIGHTS,
    ) -> None:
        self._auxiliary = Auxiliary(auxiliary)
        self.columns = self.classes = tuple(dict.fromkeys((*COLUMNS, *self._auxiliary.names)))
        if classes is not None and tuple(classes) != self.classes:
            raise ValueError(f"classes={list(classes)}: task 'af_survival' needs {', '.join(self.classes)}")
        if horizon_days <= 0 or bins < 1:
            raise ValueError(f"horizon_days={horizon_days:g}, bins={bins}: both must be above 0")
        if prevalent not in PREVALENT:
            raise ValueError(f"prevalent={prevalent!r}: choose one of {', '.join(PREVALENT)}")
        if prevalent == "bin" and encoding != "ecg_ai":
            raise ValueError(
                f"prevalent='bin', encoding={encoding!r}: only encoding='ecg_ai' has a bin for prevalent AF"
            )
        self._learned_beside = [self.classes.index(name) for name in self._auxiliary.names]
        self.horizon, self.encoding, self.prevalent = float(horizon_days), encoding, prevalent
        self.options: Mapping[str, Any] = {
            "horizon_days": self.horizon,
            "bins": bins,
            "encoding": encoding,
            "prevalent": prevalent,
            "auxiliary": self._auxiliary.weights,
        }
        self.breaks = np.linspace(0, self.horizon, bins + 1)
        self._first = int(encoding == "ecg_ai")  # column of the first interval
        # The columns of ecg_ai end one break earlier.
        edges = np.append(self.breaks, self.horizon + self.breaks[1]) if self._first else self.breaks
        encode_survival([], [], edges, encoding)
        self._edges, self._intervals = torch.from_numpy(edges), len(edges) - 1
        self.outcomes: tuple[str, ...] = ("af", "af_by_horizon")

    def head(self, width: int) -> nn.Linear:
        """Return a linear layer from features [B, width] to logits [B, outputs], starting at a low risk for all.

        The outputs are the intervals and after them the auxiliary targets.
        """
        head = nn.Linear(width, self._intervals + len(self._learned_beside))
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        hazard = 1 - (1 - START_RISK) ** (1 / self._intervals)
        nn.init.constant_(head.bias[: self._intervals], float(np.log(hazard / (1 - hazard))))
        return head

    def loss(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean negative log-likelihood over the records that carry information; 0 where none does.

        The weighted losses of auxiliary targets are added to it.

        Args:
            logits: [B, outputs].
            targets: [B, C], days to AF or to the end of follow-up, whether AF, whether AF before the ECG, auxiliary
                targets; NaN: unknown.
        """
        survived, event_bin = self._encode(targets)
        known = ((survived + event_bin) > 0).any(dim=1).sum()
        nll = discrete_survival_nll(logits[:, : self._intervals], survived, event_bin, "sum") / known.clamp(min=1)
        return nll + self._auxiliary.loss(logits[:, self._intervals :], targets[:, self._learned_beside])

    def scores(self, logits: Tensor) -> Tensor:
        """Return survival probabilities [B, intervals], see the class."""
        logits = logits[:, : self._intervals]
        logits = logits if logits.dtype == torch.float64 else logits.float()
        incident = survival_curve(logits[:, self._first :])
        return torch.cat([torch.sigmoid(-logits[:, : self._first]), incident], dim=1)

    def for_training(self, targets: NDArray[Any]) -> AfSurvival:
        """Return the task with the scale of age in training, where age is learned beside survival."""
        task = copy.copy(self)
        task._auxiliary = self._auxiliary.for_training(targets[:, self._learned_beside])
        return task

    def tuned(self, targets: NDArray[Any], scores: NDArray[Any]) -> AfSurvival:
        """Return the task itself: it decides nothing."""
        return self

    def informative(self, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Return which records say anything of an interval, or have an auxiliary target.

        Records with unknown or too short a follow-up say nothing of any interval.
        """
        return self._followed(targets) | self._auxiliary.known(np.asarray(targets)[:, self._learned_beside])

    def outcome(self, targets: NDArray[Any]) -> NDArray[np.float32]:
        """Return two outcomes of records without prevalent AF, NaN for the others.

        The first is AF within the horizon, 0 where none was seen. The second is the same, but NaN where follow-up ended
        before the horizon without AF.

        Raises:
            ValueError: events other than 0 and 1, negative times without prevalent AF, or impossible auxiliary targets.
        """
        time, event, prevalent = np.asarray(targets).T[:3]
        self._auxiliary.check(np.asarray(targets)[:, self._learned_beside])
        encode_survival(time, event, self.breaks, "gensheimer", prevalent)
        known = self._known(targets)
        case = (event == 1) & (time <= self.horizon)
        seen = np.where(known, case, np.nan)
        followed = np.where(case | (time >= self.horizon), seen, np.nan)
        return np.column_stack([seen, followed]).astype(np.float32)

    def metrics(self, targets: NDArray[Any], scores: NDArray[Any]) -> dict[str, float]:
        """Return the metrics of ``weighted_metrics`` that these records define.

        Raises:
            ValueError: no pair of records can be ranked.
        """
        found = self.weighted_metrics(targets, scores, np.ones((len(targets), 1)))
        if np.isnan(found["c_index"][0]):
            raise ValueError(
                "no record is known to be free of AF for longer than one with AF, so nothing can be ranked"
            )
        return {name: float(value[0]) for name, value in found.items() if not np.isnan(value[0])}

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
                "class": [f"AF within {day:g} days" for day in days],
                "positives_test": [int((event * (time <= day)).sum()) for day in days],
                "auroc": [auroc_at(time, event, 1 - survival_at(curve, self.breaks, day), day)[0] for day in days],
                "auprc": np.nan,
            }
        )

    def tables(self, targets: NDArray[Any], scores: NDArray[Any]) -> dict[str, pd.DataFrame]:
        """Return "predictions", "per_class", and of the risk at the horizon "calibration" and the like."""
        curve = scores[:, self._first :]
        predictions = {**dict(zip(self.classes, np.asarray(targets).T)), "risk_at_horizon": 1 - curve[:, -1]}
        if self._first:
            predictions["prevalent_score"] = 1 - scores[:, 0]
        predictions |= {f"survival_{day:g}": curve[:, j] for j, day in enumerate(self.breaks[1:])}
        time, event, curve, _ = self.tested(targets, scores)
        risk = 1 - curve[:, -1]
        return {
            "predictions": pd.DataFrame(predictions),
            "per_class": self.per_class(targets, scores),
            "calibration": calibration_at(time, event, risk, self.horizon),
            "kaplan_meier": kaplan_meier_by_group(time, event, risk_groups(risk), self.breaks),
            "decision_curve": decision_curve_at(time, event, risk, self.horizon),
        }

    def fit_probe(
        self, train_x: NDArray[Any], train_y: NDArray[Any], validation_x: NDArray[Any], validation_y: NDArray[Any]
    ) -> Probe:
        """Fit a linear discrete-time hazard; its strength has the best C-index of the risk at the horizon."""
        learnt = self._followed(train_y)
        survived, event_bin = self._encode(torch.from_numpy(train_y[learnt]))

        def judge(scores: NDArray[np.float64]) -> float:
            return self.metrics(validation_y, scores)["c_index"]

        return HazardProbe(self.scores).fit(train_x[learnt], survived, event_bin, validation_x, judge)

    def _encode(self, targets: Tensor) -> tuple[Tensor, Tensor]:
        time, event, prevalent = targets[:, :3].unbind(1)
        survived, event_bin = encode(time, event, prevalent, self._edges.to(time), self.encoding)
        if self.prevalent == "exclude":
            event_bin = event_bin * (prevalent == 0)[:, None]
        return survived, event_bin

    def _followed(self, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether a record says anything of an interval."""
        survived, event_bin = self._encode(torch.from_numpy(np.asarray(targets)))
        return ((survived + event_bin) > 0).any(dim=1).numpy()

    def _known(self, targets: NDArray[Any]) -> NDArray[np.bool_]:
        """Whether follow-up for incident AF is known."""
        time, event, prevalent = np.asarray(targets).T[:3]
        return (prevalent == 0) & ~np.isnan(time) & ~np.isnan(event)

    def tested(self, targets: NDArray[Any], scores: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Days, event and predicted curve [m, bins] of the records that metrics are computed on, and which they are."""
        known = self._known(targets)
        if not known.any():
            raise ValueError(f"targets: the follow-up of none of {len(known)} records is known")
        time, event = np.asarray(targets, np.float64)[known].T[:2]
        return time, event, np.asarray(scores, np.float64)[known, self._first :], known


register("af_survival", AfSurvival)
