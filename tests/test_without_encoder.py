"""Probe and finetune without an encoder: a new network, from nothing but the archive's signals."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import ssl_ecg
from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder, save_encoder
from ssl_ecg.cli import main
from ssl_ecg.comparison.arms import random_encoder
from ssl_ecg.tasks import load_model
from ssl_ecg.training import patient_hash

pytestmark = pytest.mark.slow

NETWORK = ("backbone=xresnet1d10", "backbone.width=4")
SHORT = ("training.steps=1", "training.batch_size=16", "training.evaluations=1", "training.precision=32-true")


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = tmp_path_factory.mktemp("archive")
    made = ssl_ecg.synthesize(folder, records=120, seed=3, duration=5, workers=1)
    table = pd.read_csv(folder / "labels" / "conditions.csv")[["record_id", "sinus_rhythm", "sinus_bradycardia"]]
    table.to_csv(folder / "two.csv", index=False)
    return made


def paths(archive: Archive, out: Path) -> list[str]:
    return [str(archive.folder), str(archive.folder / "two.csv"), str(out)]


def random_network(archive: Archive, seed: int) -> Encoder:
    return random_encoder(Encoder("xresnet1d10", {"width": 4}, archive.settings), seed)


@pytest.mark.parametrize("verb", ["probe", "finetune"])
def test_a_temperature_is_kept_in_the_weights(archive: Archive, tmp_path: Path, verb: str) -> None:
    words = SHORT if verb == "finetune" else ()
    assert main([verb, "none", *paths(archive, tmp_path / "a"), *NETWORK, *words, "temperature=label"]) == 0
    assert main([verb, "none", *paths(archive, tmp_path / "b"), *NETWORK, *words]) == 0
    table, model = pd.read_csv(tmp_path / "a" / "temperature.csv"), load_model(tmp_path / "a")
    before = load_model(tmp_path / "b")
    signals = archive.read(np.arange(len(archive)))
    odds = [1 / (1 / each.predict(*signals).astype(float) - 1) for each in (model, before)]
    np.testing.assert_allclose(np.log(odds[0]), np.log(odds[1]) / table["temperature"].to_numpy(), atol=1e-4)
    tested = pd.read_csv(tmp_path / "a" / "predictions.csv")
    found = model.predict(*archive.read(archive.rows(tested["record_id"].astype(str).tolist())))
    np.testing.assert_allclose(tested[[f"{name}_score" for name in model.task.classes]], found, atol=1e-5)
    assert not (tmp_path / "b" / "temperature.csv").exists()


def test_a_baseline_needs_no_encoder_and_trains_as_from_scratch(archive: Archive, tmp_path: Path) -> None:
    options = ("training.seed=5", "training.learning_rate=1e-9", "training.weight_decay=0")
    assert main(["finetune", "none", *paths(archive, tmp_path / "a"), *NETWORK, *SHORT, *options]) == 0
    model, start = load_model(tmp_path / "a"), random_network(archive, seed=5)
    for name, weights in model.encoder.backbone.named_parameters():
        torch.testing.assert_close(weights, start.backbone.get_parameter(name), atol=1e-6, rtol=0)
    assert model.encoder.options["width"] == 4
    card = (tmp_path / "a" / "README.md").read_text(encoding="utf-8")
    assert "from random weights" in card
    assert '"head": "zero"' in card
    assert '"layer_decay": 1.0' in card

    training = {"steps": 1, "batch_size": 16, "evaluations": 1, "precision": "32-true"}
    training |= {"seed": 5, "learning_rate": 1e-9, "weight_decay": 0.0}
    backbone = {"name": "xresnet1d10", "width": 4}
    ssl_ecg.finetune(None, *paths(archive, tmp_path / "b"), backbone=backbone, training=training, progress=False)
    assert (tmp_path / "b" / "README.md").read_text(encoding="utf-8") == card


def test_a_probe_without_an_encoder_is_one_of_random_weights(archive: Archive, tmp_path: Path) -> None:
    assert main(["probe", "none", *paths(archive, tmp_path / "none"), *NETWORK]) == 0
    ssl_ecg.probe(random_network(archive, seed=0), *paths(archive, tmp_path / "random"))
    assert (tmp_path / "none" / "predictions.csv").read_bytes() == (
        tmp_path / "random" / "predictions.csv"
    ).read_bytes()


@pytest.mark.parametrize("verb", ["probe", "finetune"])
def test_a_backbone_for_an_encoder_that_has_one_is_refused(
    verb: str, archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    assert main([verb, str(tmp_path / "encoder"), *paths(archive, tmp_path / "out"), *NETWORK]) == 2
    assert "backbone='xresnet1d10': the encoder has a network of its own" in capsys.readouterr().err
    with pytest.raises(ValueError, match="leave backbone out"):
        getattr(ssl_ecg, verb)(random_network(archive, 0), *paths(archive, tmp_path), backbone="xresnet1d10")
    assert not (tmp_path / "out").exists()


def test_patients_that_the_encoder_has_seen_test_only_where_told(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    encoder = random_network(archive, 0)
    encoder.patients = frozenset(map(patient_hash, archive.manifest["patient_id"]))
    save_encoder(encoder, tmp_path / "encoder", "# card\n")
    for verb, options in (("probe", ()), ("finetune", SHORT)):
        command = [verb, str(tmp_path / "encoder"), *paths(archive, tmp_path / verb), *options]
        assert main(command) == 2
        assert "choose seen_patients=test" in " ".join(capsys.readouterr().err.split())
        assert main([*command, "seen_patients=leave_out"]) == 2
        assert not (tmp_path / verb).exists()
        assert main([*command, "seen_patients=test"]) == 0
        tested = len(pd.read_csv(tmp_path / verb / "predictions.csv"))
        assert json.loads((tmp_path / verb / "metrics.json").read_text())["records_of_seen_patients"] == tested
    card = (tmp_path / "finetune" / "README.md").read_text(encoding="utf-8")
    assert f"{tested} test records have ids of patients that the encoder had learned from" in card
