"""A pretraining step in float32 and bfloat16, and where its time goes. ``python benchmarks/pretraining.py``."""

from __future__ import annotations

import os
import time
from statistics import median

import torch
from operators import shares

from ssl_ecg.backbones import create_backbone
from ssl_ecg.objectives import create_objective

BATCH, STEPS, ROUNDS = 128, 2, 3


class Step:
    """One optimisation step of CMSC on xresnet1d18 as shipped with random ECGs of 12 leads and 10 s at 100 Hz.

    Args:
        autocast: run the forward pass in bfloat16 where that is safe, as ``precision=bf16-mixed`` does.
    """

    def __init__(self, autocast: bool) -> None:
        torch.manual_seed(0)
        self.autocast = autocast
        backbone = create_backbone("xresnet1d18")
        self.objective = create_objective("cmsc", backbone, 100.0)
        self.optimizer = torch.optim.AdamW(self.objective.parameters(), lr=1e-3)
        self.batch = {"signal": torch.randn(BATCH, 12, 1000), "patient": torch.arange(BATCH)}

    def __call__(self) -> None:
        """Run it."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            loss = self.objective(self.batch)["loss"]
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def main() -> None:
    """Time both precisions in turn, then list the operators that take most of a step."""
    torch.set_num_threads(1)
    print(
        f"load average at the start: {os.getloadavg()[0]:.1f}; {torch.__version__}, {torch.get_num_threads()} threads"
    )
    steps = {"float32": Step(False), "bf16-mixed": Step(True)}
    speed: dict[str, list[float]] = {name: [] for name in steps}
    for step in steps.values():
        step()
    for _ in range(ROUNDS):
        for name, step in steps.items():
            started = time.process_time()
            for _ in range(STEPS):
                step()
            speed[name].append(STEPS * BATCH / (time.process_time() - started))
    for name, rates in speed.items():
        print(f"{name}: {median(rates):.0f} ECGs a core-second")
    print(f"ratio {median(b / a for a, b in zip(speed['float32'], speed['bf16-mixed'], strict=True)):.2f}")
    for name, step in steps.items():
        print(f"{name}, share of a step by operator: {shares(step)}")


if __name__ == "__main__":
    main()
