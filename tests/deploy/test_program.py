"""Exported programs give the scores of their models, for every network, task and way of cutting windows."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from ssl_ecg.backbones import Backbone, Encoder, list_backbones
from ssl_ecg.deploy.program import (
    BATCHES,
    INPUTS,
    example,
    export_onnx,
    export_program,
    largest_difference,
    quantise,
    run_onnx,
    run_program,
    save_program,
)
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import Classifier, WindowSettings, create_task, list_tasks

SIGNAL = SignalSettings(duration=5, min_duration=4)
TRANSFORMER = {"width": 24, "depth": 2, "heads": 3, "samples": 500}
SMALL: dict[str, dict[str, Any]] = {
    "attention_pooled": {"steps_of": "xresnet1d10", "width": 8},
    "bimodal_vit": {"width": 24, "depth": 1, "joint_depth": 1, "heads": 3, "samples": 500},
    "cpc": {"width": 8, "window": 50},  # a program holds every step of a recurrence, and takes minutes for hundreds
    "ecg_image": {"network": "test_resnet", "lead_height": 8, "samples_per_column": 8},
    "nbeats1d": {"width": 8, "hidden": 16},
    "recurrent": {"width": 8, "convolutions": 6},
    "s4d": {"width": 16, "depth": 2},
    "spectral_image": {"network": "test_resnet", "lowest": 0.04},
    "vit1d": TRANSFORMER,
    "vit1d_lead": TRANSFORMER,
    "xresnet1d101": {"width": 8, "depths": (1, 2, 1, 1)},
    "xresnet1d101_ptbxl": {"width": 8, "depths": (1, 2, 1, 1)},
    "xresnet1d34": {"width": 8, "depths": (2, 1, 1, 1)},
    "xresnet1d50": {"width": 8, "depths": (1, 1, 1, 1)},
    "se_resnet1d34": {"width": 8, "depths": (2, 1, 1, 1)},
    "se_resnet1d50": {"width": 8, "depths": (1, 1, 1, 1)},
}
CLASSES = {"arrhythmia": ("AF", "LBBB", "PVC")}
CUT: dict[str, WindowSettings] = {
    "highest score": WindowSettings(seconds=2.5, stride=1.25),
    "mean score": WindowSettings(seconds=2, stride=1, aggregate="mean"),
    "features": WindowSettings(seconds=2.5, over="features"),
}


def made(backbone: str | nn.Module, task: str, windows: WindowSettings | None = None, **options: Any) -> Classifier:
    torch.manual_seed(0)
    network = {} if isinstance(backbone, nn.Module) else SMALL.get(backbone, {"width": 8})
    model = Classifier(Encoder(backbone, network, SIGNAL), create_task(task, CLASSES.get(task), **options), windows)
    signal, recorded, leads = map(torch.from_numpy, example(model, 16))
    with torch.no_grad():  # so that batch norms have statistics, and scores differ between records
        for _ in range(5):
            model.encoder(signal, recorded, leads)
    nn.init.normal_(model.head.weight)
    return model.eval()


def agrees(model: Classifier) -> bytes:
    program = export_program(model)
    assert largest_difference(model, run_program(program)) <= 1e-5
    onnx = export_onnx(model, program)
    run = run_onnx(onnx)
    assert largest_difference(model, run) <= 1e-4
    scores = run(example(model, 64))
    assert scores.dtype == np.float32
    assert np.ptp(scores, axis=0).max() > 1e-3, "these scores could not tell a wrong program from a right one"
    return onnx


@pytest.mark.slow
@pytest.mark.parametrize("name", list_backbones())
def test_every_network_is_exported(name: str) -> None:
    agrees(made(name, "arrhythmia"))


@pytest.mark.slow
@pytest.mark.parametrize("name", list_tasks())
def test_every_task_is_exported(name: str) -> None:
    agrees(made("clocs", name))


@pytest.mark.slow
@pytest.mark.parametrize("cut", CUT)
def test_windows_are_part_of_the_program(cut: str) -> None:
    windows = CUT[cut]
    agrees(made("clocs" if windows.of_features else "s4d", "arrhythmia", windows))


@pytest.mark.slow
def test_what_is_computed_once_is_of_the_length_that_a_layer_sees(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(SMALL, "cpc", {"width": 16, "context": "s4d"})
    agrees(made("cpc", "arrhythmia", CUT["mean score"]))


@pytest.mark.slow
@pytest.mark.parametrize("options", [{"encoding": "ecg_ai", "prevalent": "bin"}, {"auxiliary": {"age": 1, "sex": 0.5}}])
def test_further_outputs_of_survival_are_exported_as_predict_gives_them(options: dict[str, Any]) -> None:
    agrees(made("clocs", "af_survival", bins=5, **options))


class Mean(Backbone):
    def __init__(self, depend: bool = False) -> None:
        super().__init__(12, 8)
        self.filters, self.depend = nn.Conv1d(12, 8, 25, 10), depend

    def forward_features(self, signal: torch.Tensor, leads: torch.Tensor | None = None) -> torch.Tensor:
        if self.depend and signal.abs().max() > 1:
            signal = signal * 2
        return self.filters(signal).transpose(1, 2)


def test_a_network_of_ones_own_is_exported_or_refused() -> None:
    model = made(Mean(), "arrhythmia")
    assert largest_difference(model, run_program(export_program(model))) <= 1e-5
    with pytest.raises(ValueError, match=r"Mean' cannot be exported by torch\.export .*ssl-ecg predict"):
        export_program(made(Mean(depend=True), "arrhythmia"))


def test_a_difference_is_seen() -> None:
    model = made(Mean(), "arrhythmia")
    program = run_program(export_program(model))
    assert largest_difference(model, lambda each: program(each._replace(recorded=each.recorded * 0 + 500))) > 1e-4
    short = [example(model, size, seed=size) for size in BATCHES]
    assert any((batch.recorded < model.encoder.samples).any() for batch in short)
    assert any((~batch.leads).any() for batch in short)


@pytest.mark.slow
def test_onnx_has_named_inputs_a_free_batch_and_no_traces_of_this_machine() -> None:
    import onnx

    model = made("clocs", "arrhythmia")
    program = export_program(model)
    written = export_onnx(model, program)
    graph = onnx.load_from_string(written).graph
    shapes = {
        each.name: [size.dim_param or size.dim_value for size in each.type.tensor_type.shape.dim]
        for each in graph.input
    }
    assert shapes == dict(zip(INPUTS, (["batch", 12, 500], ["batch"], ["batch", 12])))
    for content in (written, save_program(program), quantise(written)):
        for trace in (b"site-packages", b"/ssl_ecg/", b".py"):
            assert trace not in content


@pytest.mark.slow
def test_weights_in_8_bits_are_smaller_and_near() -> None:
    model = made("vit1d", "arrhythmia")
    nn.init.normal_(model.head.weight, std=0.1)
    onnx = export_onnx(model, export_program(model))
    small = quantise(onnx)
    assert len(small) < 0.8 * len(onnx)
    assert 0 < largest_difference(model, run_onnx(small)) < 0.1
