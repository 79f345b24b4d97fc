"""Arrays in, numbers out: metrics, patient-level bootstrap intervals, the linear probe. Knows no network."""

from ssl_ecg.evaluation.intervals import (
    Difference,
    Interval,
    bootstrap_metrics,
    bootstrap_weights,
    holm,
    interval,
    macro_metrics,
    paired_difference,
)
from ssl_ecg.evaluation.kaplan_meier import calibration_at, kaplan_meier, kaplan_meier_by_group, risk_groups
from ssl_ecg.evaluation.metrics import (
    auprc_per_class,
    auroc_per_class,
    challenge_metric,
    macro_auprc,
    macro_auroc,
    rank_metrics,
    undefined_classes,
)
from ssl_ecg.evaluation.probe import LinearProbe
from ssl_ecg.evaluation.survival import auroc_at, brier_at, concordance_index, integrated_brier

__all__ = [
    "Difference",
    "Interval",
    "LinearProbe",
    "auprc_per_class",
    "auroc_at",
    "auroc_per_class",
    "bootstrap_metrics",
    "bootstrap_weights",
    "brier_at",
    "calibration_at",
    "challenge_metric",
    "concordance_index",
    "holm",
    "integrated_brier",
    "interval",
    "kaplan_meier",
    "kaplan_meier_by_group",
    "macro_auprc",
    "macro_auroc",
    "macro_metrics",
    "paired_difference",
    "rank_metrics",
    "risk_groups",
    "undefined_classes",
]
