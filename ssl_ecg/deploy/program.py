"""The whole model as one program: normalisation, windows, network, pooling, head and scores, for any batch.

Signal float32 [B, L, T] in millivolts, recorded int64 [B] and leads bool [B, L] go in, and where a model has static
inputs their values float32 [B, K], NaN where unknown; scores float32 [B, S] come out.
"""

from __future__ import annotations

import copy
import io
import logging
import tempfile
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_ecg.signals import Signals
from ssl_ecg.tasks import Classifier
from ssl_ecg.tasks.heads import WideHead

INPUTS = (*Signals._fields, "static")
"""Names of what goes in; a model without static inputs has no last one."""
BATCH = "batch"
OUTPUT = "scores"
BATCHES = (1, 3, 64)
"""Sizes at which a program is compared with the model."""

Arrays = tuple[NDArray[Any], ...]
Run = Callable[[Arrays], NDArray[np.float32]]
"""Maps a batch of arrays, in the order of ``INPUTS``, to scores [B, S]."""


class _Scores(nn.Module):
    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, signal: Tensor, recorded: Tensor, leads: Tensor, static: Tensor | None = None) -> Tensor:
        return self.model.scores(signal, recorded, leads, static).float()


@torch.no_grad()
def export_program(model: Classifier) -> torch.export.ExportedProgram:
    """Return a model as a program of ``torch.export`` with a free batch size.

    Modules that have ``precompute`` are called with what their ``forward`` is given first, so that what depends on
    weights and length alone is computed once (``s4d``). Traces of source files are left out.

    Raises:
        ValueError: a network that cannot be exported, such as one whose steps depend on values of the signal.
    """
    whole = _Scores(copy.deepcopy(model)).eval()
    batch = torch.export.Dim(BATCH, min=1)
    given = tuple(map(torch.from_numpy, example(model, 3)))
    able = [module for module in whole.modules() if callable(getattr(module, "precompute", None))]
    hooks = [module.register_forward_pre_hook(lambda module, given: module.precompute(*given)) for module in able]
    whole(*given)
    for hook in hooks:
        hook.remove()
    try:
        with _quiet():
            program = torch.export.export(whole, given, dynamic_shapes=({0: batch},) * len(given))
    except Exception as error:  # somebody else's network, and torch raises many kinds
        raise ValueError(_refusal(model, "torch.export", error)) from error
    for graph in program.graph_module.modules():
        for node in graph.graph.nodes if isinstance(graph, torch.fx.GraphModule) else ():
            node.meta.pop("stack_trace", None)
    return program


def _refusal(model: Classifier, how: str, error: Exception) -> str:
    reason = next((line for line in reversed(str(error).splitlines()) if "Error" in line), str(error).split("\n")[0])
    return (
        f"model: its network {model.encoder.name!r} cannot be exported by {how} ({reason.strip()[:200]}); use "
        "operations whose shapes do not depend on values, or run it with ssl-ecg predict"
    )


def save_program(program: torch.export.ExportedProgram) -> bytes:
    """Return the bytes of a program, which ``torch.export.load`` reads."""
    held = io.BytesIO()
    torch.export.save(program, held)
    return held.getvalue()


def export_onnx(model: Classifier, program: torch.export.ExportedProgram) -> bytes:
    """Return a program of ``export_program`` as an ONNX model in one piece.

    Raises:
        ValueError: an operation that ONNX does not have.
    """
    from onnx_ir.passes.common import ClearMetadataAndDocStringPass

    names = INPUTS if model.static else INPUTS[:-1]
    try:
        with _quiet():
            made = torch.onnx.export(
                program,
                input_names=names,
                output_names=(OUTPUT,),
                dynamic_shapes=({0: BATCH},) * len(names),  # of a program, their names alone
                dynamo=True,
                verbose=False,
            )
    except Exception as error:  # as above
        raise ValueError(_refusal(model, "torch.onnx.export", error)) from error
    assert made is not None
    ClearMetadataAndDocStringPass()(made.model)  # which name source files of this machine
    return made.model_proto.SerializeToString()


