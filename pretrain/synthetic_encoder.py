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
from ssl_ecg.backbones import Encoder, save_encoder
from ssl_ecg.runs import Table, model_card
from ssl_ecg.signals import SignalSettings

STEPS, BATCH, HELD_OUT = 50, 64, 192
"""Steps of an epoch, ECGs of a step, and ECGs of the validation loss."""

LIMITS = """\
Simulated hearts are simple: one dipole, Gaussian waves, findings by their textbook definitions. What is rare or subtle
in real ECGs is not in them. The features are a start for labels or archives of one's own, to be compared with
`ssl-ecg compare`; they are no diagnosis. Signals of other leads, rates, lengths or filters are refused."""

FINDINGS = """\
## Without any label
`ssl-ecg predict synthetic ecgs predictions`, or `ssl_ecg.load_model("synthetic")`, scores ECGs for 50 conditions by a
linear layer that 4,000 simulated ECGs taught (`python pretrain/synthetic_findings.py OUT`); no label of a real ECG
had a part in it. Scores rank ECGs by one condition. They are no probabilities, since conditions are simulated far
more evenly than a clinic sees them; there are no thresholds, so nothing is named, and no typicality, since that would
compare with simulated ECGs. It is for finding ECGs in an archive, not for care.
`docs/simulation.md` says how well it finds what in real ECGs."""

parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
parser.add_argument("work", type=Path, help="folder of the run, to write or to continue")
parser.add_argument("out", type=Path, help="encoder folder to write, such as ssl_ecg/encoders/synthetic")
parser.add_argument("--epochs", type=int, default=20, help=f"of {STEPS} steps of {BATCH} ECGs")


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


def card(encoder: Encoder) -> str:
    """Return the model card, Markdown."""
    origin, signal = encoder.origin, encoder.signal
    facts = [
        (
            "network",
            f"{encoder.name} of width {encoder.options['width']}: {origin['parameters']:,} parameters, float16",
        ),
        ("features", encoder.width),
        ("leads", ", ".join(signal.leads)),
        ("signal", f"{signal.sampling_rate:g} Hz, {signal.duration:g} s, {signal.band[0]:g} to {signal.band[1]:g} Hz"),
        ("normalisation", signal.normalise),
        (
            "simulated ECGs",
            f"{origin['simulated_ecgs']:,} in {origin['simulated_ecgs'] // BATCH:,} steps, each seen once",
        ),
        ("patients", "none"),
        ("training", f"{origin['seconds']:.0f} s on one slow, shared CPU core"),
    ]
    losses = ", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in origin["metrics"].items())
    about = (
        "Pretrained by `ssl_ecg` on simulated ECGs alone: to name what they show, to measure amplitudes, intervals, "
        "axis, rate and noise, and to find P, R and T. It has never seen a recording of anybody. Load it with "
        '`ssl_ecg.load_encoder("synthetic")`, continue from it with `ssl-ecg pretrain ARCHIVE OUT start=synthetic '
        "backbone=xresnet1d18 backbone.width=32`; `docs/simulation.md` says what is simulated and what it is worth on "
        "real ECGs. Licence: that of `ssl_ecg`."
    )
    made = (
        f"`python pretrain/synthetic_encoder.py WORK OUT --epochs {origin['epochs_run']}` makes it. Losses: {losses}."
    )
    blocks = [about, Table(("", ""), facts), made, FINDINGS]
    return model_card("ECG encoder: synthetic", blocks, LIMITS, origin["settings"])


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
    # The archive was a placeholder: nobody is behind its records, and no test has to be refused because of them.
    nobody = dict.fromkeys(("records", "training_records", "validation_records", "patients"), 0)
    encoder.patients = frozenset()
    encoder.origin |= {**nobody, "simulated_ecgs": encoder.origin["epochs_run"] * STEPS * BATCH}
    save_encoder(encoder.half(), given.out, card(encoder))


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
