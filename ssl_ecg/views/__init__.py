"""What self-supervision sees: segments, augmentations and masks; batched, on the device of the signal."""

from ssl_ecg.views.augment import AUGMENTATIONS, Augment
from ssl_ecg.views.masks import (
    Mask,
    block_mask,
    grid_mask,
    keep_smallest,
    random_mask,
    restore_tokens,
    take_tokens,
    visible_count,
)
from ssl_ecg.views.r_peak_detector import find_r_peaks, r_peaks
from ssl_ecg.views.segments import adjacent_segments, random_crop
from ssl_ecg.views.semantic import semantic_views

__all__ = [
    "AUGMENTATIONS",
    "Augment",
    "Mask",
    "adjacent_segments",
    "block_mask",
    "find_r_peaks",
    "grid_mask",
    "keep_smallest",
    "r_peaks",
    "random_crop",
    "random_mask",
    "restore_tokens",
    "semantic_views",
    "take_tokens",
    "visible_count",
]
