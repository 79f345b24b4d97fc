"""Probe and finetune an encoder: ``python finetune/run.py ENCODER ARCHIVE LABELS OUT [--test-folds 10 ...]``."""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import ssl_ecg

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("encoder", help="encoder folder")
parser.add_argument("archive", help="archive of the labelled records")
parser.add_argument("labels", help="label table")
parser.add_argument("out", help="folder for three results: probe, model, scratch")
parser.add_argument("--validation-folds", type=int, nargs="*", default=[], help="folds that choose")
parser.add_argument("--test-folds", type=int, nargs="*", default=[], help="folds that test; without: patients drawn")


def main() -> None:
    """Score a linear probe, the finetuned encoder, and the same network from scratch on the same test patients."""
    options = parser.parse_args()
    data = (options.encoder, options.archive, options.labels)
    split = {"validation_folds": options.validation_folds, "test_folds": options.test_folds}
    out = Path(options.out)
    found = {
        "linear probe": ssl_ecg.probe(*data, out / "probe", split=split),
        "finetuned": ssl_ecg.finetune(*data, out / "model", split=split),
        "from scratch": ssl_ecg.finetune(*data, out / "scratch", split=split, scratch=True, training="scratch"),
    }
    for name, fitted in found.items():
        metrics = fitted.metrics
        interval = [metrics[f"macro_auroc_{end}"] for end in ("low", "high")]
        logging.info("%-12s macro AUROC %.3f (%.3f to %.3f)", name, metrics["macro_auroc"], *interval)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
