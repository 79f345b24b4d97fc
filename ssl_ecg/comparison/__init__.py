"""Does pretraining pay, and which? Arms or variants x label fractions x seeds, resumable, with intervals."""

from ssl_ecg.comparison.ablation import AblateSettings, ablate
from ssl_ecg.comparison.arms import ARMS
from ssl_ecg.comparison.compare import compare
from ssl_ecg.comparison.compare_settings import CompareSettings
from ssl_ecg.comparison.rounds import Round, rounds_of
from ssl_ecg.comparison.seen_patients import check_unseen, recognised, remember
from ssl_ecg.comparison.variants import Variant

__all__ = [
    "ARMS",
    "AblateSettings",
    "CompareSettings",
    "Round",
    "Variant",
    "ablate",
    "check_unseen",
    "compare",
    "recognised",
    "remember",
    "rounds_of",
]
