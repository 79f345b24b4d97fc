"""Draw simulated ECGs of a dozen findings on millimetre paper: ``python benchmarks/simulated_ecgs.py FOLDER``."""

from __future__ import annotations

import argparse
import io
from pathlib import Path

import torch
from PIL import Image

from ssl_ecg.explain import ecg_figure
from ssl_ecg.signals import SignalSettings
from ssl_ecg.synthetic.simulator import simulate

SHEETS = {
    "simulated_conduction.png": [
        [],
        ["left_bundle_branch_block"],
        ["right_bundle_branch_block", "left_anterior_fascicular_block"],
        ["wolff_parkinson_white"],
        ["mobitz_1_av_block"],
        ["ventricular_pacing"],
        ["atrial_fibrillation", "premature_ventricular_contraction"],
        ["atrial_flutter"],
    ],
    "simulated_shapes.png": [
        ["anterior_infarction", "acute_infarction"],
        ["inferior_infarction", "recent_infarction"],
        ["left_ventricular_hypertrophy"],
        ["right_ventricular_hypertrophy", "right_atrial_enlargement"],
        ["st_depression"],
        ["long_qt"],
        ["low_voltage"],
        ["arms_swapped"],
    ],
}
COLUMNS, WIDTH, COLOURS = 2, 640, 24
"""ECGs in a row, pixels of each, and colours of the picture."""

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("folder", type=Path)


def drawn(findings: list[str]) -> Image.Image:
    """Return one simulated ECG on paper."""
    settings = SignalSettings(sampling_rate=250, band=(0.5, 100))
    signal = simulate(1, settings, conditions=findings).signal[0].numpy()
    title = ", ".join(findings).replace("_", " ") or "no finding"
    figure = ecg_figure(signal, settings.leads, settings.sampling_rate, title=title)
    picture = io.BytesIO()
    figure.savefig(picture, dpi=150)
    image = Image.open(picture).convert("RGB")
    return image.resize((WIDTH, round(image.height * WIDTH / image.width)), Image.Resampling.LANCZOS)


def main() -> None:
    """Draw both sheets."""
    folder = parser.parse_args().folder
    for name, conditions in SHEETS.items():
        torch.manual_seed(4)
        images = [drawn(findings) for findings in conditions]
        height = images[0].height
        sheet = Image.new("RGB", (COLUMNS * WIDTH, -(-len(images) // COLUMNS) * height), "white")
        for place, image in enumerate(images):
            sheet.paste(image, (place % COLUMNS * WIDTH, place // COLUMNS * height))
        sheet.quantize(COLOURS, dither=Image.Dither.NONE).save(folder / name, optimize=True)


if __name__ == "__main__":
    main()
