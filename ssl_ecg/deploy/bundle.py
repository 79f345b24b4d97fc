"""The folder in which an exported model travels; whoever gets it needs nothing of this package.

- ``model.onnx`` or ``model.pt2``: the program
- ``model.json``: what goes in and comes out, how signals are prepared, versions; ``model.schema.json``: its schema
- ``README.md``: the card
- ``score_ecg.py``: scores one ECG with NumPy, SciPy and ONNX Runtime alone (ONNX only)
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Literal

from ssl_ecg.archive.writer import MICROVOLTS_PER_BIT
from ssl_ecg.runs import Table, model_card, whole_folder, write_atomically, write_json
from ssl_ecg.settings import Settings
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import Classifier, Survival, Thresholds
from ssl_ecg.tasks.auxiliary import MEANINGS, AuxiliaryTargets
from ssl_ecg.tasks.static_inputs import static_columns

LAST = "model.json"
SCRIPT = "score_ecg.py"
Format = Literal["onnx", "torch"]
FILES: dict[Format, str] = {"onnx": "model.onnx", "torch": "model.pt2"}
PACKAGES = ("ssl_ecg", "torch", "onnx", "onnxruntime", "onnxscript", "numpy", "scipy")

_LIMITS = """\
The scores are those of the model that was exported, as far as the differences above say; nothing here was tested on
patients again. Whoever prepares signals otherwise than `model.json` says gets other scores. `score_ecg.py` checks
neither the quality of a recording nor whether its leads are named rightly. This is not a medical device."""


class Output(Settings):
    """One score."""

    name: str
    """column of ``predictions.csv`` with the same numbers"""
    meaning: str
    """what the number is"""
    threshold: float | None = None
    """from which on the class is named; null: the model does not decide"""
    horizon_days: float | None = None
    """time until which the event has not happened with this probability; null: no survival"""


class Bundle(Settings):
    """What ``model.json`` holds."""

    format: Literal["ssl_ecg-bundle"] = "ssl_ecg-bundle"
    """tells this file from others"""
    version: Literal[1] = 1
    """of the format"""
    file: str
    """the program; inputs ``signal`` float32 [B, L, T], ``recorded`` int64 [B], ``leads`` bool [B, L], any B; with
    static inputs also ``static`` float32 [B, K]"""
    sha256: str
    """of the program"""
    task: str
    """what is predicted"""
    backbone: str
    """name of the network"""
    signal: SignalSettings
    """leads in their order, rate, length and filters; ``normalise`` is part of the program"""
    unit: Literal["mV"] = "mV"
    """of the signal"""
    microvolts_per_bit: float = MICROVOLTS_PER_BIT
    """to which signals were rounded in training"""
    static: tuple[str, ...] = ()
    """names of the K static inputs, raw values, NaN where unknown; ``sex`` is 0 for female and 1 for male, those of the
    rhythm are measured by ``ssl_ecg.tasks.rhythm``"""
    outputs: tuple[Output, ...]
    """columns of the scores, in their order"""
    quantize: Literal["none", "dynamic"] = "none"
    """whether weights have 8 bits"""
    largest_difference: float | None = None
    """between the scores of the program and of the model; null: not compared"""
    latency_ms: Mapping[str, float] = {}
    """median time for one ECG on one thread where it was exported, by what ran"""
    versions: Mapping[str, str]
    """packages that made it"""


def describe(model: Classifier, program: bytes, file: str, **facts: Any) -> Bundle:
    """Return what ``model.json`` is to hold: no path, no host, nothing of patients.

    Args:
        model: what was exported.
        program: its bytes.
        file: its name.
        facts: ``quantize``, ``largest_difference`` and ``latency_ms``.
    """
    encoder = model.encoder
    return Bundle(
        file=file,
        sha256=hashlib.sha256(program).hexdigest(),
        task=model.task.name,
        backbone=encoder.name,
        signal=encoder.signal,
        static=static_columns(model.static),
        outputs=_outputs(model),
        versions={name: known for name in PACKAGES if (known := _version(name))},
        **facts,
    )


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _outputs(model: Classifier) -> tuple[Output, ...]:
    task = model.task
    if isinstance(task, Survival):
        days = task.breaks[1:]
        free = [Output(name="no_prevalent_score", meaning="probability of no event before the ECG")]
        curve = [
            Output(name=f"survival_{day:g}", meaning=f"probability of no event within {day:g} days", horizon_days=day)
            for day in days
        ]
        learned = task.beside if isinstance(task, AuxiliaryTargets) else ()
        beside = [Output(name=f"auxiliary_{name}", meaning=MEANINGS[name]) for name in learned]
        return (*(free if task.encoding == "ecg_ai" else ()), *curve, *beside)
    thresholds: Sequence[float | None] = [None] * len(task.classes)
    if isinstance(task, Thresholds) and task.thresholds is not None:
        thresholds = task.thresholds.tolist()
    return tuple(
        Output(name=f"{name}_score", meaning=f"score of {name}", threshold=threshold)
        for name, threshold in zip(task.classes, thresholds, strict=True)
    )


def write_bundle(folder: Path, bundle: Bundle, program: bytes, metrics: Mapping[str, float]) -> None:
    """Write a bundle, whole or not at all.

    Args:
        folder: made where it does not exist.
        bundle: of ``describe``.
        program: bytes of its file.
        metrics: of the model's test records, for the card; their intervals lie under ``_low`` and ``_high``.
    """
    with whole_folder(folder, last=LAST, clear=(*FILES.values(), SCRIPT)) as part:
        write_atomically(part / bundle.file, program)
        write_atomically(part / "README.md", _card(bundle, metrics))
        write_json(part / "model.schema.json", Bundle.model_json_schema())
        if bundle.file == FILES["onnx"]:
            script = Path(__file__).with_name("reference.py").read_text(encoding="utf-8")
            write_atomically(part / SCRIPT, script)
        write_json(part / LAST, {"$schema": "model.schema.json", **bundle.to_dict()})


def read_bundle(folder: str | Path) -> Bundle:
    """Read ``model.json``.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged or of another version.
    """
    path = Path(folder) / LAST
    if not path.is_file():
        raise FileNotFoundError(f"folder={str(folder)!r}: no {LAST}, so this is no exported model")
    try:
        held = json.loads(path.read_text(encoding="utf-8"))
        return Bundle(**{name: value for name, value in held.items() if name != "$schema"})
    except (AttributeError, TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"{path}: damaged, or of another version ({type(error).__name__}); export again") from error


def _card(bundle: Bundle, metrics: Mapping[str, float]) -> str:
    signal = bundle.signal
    band = "none" if signal.band is None else f"{signal.band[0]:g} to {signal.band[1]:g} Hz"
    rows = [
        ("leads", ", ".join(signal.leads)),
        ("signal", f"{signal.sampling_rate:g} Hz, {signal.duration:g} s, millivolts"),
        ("filters", f"band-pass {band}, mains {'not filtered' if signal.mains is None else f'{signal.mains} Hz'}"),
        ("normalisation", f"{signal.normalise}, in the program"),
        *([("static inputs", ", ".join(bundle.static))] if bundle.static else []),
        ("weights", "8 bits, activations quantised as they come" if bundle.quantize == "dynamic" else "32 bits"),
        ("largest difference of a score", "not compared" if bundle.largest_difference is None else
            f"{bundle.largest_difference:.2g}, from the model, on noise at batches of 1, 3 and 64"),
        *((f"one ECG, one thread, {name}", f"{value:.2f} ms") for name, value in bundle.latency_ms.items()),
    ]  # fmt: skip
    scores = [
        (output.name, output.meaning, "" if output.threshold is None else f"{output.threshold:.4g}")
        for output in bundle.outputs
    ]
    tested = [
        (name, f"{value:.3f}", f"{metrics[f'{name}_low']:.3f} to {metrics[f'{name}_high']:.3f}")
        for name, value in metrics.items()
        if f"{name}_low" in metrics
    ]
    given = "signal, recorded, leads" + (", static" if bundle.static else "")
    run = (
        f"`python {SCRIPT} ECG.csv --rate 500` scores one ECG with NumPy, SciPy and ONNX Runtime alone."
        if bundle.file == FILES["onnx"]
        else f'`torch.export.load("{bundle.file}").module()({given})` gives the scores.'
    )
    return model_card(
        f"ECG model: {bundle.task}, {bundle.backbone}, exported",
        [
            f"{run} `model.json` says how signals are prepared and what comes out.",
            Table(("", ""), rows),
            Table(("score", "meaning", "named from"), scores),
            *([Table(("test metric of the model", "value", "95 % interval"), tested)] if tested else []),
        ],
        _LIMITS,
        bundle.to_dict(),
    )
