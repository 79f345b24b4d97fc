"""Score one ECG with the model beside this file, with NumPy, SciPy and ONNX Runtime alone.

python score_ecg.py ECG.csv --rate 500            a column per lead, its name in the first line, in millivolts
python score_ecg.py ECG.npy --rate 500 --leads I,II,III,aVR,aVL,aVF,V1,V2,V3,V4,V5,V6       float [leads, samples]
... --static age=63,sex=1        of a model with static inputs; what is not given counts as unknown, the rhythm as well
"""

import argparse
import json
import math
import sys
from fractions import Fraction
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
from scipy.signal import butter, resample_poly, sosfiltfilt


def read(path: Path, names: list[str]) -> dict[str, np.ndarray]:
    """Return the leads [samples] by name."""
    if path.suffix == ".npy":
        return dict(zip(names, np.load(path, allow_pickle=False), strict=True))
    with path.open(encoding="utf-8-sig") as file:
        first = [name.strip().strip('"') for name in file.readline().split(",")]
    return dict(zip(names or first, np.loadtxt(path, delimiter=",", skiprows=1, ndmin=2).T, strict=True))


def prepare(signal: np.ndarray, rate: float, how: dict) -> np.ndarray:
    """Filter [leads, samples] at its own rate, resample and round, as the model's training records were."""

    def zero_phase(x: np.ndarray, band: list[float], kind: Literal["bandpass", "bandstop"]) -> np.ndarray:
        sections = butter(2, band, kind, fs=rate, output="sos")
        return sosfiltfilt(sections, x, axis=-1, padlen=min(x.shape[-1] - 1, round(rate)))

    if how["mains"] and how["mains"] + 1 < rate / 2:
        signal = zero_phase(signal, [how["mains"] - 1, how["mains"] + 1], "bandstop")
    if how["band"]:
        signal = zero_phase(signal, how["band"], "bandpass")
    ratio = Fraction(how["sampling_rate"] / rate).limit_denominator(1000)
    if ratio != 1:
        signal = resample_poly(signal, ratio.numerator, ratio.denominator, axis=-1, padtype="line")
    return signal


def score(folder: Path, ecg: dict[str, np.ndarray], rate: float, static: dict[str, float]) -> dict[str, object]:
    """Return the scores of one ECG, and decisions where the model has thresholds, by name."""
    model = json.loads((folder / "model.json").read_text(encoding="utf-8"))
    how, step = model["signal"], model["microvolts_per_bit"] / 1000
    if missing := [lead for lead in how["leads"] if lead not in ecg]:
        sys.exit(f"leads: {', '.join(missing)} are missing; the model needs {', '.join(how['leads'])}")
    whole = np.stack([ecg[lead] for lead in how["leads"]]).astype(np.float32)
    seconds, samples = whole.shape[1] / rate, round(how["sampling_rate"] * how["duration"])
    if seconds < how["min_duration"] or (how["band"] and rate <= 2 * how["band"][1]) or not np.isfinite(whole).all():
        sys.exit("the ECG is too short, of too low a rate, or holds values that are no numbers")
    signal = prepare(whole[:, : math.ceil(how["duration"] * rate)].astype(np.float64), rate, how)[:, :samples]
    signal = np.pad(signal.astype(np.float32), [(0, 0), (0, samples - signal.shape[1])])
    given = {
        "signal": (np.rint(signal / step) * step)[None].astype(np.float32),
        "recorded": np.array([min(samples, math.ceil(seconds * how["sampling_rate"] - 1e-6))], np.int64),
        "leads": np.ones((1, len(how["leads"])), bool),
    }
    if unknown := sorted(set(static) - set(model["static"])):
        sys.exit(f"static: {', '.join(unknown)} unknown; the model takes {', '.join(model['static']) or 'none'}")
    if model["static"]:
        given["static"] = np.array([[static.get(name, math.nan) for name in model["static"]]], np.float32)
    session = onnxruntime.InferenceSession(folder / model["file"], providers=["CPUExecutionProvider"])
    found: dict[str, object] = {}
    for output, value in zip(model["outputs"], session.run(["scores"], given)[0][0].tolist(), strict=True):
        found[output["name"]] = value
        if output["threshold"] is not None:
            found[output["name"].removesuffix("_score") + "_decision"] = value >= output["threshold"]
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ecg", type=Path)
    parser.add_argument("--rate", type=float, required=True, help="samples a second")
    parser.add_argument("--leads", default="", help="names, separated by commas; of a CSV those of its first line")
    parser.add_argument("--static", default="", help="name=value, separated by commas")
    asked = parser.parse_args()
    beside = {
        name: float(value) for name, _, value in (each.partition("=") for each in asked.static.split(",") if each)
    }
    ecg = read(asked.ecg, asked.leads.split(",") if asked.leads else [])
    json.dump(score(Path(__file__).parent, ecg, asked.rate, beside), sys.stdout, indent=1)
