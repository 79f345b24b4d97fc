"""A step of the bimodal masked autoencoder at its published size, and where its time goes.

python benchmarks/masked.py [--threads 2]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from operators import shares
from torch.nn.attention import SDPBackend, sdpa_kernel

import ssl_ecg
from ssl_ecg.archive import Archive
from ssl_ecg.backbones import create_backbone
from ssl_ecg.objectives import create_objective
from ssl_ecg.training.batches import normalised

STEPS, ROUNDS = 3, 3


class Step:
    """Read a batch, forward, backward, AdamW: 12 leads, 10 s at 100 Hz, 6.5 million parameters.

    Args:
        archive: where batches come from.
        batch: ECGs of a batch.
        autocast: run the forward pass in bfloat16 where that is safe, as ``precision=bf16-mixed`` does.
        ratio: share of the tokens hidden, in both modalities.
        fused: attention as one operator, or as matrix products and a softmax.
    """

    def __init__(
        self, archive: Archive, batch: int = 64, autocast: bool = False, ratio: float = 0.75, fused: bool = True
    ) -> None:
        torch.manual_seed(0)
        self.archive, self.batch, self.autocast, self.fused = archive, batch, autocast, fused
        options: dict[str, Any] = {"ratio_time": ratio, "ratio_frequency": ratio, "connections": True}
        self.objective = create_objective("bimodal_mae", create_backbone("bimodal_vit"), 100.0, **options)
        self.optimizer = torch.optim.AdamW(self.objective.parameters(), lr=1e-4)
        self.random = np.random.default_rng(0)

    def __call__(self) -> None:
        """Run it."""
        rows = self.random.integers(len(self.archive), size=self.batch)
        read = {name: torch.from_numpy(part) for name, part in self.archive.read(rows)._asdict().items()}
        batch = normalised(read, self.archive.settings.normalise)
        kernel = nullcontext() if self.fused else sdpa_kernel(SDPBackend.MATH)
        with kernel, torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            loss = self.objective(batch)["loss"]
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def rates(steps: dict[str, Step]) -> dict[str, list[float]]:
    """Return ECGs per second of every step, run in turn."""
    for step in steps.values():
        step()
    found: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(ROUNDS):
        for name, step in steps.items():
            started = time.perf_counter()
            for _ in range(STEPS):
                step()
            found[name].append(STEPS * step.batch / (time.perf_counter() - started))
    return found


def main() -> None:
    """Time precisions, batch sizes, attention and mask ratios side by side; list the operators of a step."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    print(f"load average at the start: {os.getloadavg()[0]:.1f}; torch {torch.__version__}")
    with tempfile.TemporaryDirectory() as folder:
        archive = ssl_ecg.synthesize(Path(folder) / "archive", records=512)
        parameters = sum(p.numel() for p in Step(archive).objective.parameters())
        print(f"{parameters:,} parameters, {torch.get_num_threads()} threads")
        speed = rates(
            {
                f"{'bf16-mixed' if half else 'float32'}, batch {batch}": Step(archive, batch, half)
                for half in (False, True)
                for batch in (64, 128)
            }
            | {"float32, batch 64, attention not fused": Step(archive, fused=False)}
            | {f"float32, batch 64, {100 * ratio:g} % hidden": Step(archive, ratio=ratio) for ratio in (0.1, 0.5, 0.9)}
        )
        for name, values in speed.items():
            ratio = median(a / b for a, b in zip(values, speed["float32, batch 64"], strict=True))
            print(f"{name}: {median(values):.0f} ECG/s ({ratio:.2f})")
        for half in (False, True):
            step = Step(archive, autocast=half)
            step()
            print(f"{'bf16-mixed' if half else 'float32'}, share of a step by operator: {shares(step)}")


if __name__ == "__main__":
    main()
