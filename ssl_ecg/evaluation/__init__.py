"""Arrays in, numbers out: metrics, patient-level bootstrap intervals, the linear probe. Knows no network."""

from ssl_ecg.evaluation.metrics import (
    auprc_per_class,
    auroc_per_class,
    challenge_metric,
    macro_auprc,
    macro_auroc,
    undefined_classes,
)
from ssl_ecg.evaluation.probe import LinearProbe

__all__ = [
    "LinearProbe",
    "auprc_per_class",
    "auroc_per_class",
    "challenge_metric",
    "macro_auprc",
    "macro_auroc",
    "undefined_classes",
]
