"""Arms of one comparison against the baseline of another, which chose among more settings.

``python four_settings.py ENCODERS ARCHIVE COMPARISON BASELINE OUT``: both comparisons of the page, with their runs.
"""

from __future__ import annotations

import sys
from pathlib import Path

from ssl_ecg import SplitSettings, load_encoder, open_archive
from ssl_ecg.comparison import rounds_of
from ssl_ecg.comparison.summary import Part, summarise
from ssl_ecg.tasks import read_task

PAIRS = (
    ("pretrained_probe", "random_probe"),
    ("pretrained_probe", "scratch"),
    ("pretrained_finetune", "scratch"),
    ("pretrained_finetune", "pretrained_probe"),
    ("pretrained_blend", "scratch"),
    ("pretrained_blend", "pretrained_finetune"),
    ("synthetic_probe", "random_probe"),
    ("synthetic_probe", "scratch"),
    ("pretrained_probe", "synthetic_probe"),
)


def main(encoders: Path, folder: Path, comparison: Path, baseline: Path, out: Path) -> None:
    """Write ``summary.csv`` and the other tables of a comparison into ``out``."""
    archive = open_archive(folder)
    labels, task = read_task("arrhythmia", folder / "labels" / "ptbxl_superdiagnostic.csv", archive)
    rounds = rounds_of([load_encoder(path) for path in sorted(encoders.iterdir())], labels, SplitSettings())
    parts = []
    for number, one in enumerate(rounds, 1):
        runs = [path for path in comparison.glob(f"runs/*-round{number}") if not path.name.startswith("scratch")]
        runs += baseline.glob(f"runs/scratch-*-round{number}")
        parts.append(Part(sorted(runs), one.splits))
    out.mkdir(parents=True, exist_ok=True)
    summarise(out, parts, [PAIRS], labels, 2000, task)


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
