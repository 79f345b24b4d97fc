"""How often a model abstains, and from what: ``python run.py MODEL ARCHIVE``, a minute.

MODEL is finetuned on PTB-XL's superclasses, with fold 9 as its test; ARCHIVE holds all real ECGs.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from ssl_ecg import load_model, open_archive
from ssl_ecg.archive import Archive
from ssl_ecg.signals import Signals
from ssl_ecg.tasks import Classifier

LEVELS = (0.01, 0.05)
Floats = NDArray[np.float32]


def p_values(model: Classifier, signals: Signals) -> Floats:
    """Return how typical records are, in batches."""
    parts = [
        Signals(*(torch.from_numpy(part[first : first + 64]) for part in signals))
        for first in range(0, len(signals.signal), 64)
    ]
    with torch.inference_mode():
        return np.concatenate([model.judged(*part)[:, -1].numpy() for part in parts])


def sets(archive: Archive) -> dict[str, NDArray[np.int64]]:
    """Return the rows of each kind of record."""
    labels = archive.folder / "labels"
    ptbxl = pd.read_csv(labels / "ptbxl_superdiagnostic.csv")
    quality = pd.read_csv(labels / "cinc2011.csv").set_index("record_id")["acceptable"]
    source, names = archive.manifest["source"].astype(str), archive.manifest["record_id"]
    return {
        "PTB-XL, test patients": archive.rows(ptbxl.loc[ptbxl["fold"] == 9, "record_id"]),
        "CPSC 2018": np.flatnonzero(source.str.endswith("cpsc2018")),
        "LUDB": np.flatnonzero(source.str.endswith("ludb")),
        "CinC 2011, acceptable": np.flatnonzero(names.astype(object).map(quality) == 1),
        "CinC 2011, unacceptable": np.flatnonzero(names.astype(object).map(quality) == 0),
    }


RNG = np.random.default_rng(0)
CHANGED: dict[str, Callable[[Floats], Floats]] = {
    "upside down": lambda x: -x,
    "backwards": lambda x: x[..., ::-1].copy(),
    "leads in another order": lambda x: RNG.permuted(x, axis=1),
    "arms exchanged": lambda x: np.concatenate([-x[:, :1], x[:, [2, 1, 4, 3, 5]], x[:, 6:]], axis=1),
    "noise as strong as the ECG": lambda x: x + x.std(-1, keepdims=True) * RNG.normal(size=x.shape).astype(np.float32),
    "noise alone": lambda x: RNG.normal(size=x.shape).astype(np.float32),
}


def main(model: Path, archive: Path) -> None:
    """Print one row per kind of record."""
    judge, ecgs = load_model(model), open_archive(archive)
    kinds = {name: ecgs.read(rows) for name, rows in sets(ecgs).items() if len(rows)}
    own = next(iter(kinds.values()))
    kinds |= {f"test patients, {name}": own._replace(signal=change(own.signal)) for name, change in CHANGED.items()}
    found = {name: p_values(judge, signals) for name, signals in kinds.items()}
    usual = next(iter(found.values()))
    print(
        "| records | n | AUROC | " + " | ".join(f"p at most {level}" for level in LEVELS) + " |\n|---|---|---|---|---|"
    )
    for name, p in found.items():
        auroc = "" if p is usual else f"{roc_auc_score([0] * len(usual) + [1] * len(p), -np.r_[usual, p]):.3f}"
        shares = " | ".join(f"{(p <= level).mean():.1%}" for level in LEVELS)
        print(f"| {name} | {len(p)} | {auroc} | {shares} |")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