def quantise(onnx: bytes) -> bytes:
    """Return an ONNX model with the weights of its layers in 8 bits, scaled by channel; activations as they come."""
    import onnx as library
    from onnxruntime.quantization import quantize_dynamic

    with tempfile.TemporaryDirectory() as folder, _quiet():
        path = Path(folder) / "model.onnx"
        quantize_dynamic(library.load_from_string(onnx), path, per_channel=True)
        return path.read_bytes()


def run_program(program: torch.export.ExportedProgram) -> Run:
    """Return what runs a program of ``torch.export``."""
    module = program.module()

    def run(given: Arrays) -> NDArray[np.float32]:
        with torch.inference_mode():
            return module(*map(torch.from_numpy, given)).numpy()

    return run


def run_onnx(onnx: bytes) -> Run:
    """Return what runs an ONNX model, on one thread of the CPU."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
    return lambda given: session.run([OUTPUT], dict(zip(INPUTS, given)))[0]


def run_eager(model: Classifier) -> Run:
    """Return what runs the model itself."""
    return lambda given: model.predict(**dict[str, Any](zip(INPUTS, given)))


def example(model: Classifier, records: int, seed: int = 0) -> Arrays:
    """Return noise as a batch of ECGs: some short, some of fewer leads, the first one whole, some inputs unknown."""
    rng, encoder = np.random.default_rng(seed), model.encoder
    shape = (records, len(encoder.leads), encoder.samples)
    shortest = min(round(encoder.signal.min_duration * encoder.sampling_rate), encoder.samples)
    recorded = rng.integers(shortest, encoder.samples, records, endpoint=True)
    leads = rng.random(shape[:2]) < 0.9
    recorded[:1], leads[:1], leads[:, 0] = encoder.samples, True, True
    signal = rng.normal(0, 0.3, shape).cumsum(axis=2) / 5
    signal *= (np.arange(encoder.samples) < recorded[:, None])[:, None] & leads[..., None]
    signals = Signals(signal.astype(np.float32), recorded, leads)
    if not isinstance(model.head, WideHead):
        return signals
    mean, deviation = model.head.inputs.mean.numpy(), model.head.inputs.deviation.numpy()
    static = rng.normal(mean, deviation, (records, len(mean))).astype(np.float32)
    return (*signals, np.where(rng.random(static.shape) < 0.1, np.float32(np.nan), static))


def largest_difference(model: Classifier, run: Run) -> float:
    """Return the largest difference between the scores of a program and of its model, over batches of ``BATCHES``."""
    exact, batches = run_eager(model), [example(model, size, seed=size) for size in BATCHES]
    return max(float(np.abs(run(batch) - exact(batch)).max()) for batch in batches)


def multiplications(model: Classifier) -> int:
    """Return how many multiplications of two numbers, each with an addition (MACs), the scores of one ECG take."""
    from torch.utils.flop_counter import FlopCounterMode

    counter = FlopCounterMode(display=False)
    with counter:
        run_eager(model)(example(model, 1))
    return counter.get_total_flops() // 2


def latency(model: Classifier, run: Run, repeats: int = 20) -> float:
    """Return the median time for one ECG in milliseconds, on one thread."""
    one, threads = example(model, 1), torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        times = [_timed(run, one) for _ in range(repeats + 3)][3:]  # the first ones warm caches
    finally:
        torch.set_num_threads(threads)
    return float(np.median(times) * 1000)


def _timed(run: Run, batch: Arrays) -> float:
    start = time.perf_counter()
    run(batch)
    return time.perf_counter() - start


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep what exporters tell of themselves out of the log and the terminal."""
    loggers: list[Any] = [logging.getLogger(name) for name in (None, "torch.onnx", "onnxscript", "onnx_ir")]
    before = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            yield
    finally:
        for logger, level in zip(loggers, before):
            logger.setLevel(level)
