from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from ssl_ecg.backbones import Encoder, create_backbone
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import Classifier, create_task, load_model, save_classifier
from ssl_ecg.tasks.heads import make_head


def count(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_published_network_and_head_have_the_weights_that_their_description_has() -> None:
    def convolution(inputs: int, outputs: int, kernel: int) -> int:
        return inputs * outputs * kernel + 2 * outputs  # without bias; two weights of a batch norm for each output

    stem = convolution(12, 32, 5) + convolution(32, 32, 5) + convolution(32, 64, 5)
    inside = convolution(64, 64, 5) + convolution(64, 256, 1)
    first = convolution(64, 64, 1) + inside + convolution(64, 256, 1)  # the shortcut projects once, from 64 to 256
    further = (3 + 4 + 23 + 3 - 1) * (convolution(256, 64, 1) + inside)
    backbone = create_backbone("xresnet1d101_ptbxl")
    assert count(backbone) == stem + first + further
    assert backbone.width == 512
    head = 2 * 512 + (512 * 128 + 128) + 2 * 128 + (128 * 71 + 71)
    task = create_task("arrhythmia", [f"c{number}" for number in range(71)])
    assert count(make_head("hidden", task, 512)) == head
    dropped = [layer.p for layer in make_head("hidden", task, 512) if isinstance(layer, nn.Dropout)]
    assert dropped == [0.25, 0.5]


def test_a_model_with_a_hidden_layer_is_kept_and_read_again(tmp_path: Path) -> None:
    torch.manual_seed(0)
    encoder = Encoder("xresnet1d10", {"width": 4}, SignalSettings(duration=5))
    model = Classifier(encoder, create_task("arrhythmia", ("a", "b")), head="hidden")
    nn.init.normal_(model.head[-1].weight)
    model(torch.randn(8, 12, 500))  # batch norms know the signals
    loaded = load_model(save_classifier(model.eval(), tmp_path, "# A card\n"))
    signal = torch.randn(3, 12, 500)
    with torch.inference_mode():
        assert torch.equal(loaded(signal), model(signal))
    path = tmp_path / "task.json"
    task = json.loads(path.read_text())
    path.write_text(json.dumps({**task, "head": "linear"}))
    with pytest.raises(ValueError, match=r"head\.safetensors"):
        load_model(tmp_path)
    path.write_text(json.dumps({**task, "head": "deep"}))
    with pytest.raises(ValueError, match=r"task\.json.*head='deep': choose 'linear' or 'hidden'"):
        load_model(tmp_path)
    path.write_text(json.dumps({**task, "head": ["hidden"]}))
    with pytest.raises(ValueError, match=r"task\.json.*head="):
        load_model(tmp_path)
