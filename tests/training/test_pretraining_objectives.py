"""Objectives that the other tests of the engine do not run: archive in, an encoder out that loads and can be probed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import load_encoder
from ssl_ecg.training import PretrainSettings, pretrain

pytestmark = pytest.mark.slow

RUNS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "cpc": ({"name": "cpc", "negatives": 16}, {"name": "cpc", "width": 16}),
    "cpc_s4d": ({"name": "cpc", "negatives": 16}, {"name": "cpc", "width": 16, "context": "s4d"}),
    "r_peaks": ({"name": "r_peaks", "augment": {"lead_masking": 0.5}}, {"name": "xresnet1d10", "width": 8}),
}


@pytest.mark.parametrize("name", RUNS)
def test_pretraining_lowers_the_loss_and_leaves_an_encoder(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path, name: str
) -> None:
    objective, backbone = RUNS[name]
    settings = tiny_pretraining.replace(objective=objective, backbone=backbone, epochs=3, learning_rate=3e-3)
    encoder = pretrain(tiny_archive, tmp_path / "out", settings, progress=False)
    table = pd.read_csv(tmp_path / "out" / "pretraining.csv")
    assert np.isfinite(table.to_numpy()).all()
    assert table["validation_loss"].iloc[-1] < table["validation_loss"].iloc[0]
    signals = [*map(torch.from_numpy, tiny_archive.read([0, 1, 2]))]
    loaded = load_encoder(tmp_path / "out")
    with torch.inference_mode():
        assert torch.equal(loaded(*signals), encoder(*signals))


@pytest.mark.parametrize(("name", "backbone"), [("byol", {"name": "xresnet1d10", "width": 4}), ("jepa", "vit1d")])
def test_targets_follow_more_slowly_towards_the_end_of_a_run(
    tiny_archive: Archive,
    tiny_pretraining: PretrainSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    backbone: Any,
) -> None:
    import lightly.models.utils as utils

    shares: list[float] = []
    monkeypatch.setattr(utils, "update_momentum", lambda trained, target, share: shares.append(share))
    if name == "jepa":
        backbone = {"name": backbone, "width": 12, "depth": 1}
    objective = {"name": name, "momentum": 0.9}
    pretrain(
        tiny_archive,
        tmp_path,
        tiny_pretraining.replace(objective=objective, backbone=backbone, epochs=2),
        progress=False,
    )
    count = len(shares)
    assert count >= 6
    expected = [1 - 0.1 * (np.cos(np.pi * step / (count - 1)) + 1) / 2 for step in range(count)]
    assert shares == pytest.approx(expected, abs=1e-6)
