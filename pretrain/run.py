"""Pretrain on your own ECGs: ``python pretrain/run.py SOURCE ARCHIVE OUT [--holdout LABELS]``."""

from __future__ import annotations

import argparse
import logging

import ssl_ecg

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("source", help="folder of WFDB records")
parser.add_argument("archive", help="archive to write, to continue or to add to")
parser.add_argument("out", help="encoder folder to write or to continue")
parser.add_argument("--holdout", help="label table whose test patients must not be seen")
parser.add_argument("--backbone", default="xresnet1d18")
parser.add_argument("--epochs", type=int, default=16)


def main() -> None:
    """Ingest, pretrain, and say how far the features are from collapse."""
    options = parser.parse_args()
    ssl_ecg.ingest(options.source, options.archive)
    encoder = ssl_ecg.pretrain(
        options.archive, options.out, holdout=options.holdout, backbone=options.backbone, epochs=options.epochs
    )
    rank = encoder.origin["metrics"]["effective_rank"]
    logging.info("%s: %d features with an effective rank of %.0f", options.out, encoder.width, rank)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
