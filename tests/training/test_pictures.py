from __future__ import annotations

from pathlib import Path

import pytest
import torch

from ssl_ecg.archive import Archive
from ssl_ecg.objectives.bimodal_mae import BimodalMAE
from ssl_ecg.training import PretrainSettings, pretrain

pytestmark = pytest.mark.slow


def masked(tiny_pretraining: PretrainSettings, **changes: object) -> PretrainSettings:
    return tiny_pretraining.replace(
        objective={"name": "bimodal_mae", "decoder_width": 12, "decoder_depth": 2},
        backbone={"name": "bimodal_vit", "width": 12, "depth": 1, "joint_depth": 1, "samples": 500},
        epochs=2,
        **changes,
    )


def test_a_masked_objective_leaves_a_picture_beside_the_encoder(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path
) -> None:
    logged, plain = masked(tiny_pretraining, loggers=("tensorboard",)), masked(tiny_pretraining)
    encoders = [
        pretrain(tiny_archive, tmp_path / name, settings, progress=False)
        for name, settings in (("logged", logged), ("plain", plain))
    ]
    pictures = [(tmp_path / name / "reconstruction.svg").read_text("utf-8") for name in ("logged", "plain")]
    assert "Magnitude spectrum" in pictures[0]
    # The same masks and weights give the same picture, and drawing one does not change what is learned.
    assert pictures[0] == pictures[1]
    weights = [encoder.backbone.state_dict() for encoder in encoders]
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())

    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "logged.logs" / "tensorboard"))
    events.Reload()
    assert len(events.Images("reconstruction")) == 2


def test_pictures_show_what_is_learned_from_the_normalised_signal(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[torch.Tensor] = []
    reconstruct = BimodalMAE.reconstruct
    monkeypatch.setattr(
        BimodalMAE, "reconstruct", lambda self, batch: (seen.append(batch["signal"]), reconstruct(self, batch))[1]
    )
    pretrain(tiny_archive, tmp_path / "out", masked(tiny_pretraining, loggers=("tensorboard",)), progress=False)
    assert len(seen) == 3  # one each epoch, and the one beside the encoder
    for signal in seen:
        torch.testing.assert_close(signal.std(2, correction=0), torch.ones(signal.shape[:2]), rtol=1e-4, atol=1e-4)


def test_other_objectives_leave_none(tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path) -> None:
    pretrain(tiny_archive, tmp_path / "encoder", tiny_pretraining.replace(epochs=1), progress=False)
    assert not (tmp_path / "encoder" / "reconstruction.svg").exists()
