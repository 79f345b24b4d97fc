"""The probe that watches pretraining changes nothing, sees nobody who tests, and takes its share of the time."""

from __future__ import annotations

import itertools
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import numpy as np
import pandas as pd
import pytest
import torch

import ssl_ecg
from ssl_ecg.archive import Archive, open_archive
from ssl_ecg.backbones import load_encoder
from ssl_ecg.labels import SplitSettings, read_labels
from ssl_ecg.tasks import Task
from ssl_ecg.training import PretrainSettings, extract_features, monitor, pretrain
from ssl_ecg.training.monitor import Monitor, Watched

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def watched(labelled) -> Watched:
    return Watched(labelled.task, labelled.train, labelled.validation)


@pytest.fixture(scope="module")
def plain(labelled, tiny_pretraining: PretrainSettings, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("plain") / "encoder"
    pretrain(labelled.archive, out, tiny_pretraining, progress=False)
    return out


def same(one: Path, other: Path) -> bool:
    pairs = zip(*(load_encoder(path).backbone.state_dict().items() for path in (one, other)), strict=True)
    return all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs)


def test_the_last_score_is_that_of_a_probe_of_the_encoder_and_weights_are_the_same(
    labelled, watched: Watched, plain: Path, tiny_pretraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "SHARE", 1e9)
    settings = tiny_pretraining.replace(loggers=("jsonl",))
    encoder = pretrain(labelled.archive, tmp_path / "encoder", settings, progress=False, watched=watched)
    assert same(tmp_path / "encoder", plain)
    scores = pd.read_csv(tmp_path / "encoder" / "pretraining.csv")["monitor_macro_auroc"]
    assert scores.notna().all()
    train, validation = (
        extract_features(encoder, labelled.archive, rows) for rows, _ in (watched.train, watched.validation)
    )
    probe = labelled.task.fit_probe(train, watched.train[1], validation, watched.validation[1])
    assert scores.iloc[-1] == pytest.approx(probe.validation_score)
    logged = pd.read_json(tmp_path / "encoder.logs" / "metrics.jsonl", lines=True)
    logged = logged.dropna(subset="monitor_macro_auroc")
    assert logged["step"].iloc[0] == 0
    assert logged["monitor_macro_auroc"].tolist()[1:] == pytest.approx(scores.tolist())


def test_a_killed_run_goes_on_to_the_same_weights(
    labelled, watched: Watched, plain: Path, tiny_pretraining, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(monitor, "SHARE", 1e9)
    begin = Monitor.on_train_epoch_start

    def kill(self: Monitor, trainer, module) -> None:
        if trainer.current_epoch == 2:
            raise RuntimeError("killed")
        begin(self, trainer, module)

    with monkeypatch.context() as patched:
        patched.setattr(Monitor, "on_train_epoch_start", kill)
        with pytest.raises(RuntimeError, match="killed"):
            pretrain(labelled.archive, tmp_path / "encoder", tiny_pretraining, progress=False, watched=watched)
    assert not (tmp_path / "encoder" / "config.json").exists()
    pretrain(labelled.archive, tmp_path / "encoder", tiny_pretraining, progress=False, watched=watched)
    assert same(tmp_path / "encoder", plain)


def test_it_takes_its_share_of_the_time(watched: Watched, labelled, monkeypatch: pytest.MonkeyPatch) -> None:
    """An epoch takes a second by this clock, as does a probe: two of them are paid for by twenty epochs."""
    clock = itertools.count()
    monkeypatch.setattr(monitor, "perf_counter", lambda: float(next(clock)))
    monkeypatch.setattr(monitor, "extract_features", lambda *_: None)
    monkeypatch.setattr(Task, "fit_probe", lambda *_: SimpleNamespace(validation_score=0.5))
    module, trainer = MagicMock(), MagicMock(global_step=0, loggers=[], callback_metrics={"monitor_macro_auroc": 0.4})
    trainer.strategy.broadcast = bool
    watch, scored = Monitor(watched, labelled.encoder, labelled.archive), []
    watch.on_train_start(trainer, module)
    for epoch in range(40):
        if epoch == 25:  # killed
            state, watch = watch.state_dict(), Monitor(watched, labelled.encoder, labelled.archive)
            watch.load_state_dict(state)
        watch.on_train_epoch_start(trainer, module)
        assert trainer.callback_metrics == {}
        watch.on_train_epoch_end(trainer, module)
        scored += [epoch] * module.log.call_count
        module.reset_mock()
    assert scored == [19, 29, 39]


def test_nobody_who_tests_is_watched(labelled, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Watched] = []
    monkeypatch.setattr("ssl_ecg.verbs.pretrain.run", lambda *given: seen.append(given[-1]))
    archive: Archive = labelled.archive
    table = archive.folder / "labels" / "conditions.csv"
    some = tmp_path / "some.csv"
    pd.read_csv(table).iloc[::2].to_csv(some, index=False)
    split = SplitSettings(seed=4, validation=0.25, test=0.25)
    classes = ("sinus_rhythm", "sinus_bradycardia")
    ssl_ecg.pretrain(archive, tmp_path / "a", holdout=table, monitor=some, split=split, classes=classes)
    ssl_ecg.pretrain(archive, tmp_path / "b", monitor=some, split=split, classes=classes)
    labels = read_labels(table, open_archive(archive.folder), classes)
    testing = set(archive.patient[labels.rows[split.split(labels).test]])
    for found in seen:
        train, validation = (set(archive.patient[rows]) for rows, _ in (found.train, found.validation))
        assert train
        assert validation
        assert not (train | validation) & testing
        assert not train & validation
        assert np.isin(np.unique(found.validation[1]), [0, 1]).all()
