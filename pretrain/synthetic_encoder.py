"""Make the encoder that ships: ``python pretrain/synthetic_encoder.py WORK OUT [--epochs N]``.

Pretrains on simulated ECGs alone, drawn anew for every step, and writes the weights in half precision. A killed run
continues. Of the archive that is made in WORK for the purpose only the number, rate and length of its records count.
"""

from __future__ import annotations

import argparse
import logging
from pathlib import Path

import ssl_ecg
from ssl_ecg.archive.writer import ArchiveWriter
from ssl_ecg.backbones import save_encoder
from ssl_ecg.signals import SignalSettings

STEPS, BATCH, HELD_OUT = 50, 64, 192
"""Steps of an epoch, ECGs of a step, and ECGs of the validation loss."""

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("work", type=Path, help="folder of the run, to write or to continue")
parser.add_argument("out", type=Path, help="encoder folder to write, such as ssl_ecg/encoders/synthetic")
parser.add_argument("--epochs", type=int, default=40, help=f"of {STEPS} steps of {BATCH} ECGs")


def placeholder(folder: Path) -> Path:
    """Write an archive of as many empty records as an epoch has ECGs."""
    import numpy as np
    import pandas as pd

    count = STEPS * BATCH + HELD_OUT
    settings = SignalSettings()
    writer = ArchiveWriter(folder, settings, origin={"placeholder": count})
    if not writer.committed:
        names = [f"{number:05d}" for number in range(count)]
        signal = np.zeros((count, len(settings.leads), settings.samples), np.float32)
        manifest = {"record_id": names, "patient_id": names, "source": "simulated", "calibrated": True}
        unknown = {"age": np.nan, "sex": None, "recorded_at": pd.NaT}
        rates = {"original_rate": settings.sampling_rate, "original_duration": settings.duration}
        writer.write_part(signal, pd.DataFrame({**manifest, **unknown, **rates}))
    writer.finish()
    return folder


def main() -> None:
    """Pretrain, and write the half-precision encoder."""
    given = parser.parse_args()
    encoder = ssl_ecg.pretrain(
        placeholder(given.work / "archive"),
        given.work / "encoder",
        objective="simulation",
        backbone={"name": "xresnet1d18", "width": 32},
        epochs=given.epochs,
        batch_size=BATCH,
        validation=HELD_OUT / (STEPS * BATCH + HELD_OUT),
        learning_rate=2e-3,
        warmup_epochs=max(1, given.epochs // 20),
        patience=given.epochs,
        devices=1,
        progress=False,
    )
    # Nobody is behind these "patients": nothing has to be refused because of them.
    encoder.patients = frozenset()
    card = (given.work / "encoder" / "README.md").read_text(encoding="utf-8")
    save_encoder(encoder.half(), given.out, card)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
