"""Draw a simulated ECG of each kind that ingest refuses or tells of: ``python benchmarks/rejections.py FOLDER``.

The title of each is what ``ssl_ecg.records.check_record`` says of it.
"""

from __future__ import annotations

import argparse
import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ssl_ecg.explain import ecg_figure
from ssl_ecg.records import LEADS, Record, RecordError, check_record, clean
from ssl_ecg.signals import SignalSettings
from ssl_ecg.synthetic.simulator import simulate

RATE = 250
COLUMNS, WIDTH, COLOURS = 2, 640, 24
"""ECGs in a row, pixels of each, and colours of the picture."""

Signal = NDArray[np.float32]

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", type=Path)


def flat(signal: Signal) -> None:
    """An electrode that is off."""
    signal[LEADS.index("V2")] = 0


def saturated(signal: Signal) -> None:
    """An amplifier at its limit."""
    signal[LEADS.index("II")] = signal[1].clip(-0.1, 0.15)


def identical(signal: Signal) -> None:
    """A cable that is plugged in twice."""
    signal[LEADS.index("V5")] = signal[LEADS.index("V4")]


def popped(signal: Signal) -> None:
    """An electrode that loses contact for a moment."""
    row = signal[LEADS.index("V3")]
    row *= 0.1
    row[1500:1510] += 14


def amplitude(signal: Signal) -> None:
    """A lead of another gain."""
    signal[LEADS.index("V1")] *= 6


def resolution(signal: Signal) -> None:
    """A unit that is too large for what is stored in it."""
    signal[:] = np.round(signal / 0.04) * 0.04


def gap(signal: Signal) -> None:
    """A second that was not recorded."""
    signal[LEADS.index("V6"), 2000:2250] = np.nan


def small(signal: Signal) -> None:
    """A gain that is wrong."""
    signal[:] = signal / 4.88


def inverted(signal: Signal) -> None:
    """A lead that was stored upside down."""
    signal[0] *= -1


KINDS: tuple[Callable[[Signal], None], ...] = (
    flat,
    saturated,
    identical,
    popped,
    amplitude,
    resolution,
    gap,
    small,
    inverted,
)


def told(signal: Signal) -> str:
    """Return what the quality check says of an ECG."""
    try:
        findings, _ = check_record(clean(Record(signal, RATE, LEADS)), LEADS)
    except RecordError as error:
        return f"rejected: {error}"
    return f"kept, {'; '.join(findings) or 'nothing found'}"


def drawn(signal: Signal) -> Image.Image:
    """Return an ECG on paper, under what is said of it."""
    title = told(signal)
    title = title if len(title) < 100 else f"{title[:97]}..."
    figure = ecg_figure(signal, LEADS, RATE, title=title)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150)
    image = Image.open(picture).convert("RGB")
    return image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)


def main() -> None:
    """Draw the sheet."""
    torch.manual_seed(4)
    drawn_ones = simulate(32, SignalSettings(sampling_rate=RATE, band=(0.5, 100)), conditions=[]).signal.numpy()
    usual = np.median(np.ptp(drawn_ones, axis=2), axis=1)
    good = drawn_ones[np.argmin(np.abs(usual - 1.5))]  # of a usual voltage, so that each rule stands alone
    images = [drawn(good.copy())]
    for spoil in KINDS:
        signal = good.copy()
        spoil(signal)
        images.append(drawn(signal))
    height = images[0].height
    sheet = Image.new("RGB", (COLUMNS * WIDTH, -(-len(images) // COLUMNS) * height), "white")
    for place, image in enumerate(images):
        sheet.paste(image, (place % COLUMNS * WIDTH, place // COLUMNS * height))
    path = parser.parse_args().folder / "rejections.png"
    sheet.quantize(COLOURS, dither=Image.Dither.NONE).save(path, optimize=True)


if __name__ == "__main__":
    main()
