"""Does pretraining pay? Arms x label fractions x seeds, resumable, with intervals."""

from ssl_ecg.comparison.arms import ARMS
from ssl_ecg.comparison.compare import CompareSettings, check_unseen, compare

__all__ = ["ARMS", "CompareSettings", "check_unseen", "compare"]
