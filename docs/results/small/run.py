"""Every run behind this page, one after the other: ``python run.py ARCHIVE ENCODER OUT``; a killed one continues.

Fold 1 of PTB-XL's superclasses tests, 7 chooses, the others train; the encoder was pretrained without fold 1.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

import ssl_ecg
from ssl_ecg.records import LEADS

SPLIT = {"name": "ptbxl", "validation_folds": (7,), "test_folds": (1,)}
TEACHER = {
    "augment": {"lead_masking": 0.3, "gaussian_noise": 0.1},
    "head": "zero",
    "layer_decay": 1.0,
    "precision": "bf16-mixed",
}
LEAD_SETS = (LEADS, ("I",), ("I", "II"), ("I", "II", "V2"), ("I", "II", "III", "V2"), LEADS[:6])
STEPS = {"steps": 1000, "epochs": None, "evaluations": 8, "precision": "bf16-mixed"}
ARMS: dict[str, dict[str, Any]] = {
    "distilled": {},
    "labels": {"soft": 0, "features": 0},
    "channels": {"student": "channels", "keep": 0.1875},
    "weights": {"student": "weights", "keep": 0.05},
}


def main(archive: Path, encoder: Path, out: Path) -> None:
    """Train the teacher, then the students: seed by seed, all lead sets of new networks, then the teacher's own."""
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    labels = archive / "labels" / "ptbxl_superdiagnostic.csv"
    ssl_ecg.finetune(encoder, archive, labels, out / "teacher", split=SPLIT, training=TEACHER, progress=False)
    jobs = [(arm, leads, seed) for seed in range(3) for leads in LEAD_SETS for arm in ("distilled", "labels")]
    jobs += [(arm, LEADS, seed) for seed in range(3) for arm in ("channels", "weights")]
    for arm, leads, seed in jobs:
        folder, training = out / f"{arm}-{len(leads)}-{seed}", {**STEPS, "seed": seed}
        options = {**ARMS[arm], "leads": leads, "training": training}
        found = ssl_ecg.distil(out / "teacher", archive, labels, folder, progress=False, **options)
        logging.info(
            "%s %s", folder.name, {name: found.metrics[name] for name in ("macro_auroc", "teacher_macro_auroc")}
        )


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
