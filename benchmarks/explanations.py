"""Do Grad-CAM maps lie where the truth is? The numbers and the picture of docs/explanations.md.

In synthetic ECGs the risk of AF is in the P wave, and low LVEF in QRS, ST and T. A small network learns both from
sinus rhythm; its maps of unseen patients are compared with flat ones and with those of random weights.

    python benchmarks/explanations.py [PICTURE.png]
"""

from __future__ import annotations

import sys
import time
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

import ssl_ecg  # noqa: F401
from ssl_ecg.backbones import Encoder
from ssl_ecg.explain import beat_shares, ecg_figure, grad_cam, r_peaks
from ssl_ecg.records import LEADS
from ssl_ecg.signals import SignalSettings
from ssl_ecg.signals.filters import condition
from ssl_ecg.synthetic import draw_ecgs
from ssl_ecg.tasks import create_task
from ssl_ecg.tasks.classifier import Classifier

SIGNAL = SignalSettings(normalise="record")
# One stage: its steps of 40 ms can tell a P wave from a QRS complex.
BACKBONE = {"width": 24, "depths": [2]}
CARRIER = {"high_af_risk": ["P"], "low_lvef": ["QRS", "ST"]}
CLASSES = tuple(CARRIER)
CROP, STEPS, BATCH, LEARNING_RATE = 250, 300, 64, 5e-3
RANDOM_SEEDS = range(1, 6)


class Cohort:
    """Synthetic ECGs of sinus rhythm, one a patient.

    Args:
        records: how many.
        seed: of the patients.

    Attributes:
        millivolts: float32 [n, 12, T].
        signal: [n, 12, T], the same as a tensor.
        targets: [n, 2], of ``CLASSES``.
        truth: one row per record.
        peaks: R times of each record, samples.
    """

    def __init__(self, records: int, seed: int) -> None:
        ecgs = draw_ecgs(records, seed=seed, visits=(1, 1), conditions=["sinus_rhythm"])
        self.millivolts = np.stack([condition(signal, 100.0, SIGNAL) for signal in ecgs.signal])
        self.signal = torch.from_numpy(self.millivolts)
        self.truth = ecgs.truth
        positive = np.stack([self.truth["risk_5y"] > 0.25, self.truth["low_lvef"] == 1], axis=1)
        self.targets = torch.from_numpy(positive.astype(np.float32))
        self.peaks = [r_peaks(signal, 100.0) for signal in self.millivolts]

    def positive(self, name: str, most: int = 40) -> np.ndarray:
        """Return the rows of the first positive records of a class."""
        return np.flatnonzero(self.targets[:, CLASSES.index(name)] == 1)[:most]

    def share(self, heat: np.ndarray | Tensor, name: str) -> float:
        """Return the mean share of maps of the positive records that is on the part which carries the class."""
        rows = self.positive(name)
        shares = beat_shares(heat, [self.peaks[row] for row in rows], 100.0, self.truth.iloc[rows])
        return float(shares.mean()[CARRIER[name]].sum())


def untrained(seed: int) -> Classifier:
    """Return a network of random weights, the head's too."""
    torch.manual_seed(seed)
    model = Classifier(Encoder("xresnet1d10", BACKBONE, SIGNAL), create_task("arrhythmia", CLASSES))
    torch.nn.init.normal_(model.head.weight, std=0.1)
    return model.eval()


def trained(cohort: Cohort) -> Classifier:
    """Train a network for both classes; half of each batch has a low LVEF, which one record in ten has."""
    model, rng = untrained(0).train(), np.random.default_rng(0)
    signals = model.encoder.prepare(cohort.signal).signal
    optimiser = torch.optim.AdamW(model.parameters(), LEARNING_RATE)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, LEARNING_RATE, total_steps=STEPS)
    low = cohort.targets[:, CLASSES.index("low_lvef")] == 1
    groups = [np.flatnonzero(low), np.flatnonzero(~low)]
    for _ in range(STEPS):
        rows = np.concatenate([rng.choice(group, BATCH // 2) for group in groups])
        start = int(rng.integers(signals.shape[2] - CROP))
        crop = signals[rows, :, start : start + CROP]
        loss = model.task.loss(model.head(model.encoder.backbone(crop)), cohort.targets[rows])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        schedule.step()
    return model.eval()


def measure(model: Classifier, cohort: Cohort) -> pd.DataFrame:
    """Compare the maps of the positive records of each class with others.

    Returns:
        A row a class: ``trained``, ``chance`` (a flat map), ``other_class`` (the map of the other class of the same
        records) and ``random`` (mean over random networks): shares on the part that carries the class; and
        ``correlation`` of the map with those of random networks, the mean over them.
    """
    rows = {}
    for name in CLASSES:
        signal = cohort.signal[cohort.positive(name)]
        heat = grad_cam(model, signal, name)
        other = grad_cam(model, signal, CLASSES[1 - CLASSES.index(name)])
        random = [grad_cam(untrained(seed), signal, name) for seed in RANDOM_SEEDS]
        random = [each for each in random if each.any()]  # nothing speaks for the class in some
        rows[name] = {
            "trained": cohort.share(heat, name),
            "chance": cohort.share(np.ones_like(heat), name),
            "other_class": cohort.share(other, name),
            "random": float(np.mean([cohort.share(each, name) for each in random])),
            "correlation": float(np.mean([np.corrcoef(heat.ravel(), each.ravel())[0, 1] for each in random])),
        }
    return pd.DataFrame(rows).T


def draw(model: Classifier, cohort: Cohort, path: Path) -> None:
    """Write the map of AF risk of the record with the highest score, as a small PNG."""
    from PIL import Image

    rows = cohort.positive("high_af_risk")
    with torch.no_grad():
        row = rows[model(cohort.signal[rows])[:, 0].argmax()]
    heat = grad_cam(model, cohort.signal[row : row + 1], "high_af_risk")[0]
    figure = ecg_figure(cohort.millivolts[row], LEADS, 100.0, heat, title="Synthetic ECG: Grad-CAM of high risk of AF")
    buffer = BytesIO()
    figure.savefig(buffer, dpi=90)
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.open(buffer).convert("RGB").quantize(32).save(path, optimize=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    started = time.process_time()
    network, unseen = trained(Cohort(1200, seed=1)), Cohort(300, seed=2)
    print(measure(network, unseen).round(2).to_string())
    print(f"{time.process_time() - started:.0f} s of processor time")
    if len(sys.argv) > 1:
        draw(network, unseen, Path(sys.argv[1]))
