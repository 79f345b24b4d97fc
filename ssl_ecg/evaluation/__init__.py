"""Arrays in, numbers out: metrics, patient-level bootstrap intervals. Knows no network."""

from ssl_ecg.evaluation.calibration import (
    BRIER,
    brier_per_class,
    brier_scores,
    calibration_error,
    coverage,
    reliability,
)
from ssl_ecg.evaluation.challenge import CHALLENGE_METRIC, challenge_metric, challenge_metrics
from ssl_ecg.evaluation.cox import cox_regression, crossed_hazard
from ssl_ecg.evaluation.decision_curve import decision_curve, decision_curve_at, decision_curves
from ssl_ecg.evaluation.decisions import (
    MACRO_F1,
    SUBSET_ACCURACY,
    best_thresholds,
    decision_metrics,
    evolved_thresholds,
    f1_per_class,
)
from ssl_ecg.evaluation.intervals import (
    Bootstrap,
    Difference,
    Interval,
    Replicates,
    bootstrap_metrics,
    format_p,
    holm,
    macro_metrics,
    paired_difference,
)
from ssl_ecg.evaluation.kaplan_meier import calibration_at, kaplan_meier, kaplan_meier_by_group, risk_groups
from ssl_ecg.evaluation.metric import Metric, describe, described
from ssl_ecg.evaluation.metrics import (
    AUPRC,
    AUROC,
    MACRO_AUPRC,
    MACRO_AUROC,
    auprc_per_class,
    auroc_per_class,
    macro_auprc,
    macro_auroc,
    rank_metrics,
    undefined_classes,
)
from ssl_ecg.evaluation.numbers import absolute_error, correlation
from ssl_ecg.evaluation.operating_curves import decisions_per_class, operating_curves
from ssl_ecg.evaluation.operating_point import (
    SENSITIVITY,
    SENSITIVITY_AT_SPECIFICITY,
    SPECIFICITY,
    sensitivity_and_specificity,
    sensitivity_at_specificity,
    threshold_at_specificity,
)
from ssl_ecg.evaluation.plane import plane
from ssl_ecg.evaluation.resampling import bootstrap_weights
from ssl_ecg.evaluation.rotation import Rotation
from ssl_ecg.evaluation.spread import SIGNIFICANCE, interval
from ssl_ecg.evaluation.subgroups import group_by, subgroup_metrics
from ssl_ecg.evaluation.survival import (
    AUROC_AT_HORIZON,
    BRIER_AT_HORIZON,
    C_INDEX,
    C_INDEX_IPCW,
    INTEGRATED_BRIER,
    auroc_at,
    brier_at,
    concordance_index,
    integrated_brier,
)

__all__ = [
    "AUPRC",
    "AUROC",
    "AUROC_AT_HORIZON",
    "BRIER",
    "BRIER_AT_HORIZON",
    "CHALLENGE_METRIC",
    "C_INDEX",
    "C_INDEX_IPCW",
    "INTEGRATED_BRIER",
    "MACRO_AUPRC",
    "MACRO_AUROC",
    "MACRO_F1",
    "SENSITIVITY",
    "SENSITIVITY_AT_SPECIFICITY",
    "SIGNIFICANCE",
    "SPECIFICITY",
    "SUBSET_ACCURACY",
    "Bootstrap",
    "Difference",
    "Interval",
    "Metric",
    "Replicates",
    "Rotation",
    "absolute_error",
    "auprc_per_class",
    "auroc_at",
    "auroc_per_class",
    "best_thresholds",
    "bootstrap_metrics",
    "bootstrap_weights",
    "brier_at",
    "brier_per_class",
    "brier_scores",
    "calibration_at",
    "calibration_error",
    "challenge_metric",
    "challenge_metrics",
    "concordance_index",
    "correlation",
    "coverage",
    "cox_regression",
    "crossed_hazard",
    "decision_curve",
    "decision_curve_at",
    "decision_curves",
    "decision_metrics",
    "decisions_per_class",
    "describe",
    "described",
    "evolved_thresholds",
    "f1_per_class",
    "format_p",
    "group_by",
    "holm",
    "integrated_brier",
    "interval",
    "kaplan_meier",
    "kaplan_meier_by_group",
    "macro_auprc",
    "macro_auroc",
    "macro_metrics",
    "operating_curves",
    "paired_difference",
    "plane",
    "rank_metrics",
    "reliability",
    "risk_groups",
    "sensitivity_and_specificity",
    "sensitivity_at_specificity",
    "subgroup_metrics",
    "threshold_at_specificity",
    "undefined_classes",
]
