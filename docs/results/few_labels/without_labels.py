"""The arm without labels, and means with it, beside runs that are finished.

``python without_labels.py ENCODERS ARCHIVE LABELS COMPARISON BASELINE OUT name=value ...``: takes the runs of a
comparison, those from scratch of another one that chose among more settings, and has ``compare`` add what is missing,
with the options of the comparison. It trains nothing.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ARMS = (
    "random_probe",
    "synthetic_zero_shot",
    "synthetic_probe",
    "pretrained_probe",
    "scratch",
    "scratch_ensemble",
    "scratch_blend",
    "pretrained_finetune",
    "pretrained_blend",
)
KEPT = ("random_probe", "synthetic_probe", "pretrained_probe", "scratch_ensemble", "pretrained_finetune")


def main(encoders: str, archive: str, labels: str, comparison: str, baseline: str, out: str, *options: str) -> None:
    """Lay the runs into ``OUT/runs`` and compare."""
    found = {arm: sorted(Path(comparison).glob(f"runs/{arm}-*")) for arm in KEPT}
    found["scratch"] = sorted(Path(baseline).glob("runs/scratch-*"))
    for run in (run for runs in found.values() for run in runs):
        shutil.copytree(run, Path(out) / "runs" / run.name, dirs_exist_ok=True)
    arms = [arm for arm in ARMS if found.get(arm, True)]
    words = (encoders, archive, labels, out, f"arms=[{','.join(arms)}]", *options)
    subprocess.run([sys.executable, "-m", "ssl_ecg", "compare", *words], check=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
