"""Records of different lengths and lead sets, in one archive: trained on together, and declared."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
import pytest
import torch

import ssl_ecg
from ssl_ecg.archive import Archive, ArchiveWriter
from ssl_ecg.backbones import Encoder
from ssl_ecg.tasks import Classifier, WindowSettings
from ssl_ecg.training import FinetuneSettings, PretrainSettings, extract_features, finetune, predict_scores, pretrain

pytestmark = pytest.mark.slow

if TYPE_CHECKING:
    from conftest import Labelled

SHORT, LACKING = 3, 4  # every third record is shorter, every fourth lacks leads


def cut(archive: Archive, folder: Path) -> Archive:
    """The same records, some with their first 3 s alone, some without V1 and aVF."""
    signal, table = archive.read(range(len(archive))).signal, archive.manifest.drop(columns=["part", "row"])
    signal[::SHORT, :, 300:] = 0
    missing = [archive.leads.index("V1"), archive.leads.index("aVF")]
    for lead in missing:
        signal[::LACKING, lead] = 0
    table = table.astype({"leads": object})
    table.loc[::SHORT, "recorded"] = 300
    table.loc[::LACKING, "leads"] = " ".join(name for i, name in enumerate(archive.leads) if i not in missing)
    writer = ArchiveWriter(folder, archive.settings)
    writer.write_part(signal, table)
    return writer.finish()


@pytest.fixture(scope="module")
def mixed(tiny_archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return cut(tiny_archive, tmp_path_factory.mktemp("mixed"))


VIT = {"width": 12, "depth": 1, "samples": 500}
SMALL_DECODER = {"decoder_width": 12, "decoder_depth": 1}
PAIRS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "cmsc": ({"augment": {"lead_masking": 0.5}}, {"name": "xresnet1d10", "width": 8}),
    "cmsmlc": ({}, {"name": "lead_wise", "single": "xresnet1d10", "width": 4}),
    "byol": ({"augment": {"time_masking": 0.2}}, {"name": "wide_resnet1d", "width": 8}),
    "mae": (SMALL_DECODER, {"name": "vit1d", **VIT}),
    "st_mem": (SMALL_DECODER, {"name": "vit1d_lead", **VIT}),
    "jepa": ({"predictor_width": 12, "predictor_depth": 1}, {"name": "vit1d", **VIT}),
    "wav2vec2": ({"augment": {"gaussian_noise": 0.1}}, {"name": "vit1d", **VIT}),
    "bimodal_mae": (SMALL_DECODER, {"name": "bimodal_vit", "joint_depth": 1, **VIT}),
}


@pytest.mark.parametrize("objective", PAIRS)
@pytest.mark.parametrize("crop", [None, 4.0])
def test_pretraining_learns_from_all_of_them(
    objective: str, crop: float | None, mixed: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path
) -> None:
    options, backbone = PAIRS[objective]
    settings = tiny_pretraining.replace(
        objective={"name": objective, **options}, backbone=backbone, epochs=2, crop=crop, keep="last"
    )
    encoder = pretrain(mixed, tmp_path / "out", settings, progress=False)
    assert np.isfinite(pd.read_csv(tmp_path / "out" / "pretraining.csv").to_numpy()).all()
    features = extract_features(encoder, mixed, np.arange(12))
    assert np.isfinite(features).all()
    assert features.std(axis=0).max() > 0


def test_what_is_incomplete_is_said_in_the_log_the_origin_and_the_card(
    mixed: Archive,
    tiny_archive: Archive,
    tiny_pretraining: PretrainSettings,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with caplog.at_level(logging.INFO, "ssl_ecg"):
        encoder = pretrain(mixed, tmp_path / "out", tiny_pretraining.replace(epochs=1), progress=False)
    line = "27 of 80 records are shorter than 5 s, 20 lack leads; what was not recorded counts for nothing"
    assert line in caplog.text
    assert (encoder.origin["short_records"], encoder.origin["records_lacking_leads"]) == (27, 20)
    assert "27 records are shorter than 5 s, 20 lack leads" in (tmp_path / "out" / "README.md").read_text("utf-8")
    caplog.clear()
    whole = pretrain(tiny_archive, tmp_path / "whole", tiny_pretraining.replace(epochs=1), progress=False)
    assert "lack leads" not in caplog.text
    assert (whole.origin["short_records"], whole.origin["records_lacking_leads"]) == (0, 0)


@pytest.mark.parametrize("windows", [None, "scores", "features"])
@pytest.mark.parametrize("backbone", ["xresnet1d10", "vit1d_lead"])
def test_finetuning_learns_from_all_of_them(
    windows: str | None, backbone: str, labelled: Labelled, tiny_finetuning: FinetuneSettings, tmp_path: Path
) -> None:
    archive = cut(labelled.archive, tmp_path / "mixed")
    options = {"width": 8} if backbone == "xresnet1d10" else {**VIT, "patch": 50}
    torch.manual_seed(0)
    encoder = Encoder(backbone, options, archive.settings)
    settings = tiny_finetuning.replace(
        steps=2,
        evaluations=1,
        crop=2.5,
        augment={"lead_masking": 0.3, "gaussian_noise": 0.1},
        windows=WindowSettings(seconds=2.5, over=windows) if windows else WindowSettings(),
    )
    finished = finetune(encoder, labelled.task, archive, labelled.train, labelled.validation, settings)
    assert np.isfinite([row["validation_loss"] for row in finished.curve]).all()
    scores = predict_scores(finished.model, archive, labelled.test[0])
    assert ((scores > 0) & (scores < 1)).all()


def test_a_probe_learns_from_all_of_them(labelled: Labelled, tmp_path: Path) -> None:
    archive = cut(labelled.archive, tmp_path / "mixed")
    table = labelled.archive.folder / "labels" / "conditions.csv"
    split = ssl_ecg.SplitSettings(seed=4, validation=0.25, test=0.25)
    given = {"classes": list(labelled.task.classes), "split": split}
    probed = ssl_ecg.probe(labelled.encoder, archive, table, tmp_path / "out", **given)
    rows = archive.rows(pd.read_csv(tmp_path / "out" / "predictions.csv")["record_id"])
    assert sorted(rows) == sorted(labelled.test[0])
    signals = [torch.from_numpy(part) for part in archive.read(rows)]
    assert (signals[1] < archive.samples).any()
    assert not signals[2].all()
    with torch.inference_mode():
        expected = torch.sigmoid(probed.model.head(labelled.encoder(*signals))).numpy()
    np.testing.assert_allclose(probed.predict(archive, rows).filter(like="_score"), expected, atol=1e-5)
    whole = ssl_ecg.probe(labelled.encoder, labelled.archive, table, **given)
    assert whole.metrics != probed.metrics


@pytest.mark.parametrize("backbone", ["xresnet1d10", "vit1d", "vit1d_lead", "lead_wise"])
def test_a_flat_end_that_was_recorded_is_not_padding(backbone: str, labelled: Labelled) -> None:
    options = {"lead_wise": {"single": "xresnet1d10", "width": 8}, "xresnet1d10": {"width": 8}}.get(backbone, VIT)
    torch.manual_seed(0)
    encoder = Encoder(backbone, options, labelled.archive.settings).eval()
    model = Classifier(encoder, labelled.task).eval()
    torch.nn.init.normal_(model.head.weight)
    signal = torch.from_numpy(labelled.archive.read([0, 1]).signal)
    signal[:, :, 300:] = 0
    flat, short = torch.full((2,), 500), torch.full((2,), 300)
    with torch.inference_mode():
        for function in (encoder, model, model.scores):
            as_whole = function(signal)
            torch.testing.assert_close(function(signal, flat, torch.ones(2, 12, dtype=torch.bool)), as_whole)
            cut_short = function(signal, short)
            assert (cut_short - as_whole).abs().max() > 1e-4
            noise = signal.clone()
            noise[:, :, 300:] = torch.randn(2, 12, 200)
            torch.testing.assert_close(function(noise, short), cut_short)


@pytest.mark.parametrize("backbone", ["vit1d_lead", "lead_wise"])
def test_a_flat_lead_that_was_recorded_is_not_missing(backbone: str, labelled: Labelled) -> None:
    options = {"single": "xresnet1d10", "width": 8} if backbone == "lead_wise" else VIT
    torch.manual_seed(0)
    encoder = Encoder(backbone, options, labelled.archive.settings).eval()
    signal = torch.from_numpy(labelled.archive.read([0, 1]).signal)
    signal[:, 6] = 0
    there = torch.ones(2, 12, dtype=torch.bool)
    missing = there.clone()
    missing[:, 6] = False
    with torch.inference_mode():
        assert torch.equal(encoder(signal, leads=there), encoder(signal))
        assert (encoder(signal, leads=missing) - encoder(signal)).abs().max() > 1e-4


def test_finetuning_shows_the_network_masked_leads_as_recorded(
    labelled: Labelled, tiny_finetuning: FinetuneSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []
    kind = type(labelled.encoder.backbone)
    forward = kind.forward

    def watch(self: Any, signal: torch.Tensor, recorded: torch.Tensor, leads: torch.Tensor) -> torch.Tensor:
        if self.training:
            seen.append((signal, leads))
        return forward(self, signal, recorded, leads)

    monkeypatch.setattr(kind, "forward", watch)
    settings = tiny_finetuning.replace(steps=1, evaluations=1, augment={"lead_masking": 0.9})
    finetune(labelled.encoder, labelled.task, labelled.archive, labelled.train, labelled.validation, settings)
    signal, leads = seen[-1]
    assert leads.all()
    assert (signal == 0).all(2).any()
