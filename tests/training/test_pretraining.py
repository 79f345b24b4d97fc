from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder, load_encoder
from ssl_ecg.runs import FolderInUseError, Run, lock
from ssl_ecg.training import PretrainSettings, patient_hash, pretrain
from ssl_ecg.training.checkpoints import read_state
from ssl_ecg.training.pretraining import PretrainData, split_patients

pytestmark = pytest.mark.slow

FILES = {"model.safetensors", "config.json", "README.md", "pretraining.csv"}


def run(archive: Archive, out: Path, settings: PretrainSettings, **options: Any) -> Encoder:
    return pretrain(archive, out, settings, progress=False, **options)


def same_weights(one: Encoder, other: Encoder) -> bool:
    pairs = zip(one.backbone.state_dict().items(), other.backbone.state_dict().items(), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


@pytest.fixture(scope="module")
def finished(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a finished run."""
    out = tmp_path_factory.mktemp("finished") / "encoder"
    run(tiny_archive, out, tiny_pretraining)
    return out


def test_leaves_an_encoder_folder_and_a_table(finished: Path, tiny_archive: Archive) -> None:
    assert {path.name for path in finished.iterdir()} == FILES
    encoder = load_encoder(finished)
    encoder.check(tiny_archive.settings)
    features = encoder(*map(torch.from_numpy, tiny_archive.read([0, 1, 2])))
    assert features.shape == (3, encoder.width)
    assert features.isfinite().all()
    table = pd.read_csv(finished / "pretraining.csv")
    assert table["epoch"].tolist() == [0, 1, 2, 3]
    assert table["step"].is_monotonic_increasing
    expected = {"train_loss", "validation_loss", "validation_alignment", "feature_deviation", "effective_rank"}
    assert expected | {"ecg_per_second"} <= set(table)
    assert np.isfinite(table.to_numpy()).all()
    assert (table["effective_rank"] >= 1).all()
    assert table["train_loss"].iloc[-1] < table["train_loss"].iloc[0]


def test_the_metrics_are_those_of_the_last_epoch(finished: Path) -> None:
    table, origin = pd.read_csv(finished / "pretraining.csv"), load_encoder(finished).origin
    assert origin["epoch"] == 3
    assert origin["epochs_run"] == 4
    assert origin["metrics"]["validation_loss"] == pytest.approx(table["validation_loss"][3])


@pytest.mark.parametrize(("keep", "epoch"), [("best", 1), ("last", 3)])
def test_weights_are_those_of_the_epoch_to_keep(
    tiny_archive: Archive,
    tiny_pretraining: PretrainSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    keep: str,
    epoch: int,
) -> None:
    from ssl_ecg.training.pretraining import PretrainModule

    # A validation loss with its minimum at epoch 1, and the weights as they were at each.
    kept: list[dict[str, torch.Tensor]] = []

    def validate(self: PretrainModule, batch: dict[str, torch.Tensor], batch_index: int) -> None:
        if batch_index == 0:
            kept.append({n: t.clone() for n, t in self.objective.backbone.state_dict().items()})
        self.log("validation_loss", [3.0, 1.0, 2.0, 1.0][self.current_epoch], batch_size=1)
        self._features.append(self.objective(batch)["features"])

    monkeypatch.setattr(PretrainModule, "validation_step", validate)
    encoder = run(tiny_archive, tmp_path / "out", tiny_pretraining.replace(keep=keep))
    assert encoder.origin["epoch"] == epoch
    assert len(kept) == 4
    assert all(torch.equal(value, kept[epoch][name]) for name, value in encoder.backbone.state_dict().items())
    assert same_weights(encoder, load_encoder(tmp_path / "out"))


def test_crops_are_what_the_objective_sees(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ssl_ecg.objectives.cmsc import CMSC

    seen: list[torch.Tensor] = []
    forward = CMSC.forward
    monkeypatch.setattr(CMSC, "forward", lambda self, batch: (seen.append(batch["signal"]), forward(self, batch))[1])
    settings = tiny_pretraining.replace(crop=3.0, epochs=1)
    run(tiny_archive, tmp_path / "out", settings)
    assert {signal.shape[-1] for signal in seen} == {300}
    assert settings.identity()["crop"] == 3.0
    with pytest.raises(ValueError, match=r"crop=7.*5 s"):
        run(tiny_archive, tmp_path / "long", tiny_pretraining.replace(crop=7.0))


def test_the_network_sees_so_many_views_at_once(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ssl_ecg.backbones.xresnet1d import XResNet1d

    seen: list[int] = []
    forward = XResNet1d.forward
    monkeypatch.setattr(XResNet1d, "forward", lambda self, x, *rest: (seen.append(len(x)), forward(self, x, *rest))[1])
    settings = tiny_pretraining.replace(epochs=1, micro_batch=12)
    run(tiny_archive, tmp_path / "out", settings)
    assert {12, 8} <= set(seen)  # 32 views of 16 ECGs: 12, 12, 8
    assert max(seen) == 12
    masked = tiny_pretraining.replace(objective="mae", backbone={"name": "vit1d", "width": 24, "depth": 1, "heads": 3})
    with pytest.raises(ValueError, match=r"micro_batch=12: the objective compares no views"):
        run(tiny_archive, tmp_path / "masked", masked.replace(micro_batch=12))


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(
    finished: Path, tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path
) -> None:
    torch.manual_seed(123456)  # what was drawn before does not matter
    again = run(tiny_archive, tmp_path / "again", tiny_pretraining)
    assert same_weights(again, load_encoder(finished))
    other = run(tiny_archive, tmp_path / "other", tiny_pretraining.replace(seed=4, epochs=1))
    assert not same_weights(other, again)


def test_card_and_config_say_what_a_stranger_must_know_and_name_no_patient(
    finished: Path, tiny_archive: Archive
) -> None:
    card, config = (finished / "README.md").read_text(), (finished / "config.json").read_text()
    for fact in ("xresnet1d10", "cmsc", "100 Hz", "V6", "0.5 to 40", "Limits", "lead_masking"):
        assert fact in card
    for patient in tiny_archive.manifest["patient_id"].unique():
        assert patient not in card
        assert patient not in config
    for record in tiny_archive.manifest["record_id"]:
        assert record not in card
        assert record not in config
    assert load_encoder(finished).patients == set(map(patient_hash, tiny_archive.manifest["patient_id"].unique()))
    origin = json.loads(config)["origin"]
    assert origin["training_records"] + origin["validation_records"] == len(tiny_archive)
    assert f"| records | {origin['training_records']} for training, {origin['validation_records']} for" in card


def test_held_out_patients_are_never_read(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: set[int] = set()
    original = Archive.stored

    def spy(self: Archive, rows: Any) -> np.ndarray:
        read.update(np.atleast_1d(rows).tolist())
        return original(self, rows)

    monkeypatch.setattr(Archive, "stored", spy)
    # Patients with several records, of which only one is named.
    several = np.flatnonzero(np.bincount(tiny_archive.patient) > 1)[:5]
    holdout = np.array([np.flatnonzero(tiny_archive.patient == patient)[-1] for patient in several])
    encoder = run(tiny_archive, tmp_path / "out", tiny_pretraining.replace(epochs=2), holdout=holdout)
    held = np.isin(tiny_archive.patient, several)
    assert held.sum() > len(holdout)
    assert not read & set(np.flatnonzero(held).tolist())
    assert len(read) > 0.8 * (~held).sum()
    names = tiny_archive.manifest["patient_id"]
    assert encoder.patients == set(map(patient_hash, names[~held].unique()))
    assert not encoder.patients & set(map(patient_hash, names[held].unique()))
    assert encoder.origin["held_out_records"] == held.sum()


def test_validation_patients_do_not_train(tiny_archive: Archive) -> None:
    rows = np.arange(len(tiny_archive))
    train, validation = split_patients(tiny_archive, rows, 0.2, seed=3)
    assert sorted([*train, *validation]) == rows.tolist()
    patients = tiny_archive.patient
    assert not set(patients[train]) & set(patients[validation])
    assert len(set(patients[validation])) == round(0.2 * len(set(patients)))
    assert not np.array_equal(validation, split_patients(tiny_archive, rows, 0.2, seed=4)[1])
    one = np.flatnonzero(patients == patients[0])
    with pytest.raises(ValueError, match="1 patients to pretrain on"):
        split_patients(tiny_archive, one, 0.2, seed=0)


def test_visits_of_a_patient_meet_in_training_batches_where_wanted(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings
) -> None:
    rows = np.arange(len(tiny_archive))

    def meetings(per_patient: int, validation: bool = False) -> list[int]:
        data = PretrainData(tiny_archive, rows, rows, tiny_pretraining.replace(per_patient=per_patient))
        loader = data.val_dataloader() if validation else data.train_dataloader()
        return [len(batch["patient"]) - len(batch["patient"].unique()) for batch in loader]

    assert sum(meetings(3)) > 1.5 * sum(meetings(1))
    assert meetings(3, validation=True) == meetings(1, validation=True)


@pytest.mark.parametrize("objective", ["cmsc", "cmlc", "cmsmlc"])
def test_single_lead_pretraining_gives_an_encoder_of_all_leads(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path, objective: str
) -> None:
    options = {
        "projector_width": 16,
        "embedding": 8,
        **({"leads": "single", "augment": {}} if objective == "cmsc" else {}),
    }
    backbone = {"name": "lead_wise", "single": "xresnet1d10", "width": 4}
    settings = tiny_pretraining.replace(objective={"name": objective, **options}, backbone=backbone, epochs=2)
    encoder = run(tiny_archive, tmp_path / "out", settings)
    loaded, signals = load_encoder(tmp_path / "out"), [*map(torch.from_numpy, tiny_archive.read([0, 1, 2]))]
    assert loaded(*signals).shape == (3, encoder.width)
    assert torch.equal(loaded(*signals), encoder(*signals))
    table = pd.read_csv(tmp_path / "out" / "pretraining.csv")
    assert table["train_loss"][1] < table["train_loss"][0]


def test_a_joint_objective_names_its_parts_in_the_table(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path
) -> None:
    sizes = {"options": {"projector_width": 16, "embedding": 8}}
    parts = {"cmsc": {"weight": 1.0, **sizes}, "vicreg": {"weight": 0.02, **sizes}}
    run(tiny_archive, tmp_path, tiny_pretraining.replace(objective={"name": "joint", "parts": parts}))
    table = pd.read_csv(tmp_path / "pretraining.csv")
    whole = table["validation_cmsc_loss"] + 0.02 * table["validation_vicreg_loss"]
    np.testing.assert_allclose(table["validation_loss"], whole, rtol=1e-4)


def test_early_stopping_stops_after_so_many_epochs_without_a_better_one(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path
) -> None:
    # Far too high a learning rate: the validation loss soon gets no better.
    settings = tiny_pretraining.replace(epochs=60, patience=2, learning_rate=0.5)
    encoder = run(tiny_archive, tmp_path / "out", settings)
    losses = pd.read_csv(tmp_path / "out" / "pretraining.csv")["validation_loss"]
    assert len(losses) < 60
    assert len(losses) == int(losses.idxmin()) + 1 + 2
    assert encoder.origin["epochs_run"] == len(losses)


def test_a_finished_run_is_not_run_again(
    finished: Path, tiny_archive: Archive, tiny_pretraining: PretrainSettings, caplog: pytest.LogCaptureFixture
) -> None:
    before = {path: path.stat().st_mtime_ns for path in finished.iterdir()}
    with caplog.at_level(logging.INFO, "ssl_ecg"):
        encoder = run(tiny_archive, finished, tiny_pretraining.replace(resume="yes"))
    assert "finished already" in caplog.text
    assert same_weights(encoder, load_encoder(finished))
    assert {path: path.stat().st_mtime_ns for path in finished.iterdir()} == before


def test_a_folder_with_another_run_is_refused_by_setting(
    finished: Path, tiny_archive: Archive, tiny_pretraining: PretrainSettings
) -> None:
    with pytest.raises(ValueError, match=r"settings\.seed: 3 there, 9 now") as error:
        run(tiny_archive, finished, tiny_pretraining.replace(seed=9))
    assert "epochs" not in str(error.value)
    wider = {**tiny_pretraining.backbone.to_dict(), "width": 16}
    with pytest.raises(ValueError, match=r"settings\.backbone\.width: 8 there, 16 now"):
        run(tiny_archive, finished, tiny_pretraining.replace(backbone=wider))
    with pytest.raises(ValueError, match=r"records: 80 there, \d+ now"):
        run(tiny_archive, finished, tiny_pretraining, holdout=np.array([0]))
    with pytest.raises(FileExistsError, match=r"holds a run already"):
        run(tiny_archive, finished, tiny_pretraining.replace(resume="no"))


def test_a_folder_that_another_process_pretrains_into_is_refused(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path
) -> None:
    with lock(tmp_path), pytest.raises(FolderInUseError, match=r"out='.*': another process is working in this folder"):
        run(tiny_archive, tmp_path, tiny_pretraining)
    assert not list(tmp_path.iterdir())


def test_what_a_kill_right_after_the_encoder_was_written_left_is_removed(
    finished: Path, tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path
) -> None:
    out = Path(shutil.copytree(finished, tmp_path / "out"))
    (out / "checkpoints").mkdir()
    for name in ("checkpoints/last.ckpt", "run.json"):
        (out / name).touch()
    run(tiny_archive, out, tiny_pretraining)
    assert {path.name for path in out.iterdir()} == {path.name for path in finished.iterdir()}


def test_resume_yes_needs_a_run_and_no_starts_one(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path
) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no run to resume"):
        run(tiny_archive, tmp_path / "out", tiny_pretraining.replace(resume="yes"))
    assert not (tmp_path / "out").exists()
    run(tiny_archive, tmp_path / "out", tiny_pretraining.replace(resume="no", epochs=1))
    assert load_encoder(tmp_path / "out").origin["epochs_run"] == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"objective": "cmcs"}, "objective='cmcs'"),
        ({"backbone": "resnet5"}, "backbone='resnet5'"),
        ({"objective": {"name": "cmsc", "temprature": 1}}, "objective.temprature=1: .* did you mean temperature"),
        ({"loggers": ("comet",)}, r"loggers\.0=.comet."),
    ],
)
def test_a_run_refused_for_its_settings_does_not_block_the_folder(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        run(tiny_archive, tmp_path, tiny_pretraining.replace(**change))
    run(tiny_archive, tmp_path, tiny_pretraining.replace(epochs=1))
    assert (tmp_path / "config.json").is_file()


@pytest.mark.parametrize("broken_epoch", [0, 2])
def test_a_loss_that_is_not_finite_ends_the_run(
    tiny_archive: Archive,
    tiny_pretraining: PretrainSettings,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    broken_epoch: int,
) -> None:
    from ssl_ecg.training.pretraining import PretrainModule

    original = PretrainModule.training_step

    def break_down(self: PretrainModule, batch: dict[str, torch.Tensor], batch_index: int) -> torch.Tensor:
        return original(self, batch, batch_index) * (float("nan") if self.current_epoch >= broken_epoch else 1)

    monkeypatch.setattr(PretrainModule, "training_step", break_down)
    settings = tiny_pretraining.replace(epochs=5)
    with pytest.raises(ValueError, match=r"learning_rate=0\.001: the training loss is nan .*lower the learning rate"):
        run(tiny_archive, tmp_path / "out", settings)
    left = {path.name for path in (tmp_path / "out").iterdir()}
    if broken_epoch == 0:  # nothing is left that would stand in the way of another try
        assert left == {"not_finite.csv", "run.json"}
        monkeypatch.setattr(PretrainModule, "training_step", original)
        run(tiny_archive, tmp_path / "out", settings.replace(epochs=1, learning_rate=1e-4))
    else:  # what was good before is kept
        assert left == {"not_finite.csv", "run.json", "checkpoints", "pretraining.csv"}
        assert read_state(Run(tmp_path / "out").last)["epoch"] == broken_epoch - 1


@pytest.mark.parametrize(
    "change",
    [
        {"epochs": 0},
        {"batch_size": -1},
        {"batch_size": 1},
        {"learning_rate": 0.0},
        {"learning_rate": float("nan")},
        {"weight_decay": -0.1},
        {"warmup_epochs": -1},
        {"workers": -1},
        {"seed": -1},
        {"patience": 0},
        {"per_patient": 0},
        {"micro_batch": 1},
        {"crop": 0.0},
        {"validation": 0.5},
        {"resume": "ja"},
    ],
)
def test_impossible_settings_are_refused_by_name(change: dict[str, Any]) -> None:
    (name, value) = next(iter(change.items()))
    with pytest.raises(ValueError, match=rf"{name}={value!r}"):
        PretrainSettings(**change)


def test_loggers_write_beside_the_folder(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path
) -> None:
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    out = tmp_path / "encoder"
    run(tiny_archive, out, tiny_pretraining.replace(epochs=2, loggers=("tensorboard", "jsonl")))
    events = EventAccumulator(str(tmp_path / "encoder.logs" / "tensorboard"))
    events.Reload()
    assert {"train_loss", "validation_loss", "effective_rank"} <= set(events.Tags()["scalars"])
    logged = [event.value for event in events.Scalars("validation_loss")]
    table = pd.read_csv(out / "pretraining.csv")
    assert logged == pytest.approx(table["validation_loss"].tolist(), rel=1e-5)
    lines = pd.read_json(tmp_path / "encoder.logs" / "metrics.jsonl", lines=True)
    assert lines["validation_loss"].dropna().tolist() == pytest.approx(table["validation_loss"].tolist(), rel=1e-5)
    assert {path.name for path in out.iterdir()} == FILES


def test_wandb_logs_offline_without_account_or_network(
    tiny_archive: Archive, tiny_pretraining: PretrainSettings, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    home.mkdir()
    code = f"""
import socket
def refuse(self, address, *rest):
    if not (isinstance(address, str) or address[0] in ("127.0.0.1", "::1", "localhost")):
        raise OSError(f"no network: {{address}}")
    return connect(self, address, *rest)
connect, socket.socket.connect = socket.socket.connect, refuse
from ssl_ecg.archive import open_archive
from ssl_ecg.training import PretrainSettings, pretrain
settings = PretrainSettings(**{tiny_pretraining.to_dict()})
settings = PretrainSettings(**{{**vars(settings), "epochs": 1, "loggers": ("wandb",)}})
pretrain(open_archive({str(tiny_archive.folder)!r}), {str(tmp_path / "out")!r}, settings, progress=False)
"""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("WANDB")}
    environment |= {"HOME": str(home), "XDG_CACHE_HOME": str(home), "XDG_CONFIG_HOME": str(home)}
    # Where nothing answers: a try to reach the service would fail.
    environment |= {"HTTPS_PROXY": "http://127.0.0.1:9", "HTTP_PROXY": "http://127.0.0.1:9", "OMP_NUM_THREADS": "1"}
    result = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    assert result.returncode == 0, result.stderr
    assert (tmp_path / "out" / "config.json").is_file()
    (log,) = (tmp_path / "out.logs" / "wandb").glob("offline-run-*/run-*.wandb")
    assert b"validation_loss" in log.read_bytes()
