"""How a backbone is pretrained: every setting, and which of them decide the weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from typing import Any

RESUME = ("auto", "yes", "no")
KEEP = ("last", "best")


@dataclass(frozen=True)
class PretrainSettings:
    """How to pretrain.

    Attributes:
        objective: name, see ``list_objectives()``.
        objective_options: options of the objective.
        backbone: name, see ``list_backbones()``.
        backbone_options: options of the backbone.
        epochs: at most; early stopping may end before.
        batch_size: ECGs of a step, over all processes.
        per_patient: ECGs of a patient that come together in a batch, where the patient has as many; 1 draws ECGs
            whoever they are of. Objectives that know patients learn from visits that meet.
        crop: seconds of a random crop of each record, drawn anew every epoch, or None for whole records; with
            recordings of different lengths, at most those of the shortest.
        learning_rate: peak of AdamW's, after warm-up.
        weight_decay: AdamW's.
        beta2: AdamW's memory of squared gradients; masked autoencoders are trained with 0.95 (He et al., CVPR 2022).
        warmup_epochs: epochs of linear warm-up.
        patience: epochs without a better validation loss before stopping.
        keep: weights of the encoder: "last", after the learning rate has come down, or "best", those of the lowest
            validation loss. A contrastive loss on few held-out patients is lowest long before the features are best.
        validation: share of patients kept for the validation loss.
        precision: "auto", "32-true", "bf16-mixed" or "16-mixed".
        devices: number of devices, or "auto".
        workers: processes that read batches ahead.
        seed: of everything random.
        loggers: any of "tensorboard", "wandb"; the table ``pretraining.csv`` is always written.
        resume: "auto" continues where a killed run stopped and otherwise starts; "yes" demands something to continue;
            "no" refuses to overwrite.
    """

    objective: str = "cmsc"
    objective_options: dict[str, Any] = field(default_factory=dict)
    backbone: str = "xresnet1d18"
    backbone_options: dict[str, Any] = field(default_factory=dict)
    epochs: int = 16
    batch_size: int = 128
    per_patient: int = 1
    crop: float | None = None
    learning_rate: float = 1e-3
    weight_decay: float = 0.05
    beta2: float = 0.999
    warmup_epochs: int = 2
    patience: int = 15
    keep: str = "last"
    validation: float = 0.05
    precision: str = "auto"
    devices: int | str = "auto"
    workers: int = 0
    seed: int = 0
    loggers: tuple[str, ...] = ()
    resume: str = "auto"

    def __post_init__(self) -> None:
        for name in ("epochs", "learning_rate", "patience"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be above 0")
        for name in ("weight_decay", "warmup_epochs", "workers", "seed"):
            if not getattr(self, name) >= 0:
                raise ValueError(f"{name}={getattr(self, name)}: must be at least 0")
        if self.batch_size < 2:
            raise ValueError(f"batch_size={self.batch_size}: choose at least 2, since ECGs are told apart")
        if self.crop is not None and not self.crop > 0:
            raise ValueError(f"crop={self.crop}: must be above 0 seconds, or null for whole records")
        if not 0 < self.beta2 < 1:
            raise ValueError(f"beta2={self.beta2}: must be above 0 and below 1")
        if not 0 < self.validation < 0.5:
            raise ValueError(f"validation={self.validation}: choose a share of the patients above 0 and below 0.5")
        if not 1 <= self.per_patient <= self.batch_size:
            raise ValueError(f"per_patient={self.per_patient}: choose between 1 and batch_size, {self.batch_size}")
        for name, choices in (("resume", RESUME), ("keep", KEEP)):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name}={getattr(self, name)!r}: choose one of {', '.join(choices)}")

    def identity(self) -> dict[str, Any]:
        """Return what decides the weights, JSON-ready: a run is resumed only where this agrees.

        Devices are no part of it: a batch is spread over all processes, so the schedule and the records of a step are
        the same on any number of them, and a run may go on where there are fewer. Views and masks are then drawn anew:
        bit for bit, a resumed run is the uninterrupted one only on as many devices.
        """
        values = asdict(self)
        for name in ("resume", "workers", "loggers", "devices"):
            del values[name]
        if self.crop is None:
            del values["crop"]  # runs of releases that knew no crops continue
        return json.loads(json.dumps(values))
