"""Sizes and speeds of all backbones: the table of docs/backbones.md. ``python benchmarks/backbones.py [--speed]``."""

from __future__ import annotations

import argparse
import time
from statistics import median
from typing import Any

import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from ssl_ecg.backbones import create_backbone, list_backbones

LEADS, SAMPLES, BATCH = 12, 1000, 32


def parameters(backbone: Any) -> int:
    """Return the number of trainable parameters."""
    return sum(p.numel() for p in backbone.parameters() if p.requires_grad)


@torch.no_grad()
def multiply_accumulates(backbone: Any) -> float:
    """Return the multiply-accumulates of one record's convolutions and matrix products; FFTs are not counted."""
    # The counter knows attention on the CPU only by its plain matrix products.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        backbone.eval()(torch.zeros(1, LEADS, SAMPLES))
    return counter.get_total_flops() / 2


def training_speed(backbone: Any, repeats: int = 3) -> float:
    """Return the records a second of processor time, forward and backward in float32 on one thread."""
    backbone.train()
    signal, durations = torch.randn(BATCH, LEADS, SAMPLES), []
    for _ in range(repeats + 1):
        started = time.process_time()
        backbone(signal).sum().backward()
        durations.append(time.process_time() - started)
    return BATCH / median(durations[1:])  # the first call makes what later ones reuse


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speed", action="store_true", help="measure training speed too; some minutes")
    speed = parser.parse_args().speed
    torch.set_num_threads(1)
    print("| backbone | parameters | million MACs | D |" + (" ECG/s |" if speed else ""))
    print("|---|---:|---:|---:|" + ("---:|" if speed else ""))
    for name in list_backbones():
        torch.manual_seed(0)
        backbone = create_backbone(name, in_leads=LEADS)
        row = (
            f"| `{name}` | {parameters(backbone):,} | {multiply_accumulates(backbone) / 1e6:,.1f} | {backbone.width} |"
        )
        print(row + (f" {training_speed(backbone):,.0f} |" if speed else ""), flush=True)


if __name__ == "__main__":
    main()
