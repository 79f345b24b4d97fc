"""Milliseconds of every augmentation for a batch of ECGs, on one thread. ``python benchmarks/augment.py``; seconds."""

from __future__ import annotations

import os
import time
from statistics import median

import torch

from ssl_ecg.records import LEADS
from ssl_ecg.views import AUGMENTATIONS, Augment
from ssl_ecg.views.augment import NOISE

BATCH, SAMPLES, RATE = 128, 1000, 250.0
REPEATS = 30


def milliseconds(augment: Augment, signal: torch.Tensor) -> float:
    """Return the median processor time of a call."""
    durations = []
    for _ in range(REPEATS):
        started = time.process_time()
        augment(signal)
        durations.append(1000 * (time.process_time() - started))
    return median(durations)


def main() -> None:
    """Time each alone, then all in a chain; noise also where it is drawn at the electrodes."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"load average at the start: {os.getloadavg()[0]:.1f}; one thread, [{BATCH}, 12, {SAMPLES}] float32")
    signal = torch.randn(BATCH, len(LEADS), SAMPLES)
    for name in AUGMENTATIONS:
        alone = milliseconds(Augment({name: 0.3}, RATE, LEADS), signal)
        by_lead = f"; {milliseconds(Augment({name: 0.3}, RATE), signal):.1f} ms by lead" if name in NOISE else ""
        print(f"{name}: {alone:.1f} ms{by_lead}")
    print(f"all: {milliseconds(Augment(dict.fromkeys(AUGMENTATIONS, 0.3), RATE, LEADS), signal):.1f} ms")


if __name__ == "__main__":
    main()
