"""Whether pretraining learns something useful: a linear probe of the features now and then, on validation patients."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import pytorch_lightning as pl

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.tasks import Task
from ssl_ecg.training.frozen import Rows, Targets, extract_features

SHARE = 0.1
"""of the time of training that a monitor may take"""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Watched:
    """Labelled records that say what features are worth; none of a patient who tests.

    Attributes:
        task: fits the probe, and judges it by its first metric.
        train: archive rows [n] and targets [n, C] that the probe learns from.
        validation: the same of those that choose its strength, and judge it.
    """

    task: Task
    train: tuple[Rows, Targets]
    validation: tuple[Rows, Targets]

    @property
    def metric(self) -> str:
        """Name of what is logged."""
        return f"monitor_{self.task.selection}"


class Monitor(pl.Callback):
    """Log the validation score of a linear probe of frozen features, before the first step and after epochs.

    The first epoch after which it would have taken no more than ``SHARE`` of the time of training has one, and so
    on: every few epochs where labels are many. It changes nothing: networks are in eval mode, and each step of
    training draws from a seed of its own.

    Args:
        watched: labelled records.
        encoder: of the network in training.
        archive: signals.
    """

    def __init__(self, watched: Watched, encoder: Encoder, archive: Archive) -> None:
        self.watched, self.encoder, self.archive = watched, encoder, archive
        self.trained = self.spent = self.last = 0.0

    def state_dict(self) -> dict[str, Any]:
        """Return the seconds of training and of probes so far."""
        return {"trained": self.trained, "spent": self.spent, "last": self.last}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the seconds of the checkpoint."""
        self.__dict__.update({name: float(state_dict[name]) for name in ("trained", "spent", "last")})

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Say what the weights are worth that training starts from."""
        if trainer.global_step:
            return
        score = self._score(trainer)
        logger.info("%s before the first step: %.3f", self.watched.metric, score)
        for each in trainer.loggers:
            each.log_metrics({self.watched.metric: score}, 0)

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock, and forget the score of an earlier epoch."""
        self.started = perf_counter()
        trainer.callback_metrics.pop(self.watched.metric, None)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Fit a probe, where there is time for one."""
        self.trained += perf_counter() - self.started
        due = self.spent + self.last <= SHARE * self.trained
        if trainer.strategy.broadcast(due):
            pl_module.log(self.watched.metric, self._score(trainer), prog_bar=True)

    def _score(self, trainer: pl.Trainer) -> float:
        started, watched = perf_counter(), self.watched
        with trainer.precision_plugin.forward_context():
            train, validation = (
                extract_features(self.encoder, self.archive, rows) for rows, _ in (watched.train, watched.validation)
            )
        probe = watched.task.fit_probe(train, watched.train[1], validation, watched.validation[1])
        self.last = perf_counter() - started
        self.spent += self.last
        return probe.validation_score
