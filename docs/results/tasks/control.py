"""The baseline once more with twice as many settings to choose from: ``python control.py ARCHIVE OUT``, half an hour.

OUT is where ``run.py`` wrote. From scratch is trained again at two learning rates, with and without augmentation, and
the other arms, whose runs lie in OUT, are compared with it on the same draws of patients.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
from run import COMPARISONS, FOLDS, SHARED

from ssl_ecg import SplitSettings, open_archive
from ssl_ecg.evaluation import Bootstrap
from ssl_ecg.tasks import read_task

AUGMENT = "augment: {lead_masking: 0.3, gaussian_noise: 0.1}"
RATES = ("learning_rate: 0.001", "learning_rate: 0.003")
CANDIDATES = "[" + ",".join([*(f"{{{rate}}}" for rate in RATES), *(f"{{{rate}, {AUGMENT}}}" for rate in RATES)]) + "]"
ARMS = ("synthetic_probe", "pretrained_finetune", "pretrained_blend")


def main(real: Path, out: Path) -> None:
    """Train, compare and print one row per comparison and share of the labels."""
    archive, split = open_archive(real), SplitSettings(validation_folds=(8,), test_folds=(9,))
    print("| comparison | labels | from scratch, four settings | " + " | ".join(f"{arm} - it" for arm in ARMS) + " |")
    print("|---|---|---|" + "---|" * len(ARMS))
    for name, fractions, *options in COMPARISONS:
        if name.startswith(("synthetic", "simulated")):
            continue
        labels = (real if name.startswith("ptbxl") else out) / "labels" / f"{name}.csv"
        there = out / "control" / name
        classes = [option for option in options if option.startswith("classes=")]
        command = [sys.executable, "-m", "ssl_ecg", "compare", out / "real_encoder", real, labels, there]
        command += [f"fractions={fractions}", *FOLDS, *SHARED[1:], "arms=[scratch]", *classes]
        command += [f"scratch_candidates={CANDIDATES}", f"pretrained_candidates={CANDIDATES}"]
        subprocess.run([*map(str, command)], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        chosen = classes[0].removeprefix("classes=[").rstrip("]").split(",") if classes else None
        table, task = read_task("arrhythmia", labels, archive, chosen)
        test = split.split(table).test
        judge = Bootstrap(table.targets[test], table.patient[test], metrics=task.weighted_metrics)

        def scored(folder: Path, arm: str, fraction: str, judge: Bootstrap = judge) -> list[dict[str, np.ndarray]]:
            runs = (folder / "runs" / f"{arm}-{fraction}-{seed}" / "test_scores.npy" for seed in range(3))
            return [judge.score(np.load(run)) for run in runs]

        for fraction in fractions.strip("[]").split(","):
            scratch = scored(there, "scratch", fraction)
            mean = judge.intervals(scratch)["macro_auroc"]
            cells = [f"{mean.mean:.3f} ({mean.low:.3f} to {mean.high:.3f})"]
            for arm in ARMS:
                found = judge.differences(scored(out / name, arm, fraction), scratch)["macro_auroc"]
                cells.append(f"{found.mean:+.3f} ({found.low:+.3f} to {found.high:+.3f}, p {found.p_value:.2g})")
            print(f"| {name} | {float(fraction):.0%} | " + " | ".join(cells) + " |", flush=True)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
