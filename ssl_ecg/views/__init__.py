"""What self-supervision sees: segments and augmentations, batched, on the device of the signal."""

from ssl_ecg.views.augment import AUGMENTATIONS, Augment
from ssl_ecg.views.segments import adjacent_segments, random_crop

__all__ = ["AUGMENTATIONS", "Augment", "adjacent_segments", "random_crop"]
