"""Pretrain on your own ECGs: ``python pretrain/run.py SOURCE ARCHIVE OUT [--patients TABLE] [--holdout LABELS]``."""

from __future__ import annotations

import argparse
import logging

import ssl_ecg

parser = argparse.ArgumentParser(description=__doc__, argument_default=argparse.SUPPRESS)
parser.add_argument("source", help="folder of WFDB records")
parser.add_argument("archive", help="archive to write, to continue or to add to")
parser.add_argument("out", help="encoder folder to write or to continue")
parser.add_argument("--patients", help="table of whose the records are")
parser.add_argument("--holdout", help="label table whose test patients must not be seen")
parser.add_argument("--backbone", help="network")
parser.add_argument("--epochs", help="passes over the archive")


def main() -> None:
    """Ingest, pretrain, and say how far the features are from collapse."""
    settings = vars(parser.parse_args())
    source, archive, out = (settings.pop(name) for name in ("source", "archive", "out"))
    ssl_ecg.ingest(source, archive, patients=settings.pop("patients", None))
    encoder = ssl_ecg.pretrain(archive, out, **settings)
    rank = encoder.origin["metrics"]["effective_rank"]
    logging.info("%s: %d features with an effective rank of %.0f", out, encoder.width, rank)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
