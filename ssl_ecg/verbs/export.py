"""A finished model becomes a folder that other machines run without this package."""

from __future__ import annotations

import importlib.util
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from ssl_ecg.runs import folder_of, lock, read_metrics
from ssl_ecg.settings import Settings
from ssl_ecg.verbs._records import refuse_other
from ssl_ecg.verbs.verb import console, verb

if TYPE_CHECKING:
    from ssl_ecg.deploy import Bundle
    from ssl_ecg.tasks import Classifier

TOLERANCE = 1e-4

logger = logging.getLogger(__name__)


class VerbSettings(Settings):
    """What is written."""

    format: Literal["onnx", "torch"] = "onnx"
    """onnx: for ONNX Runtime and all that reads ONNX; torch: a program of torch.export"""
    quantize: Literal["none", "dynamic"] = "none"
    """dynamic: weights in 8 bits (ONNX only); how much scores change and what it saves is measured and written down"""
    verify: bool = True
    """compare the program with the model at batches of 1, 3 and 64 before anything is written; before weights are
    quantized, scores must agree to 1e-4"""


def show(bundle: Bundle, model: str, out: str) -> None:
    """Print what was written and what was measured."""
    console.print(f"{out}: {bundle.file}, {len(bundle.outputs)} scores of task {bundle.task}")
    if bundle.largest_difference is not None:
        console.print(f"largest difference from the model {bundle.largest_difference:.2g}")
    for name, value in bundle.latency_ms.items():
        console.print(f"one ECG on one thread, {name}: {value:.2f} ms")
    console.print("README.md and model.json say how it is used")


@verb(VerbSettings, show)
def export(model: str | Path | Classifier, out: str | Path, *, settings: VerbSettings) -> Bundle:
    """Write a model as one program, with what is needed to run it without this package.

    Args:
        model: folder that ``finetune`` or ``probe`` wrote, or the model itself.
        out: folder for the program, ``model.json``, its schema, a card and, for ONNX, a script that scores an ECG.
        settings: all settings at once, in place of single ones by name.

    Returns:
        What ``model.json`` holds.

    Raises:
        FileNotFoundError: no model.
        ValueError: a network that cannot be exported, a program that disagrees with its model, or ``out`` holds
            something else.
    """
    if settings.format == "torch" and settings.quantize != "none":
        raise ValueError(f"quantize={settings.quantize!r}: is for format=onnx; choose quantize=none, or format=onnx")
    needed = ("onnx", "onnxscript", "onnxruntime") if settings.format == "onnx" else ()
    if missing := [name for name in needed if importlib.util.find_spec(name) is None]:
        raise ValueError(
            f"format='onnx': needs {', '.join(missing)}; pip install 'ssl_ecg[export]', or choose format=torch"
        )
    from ssl_ecg.deploy.bundle import FILES, describe, write_bundle
    from ssl_ecg.deploy.program import (
        export_onnx,
        export_program,
        largest_difference,
        latency,
        quantise,
        run_eager,
        run_onnx,
        run_program,
        save_program,
    )
    from ssl_ecg.tasks import load_model

    out = Path(out)
    refuse_other(out, own="model.json")
    classifier = load_model(model) if isinstance(model, str | Path) else model
    exported = export_program(classifier)
    runs = {"PyTorch": run_eager(classifier)}
    if settings.format == "torch":
        content = save_program(exported)
        runs["torch.export"] = run_program(exported)
    else:
        content = export_onnx(classifier, exported)
        runs["ONNX Runtime"] = run_onnx(content)
        if settings.quantize == "dynamic":
            content = quantise(content)
            runs["ONNX Runtime, 8 bits"] = run_onnx(content)
    difference = None
    if settings.verify:
        exact, last = list(runs.values())[1], list(runs.values())[-1]
        difference = _compared(largest_difference(classifier, exact), settings.format)
        if last is not exact:
            difference = largest_difference(classifier, last)
            logger.info("8-bit weights change scores by up to %.2g", difference)
    measured = {name: latency(classifier, run) for name, run in runs.items()}
    bundle = describe(
        classifier,
        content,
        FILES[settings.format],
        quantize=settings.quantize,
        largest_difference=difference,
        latency_ms=measured,
    )
    folder = folder_of(model) if isinstance(model, str | Path) else None
    metrics = read_metrics(folder) if folder is not None and (folder / "metrics.json").is_file() else {}
    with lock(out):
        write_bundle(out, bundle, content, metrics)
    return bundle


def _compared(difference: float, form: str) -> float:
    if not difference <= TOLERANCE:
        raise ValueError(
            f"format={form!r}: the program's scores differ from the model's by up to {difference:.2g}, more than "
            f"{TOLERANCE:g}; nothing was written: choose the other format, or run the model with ssl-ecg predict"
        )
    return difference
