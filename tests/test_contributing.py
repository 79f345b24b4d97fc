"""The worked example of CONTRIBUTING.md works."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import torch

from ssl_ecg.backbones import Encoder
from ssl_ecg.backbones.registry import BACKBONES
from ssl_ecg.signals import SignalSettings
from ssl_ecg.training import PretrainSettings

TEXT = (Path(__file__).resolve().parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


def test_the_example_is_a_backbone_that_can_be_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    monkeypatch.setattr(BACKBONES, "_things", dict(BACKBONES._things))
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "CONTRIBUTING.md", "exec"), names)
    chosen = PretrainSettings(backbone={"name": "example", "width": 16}).backbone
    assert chosen.to_dict() == {"name": "example", "width": 16}
    encoder = Encoder(chosen.given, chosen.options, SignalSettings()).eval()
    assert encoder(torch.randn(2, 12, 1000)).shape == (2, 16)
    assert PretrainSettings(backbone=names["Example"](width=16)).backbone.name == "example:Example"


def test_files_and_groups_of_the_table_exist() -> None:
    rooms = re.findall(r"`ssl_ecg/(\w+)/NAME\.py`", TEXT)
    assert rooms == ["backbones", "objectives", "tasks", "records", "sources", "verbs"]
    for room in rooms:
        assert (Path(__file__).resolve().parents[1] / "ssl_ecg" / room).is_dir()
    for target in re.findall(r"\]\((?!https?:|#)([^)]+)\)", TEXT):
        assert (Path(__file__).resolve().parents[1] / target).exists(), target
