"""Arrays in, numbers out: metrics, patient-level bootstrap intervals, the linear probe. Knows no network."""

from ssl_ecg.evaluation.intervals import (
    Difference,
    Interval,
    bootstrap_metrics,
    bootstrap_weights,
    holm,
    interval,
    paired_difference,
)
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

__all__ = [
    "Difference",
    "Interval",
    "LinearProbe",
    "auprc_per_class",
    "auroc_per_class",
    "bootstrap_metrics",
    "bootstrap_weights",
    "challenge_metric",
    "holm",
    "interval",
    "macro_auprc",
    "macro_auroc",
    "paired_difference",
    "rank_metrics",
    "undefined_classes",
]
