"""What the benchmarks share: a training step, calls timed in turn, and the machine they ran on."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Mapping
from statistics import median
from typing import Any

import torch

from ssl_ecg.backbones import create_backbone
from ssl_ecg.objectives import create_objective
from ssl_ecg.training import PretrainSettings

RATE = 100.0  # Hz
AUTOCAST = {"float32": False, "bf16": True}


class Step:
    """One optimisation step of an objective with its recipe: forward, backward, AdamW.

    Args:
        settings: objective and backbone.
        signal: normalised, [B, L, T].
        patient: int64 [B].
        precision: "float32", or "bf16" for the forward pass in bfloat16 where that is safe, as bf16-mixed has it.
    """

    def __init__(
        self, settings: PretrainSettings, signal: torch.Tensor, patient: torch.Tensor, precision: str = "float32"
    ) -> None:
        torch.manual_seed(0)
        network, learned = settings.backbone, settings.objective
        backbone = create_backbone(network.name, in_leads=signal.shape[1], **network.options)
        self.objective = create_objective(learned.name, backbone, RATE, **learned.options)
        self.optimizer = torch.optim.AdamW(self.objective.parameters(), lr=settings.learning_rate)
        self.autocast = AUTOCAST[precision]
        self.batch = {
            "signal": signal,
            "recorded": torch.full(signal.shape[:1], signal.shape[2]),
            "leads": torch.ones(signal.shape[:2], dtype=torch.bool),
            "patient": patient,
            "row": torch.arange(len(signal)),
            "progress": torch.tensor(0.5),
        }

    def __call__(self) -> None:
        """Run it."""
        with torch.autocast("cpu", torch.bfloat16, enabled=self.autocast):
            loss = self.objective(self.batch)["loss"]
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


def in_turn(runs: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Return the processor seconds of calls made in turn, round by round, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for number in range(rounds + 1):
        for name, run in runs.items():
            started = time.process_time()
            run()
            if number:
                seconds[name].append(time.process_time() - started)
    return seconds


def ratios(seconds: Mapping[str, list[float]], above: str, below: str) -> list[float]:
    """Return, smallest first, of every round how many times as long one took as the other."""
    return sorted(a / b for a, b in zip(seconds[above], seconds[below], strict=True))


def ratio(seconds: Mapping[str, list[float]], above: str, below: str) -> float:
    """Return the median of ``ratios``."""
    return median(ratios(seconds, above, below))


def machine() -> dict[str, Any]:
    """Describe where this runs."""
    able = getattr(torch.cpu, "get_capabilities", dict[str, Any])()
    return {
        "processor": able.get("cpu_name") or platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "bfloat16": bool(able.get("avx512_bf16") or able.get("amx_bf16")),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
    }
