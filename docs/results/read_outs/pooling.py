"""What the pooling over time is worth: ``python pooling.py ARCHIVE ENCODERS OUT``; ten minutes of one core.

Steps can be pooled otherwise than in pretraining, since pooling has no weights. ``ENCODERS`` are those of
``../few_labels``: ``fold1``, ``fold3`` and ``fold5``, none of which saw the patients of its fold. ``OUT/pooling.csv``
has the scores of PTB-XL's superclasses and rhythms.
"""

from __future__ import annotations

import logging
import sys
from pathlib import Path

from probing import ROUNDS, Features, Rows, compared, write

from ssl_ecg import open_archive
from ssl_ecg.backbones import Encoder, load_encoder
from ssl_ecg.backbones.base import POOLINGS
from ssl_ecg.comparison.arms import random_encoder
from ssl_ecg.labels import read_labels
from ssl_ecg.training.frozen import extract_features

TABLES = ("ptbxl_superdiagnostic", "ptbxl_rhythm")
PUBLISHED = "mean"


def pooled(encoder: Encoder, pooling: str) -> Encoder:
    """Return an encoder of the same weights whose steps are pooled otherwise."""
    other = Encoder(encoder.name, {**encoder.options, "pooling": pooling}, encoder.signal)
    other.load_state_dict(encoder.state_dict())
    return other.eval()


def as_it_is(features: Features, rows: Rows) -> tuple[Features, Rows]:
    """Return one feature vector per record."""
    return features[rows], rows


def main(folder: Path, encoders: Path, out: Path) -> None:
    """Probe every encoder with every pooling, and write the table."""
    logging.basicConfig(level=logging.WARNING)
    archive = open_archive(folder)
    out.mkdir(parents=True, exist_ok=True)
    found = {test: load_encoder(encoders / f"fold{test}") for test in ROUNDS}
    simulated = load_encoder("synthetic")
    sources = {
        "random weights": {test: random_encoder(found[test], test) for test in ROUNDS},
        "simulated hearts": dict.fromkeys(ROUNDS, simulated),
        "simulated hearts, then CMSC": found,
    }
    tables = []
    for name in TABLES:
        labels = read_labels(folder / "labels" / f"{name}.csv", archive)
        for source, of_round in sources.items():
            features = {
                pooling: {
                    test: extract_features(pooled(encoder, pooling), archive, labels.rows)
                    for test, encoder in of_round.items()
                }
                for pooling in POOLINGS
            }
            tables.append(compared(features, as_it_is, labels, PUBLISHED, {"labels": name, "encoder": source}))
    write(tables, out / "pooling.csv")


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
