"""How time and memory grow with archives, lengths, rates and batches. ``python benchmarks/growth.py [--json FILE]``.

Some minutes of one core. Every row is measured in a process of its own: processor seconds of one thread, and the peak
of its memory with all imports (Linux). Signals, features and scores are fabricated: only their sizes are at stake.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

CLASSES, FEATURES = 5, 512
RECORDS = (3_000, 30_000, 300_000)
DEFAULT = {"seconds": 10, "rate": 100, "batch": 64}
STEPS = (
    *({**DEFAULT, "batch": batch} for batch in (64, 256, 1024)),
    *({**DEFAULT, "seconds": seconds} for seconds in (20, 60)),
    {**DEFAULT, "rate": 500},
)


def pretraining_step(seconds: int, rate: int, batch: int) -> dict[str, float]:
    """Time one step of default pretraining, bf16 where the processor has it."""
    import torch
    from steps import Step, machine

    from ssl_ecg.training import PretrainSettings

    torch.set_num_threads(1)
    signal = torch.randn(batch, 12, seconds * rate)
    step = Step(PretrainSettings(), signal, torch.arange(batch), "bf16" if machine()["bfloat16"] else "float32")
    step()
    began = time.process_time()
    step()
    return {"ecg_per_second": batch / (time.process_time() - began)}


def probe(records: int) -> dict[str, float]:
    """Fit a linear probe, its strength chosen on a tenth as many validation records."""
    from ssl_ecg.tasks import create_task

    rng = np.random.default_rng(0)
    x = rng.normal(size=(records + records // 10, FEATURES)).astype(np.float32)
    scores = x[:, :CLASSES] + 2 * rng.normal(size=(len(x), CLASSES))
    y = (scores > np.quantile(scores, 0.8, axis=0)).astype(np.float32)
    task = create_task("arrhythmia", tuple("abcde"))
    began = time.process_time()
    task.fit_probe(x[:records], y[:records], x[records:], y[records:])
    return {"seconds": time.process_time() - began}


def intervals(records: int) -> dict[str, float]:
    """Score a run on 1,000 draws of test patients, one in ten of these records."""
    from ssl_ecg.evaluation import bootstrap_metrics

    rng, count = np.random.default_rng(0), records // 10
    labels = (rng.random((count, CLASSES)) < 0.2).astype(float)
    began = time.process_time()
    bootstrap_metrics(labels, labels + rng.normal(size=labels.shape), np.arange(count))
    return {"seconds": time.process_time() - began}


WHAT: dict[str, Callable[..., dict[str, float]]] = {
    "pretraining_step": pretraining_step,
    "probe": probe,
    "intervals": intervals,
}


def measured(what: str, options: dict[str, int]) -> dict[str, Any]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, what, json.dumps(options)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return {"what": what, **options, **json.loads(done.stdout.splitlines()[-1])}


def itself(what: str, options: dict[str, int]) -> None:
    """Run a measurement and print it."""
    found = WHAT[what](**options)
    peak = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text("ascii"))
    print(json.dumps({**found, "MB": int(peak[1]) / 1e3 if peak else None}))


def main() -> None:
    """Measure all."""
    from steps import machine

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path, help="file for the rows")
    given = parser.parse_args()
    print(*(f"{name}: {value}" for name, value in machine().items()), sep="; ")
    rows = []
    jobs = [("pretraining_step", options) for options in STEPS]
    jobs += [(what, {"records": records}) for what in ("probe", "intervals") for records in RECORDS]
    for what, options in jobs:
        rows.append(measured(what, options))
        print(*(f"{name} {value:,.4g}" if name != "what" else value for name, value in rows[-1].items()), sep="; ")
    if given.json:
        given.json.write_text(json.dumps({"machine": machine(), "rows": rows}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) == 3 and sys.argv[1] in WHAT:
        itself(sys.argv[1], json.loads(sys.argv[2]))
    else:
        main()
