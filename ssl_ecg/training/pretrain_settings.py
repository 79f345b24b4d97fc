"""How a backbone is pretrained: every setting, and which of them decide the weights."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from annotated_types import Ge, Gt, Lt
from pydantic import model_validator

from ssl_ecg.backbones.foreign import describe
from ssl_ecg.backbones.registry import BACKBONES
from ssl_ecg.objectives.registry import OBJECTIVES
from ssl_ecg.settings import Settings, chosen

LoggerName = Literal["jsonl", "tensorboard", "wandb", "mlflow"]
Precision = Literal["auto", "32-true", "bf16-mixed", "16-mixed"]


class PretrainSettings(Settings):
    """How to pretrain."""

    objective: chosen("objective", OBJECTIVES) = "cmsc"  # type: ignore[valid-type]
    """what is learned"""
    backbone: chosen("backbone", BACKBONES, describe=describe) = "xresnet1d18"  # type: ignore[valid-type]
    """the network"""
    start: str | None = None
    """encoder folder whose weights the network starts from, or "synthetic", the encoder that ships; null: from random
    weights. Network, leads, sampling rate and normalisation must be its own"""
    epochs: Annotated[int, Gt(0)] = 16
    """at most; early stopping may end before"""
    batch_size: Annotated[int, Ge(2)] = 128
    """ECGs of a step, over all processes; at least 2, since ECGs are told apart"""
    micro_batch: Annotated[int, Ge(2)] | None = None
    """views of ECGs, two for each with most objectives, that the network sees at once; null: all of a step. Fewer need
    less memory and a third more time, since they are computed twice; the loss is that of the whole batch, while batch
    norms see these views alone. For objectives that compare views"""
    per_patient: Annotated[int, Ge(1)] = 1
    """ECGs of a patient that come together in a batch, where the patient has as many; 1 draws ECGs whoever they are of.
    Objectives that know patients learn from visits that meet"""
    crop: Annotated[float, Gt(0)] | None = None
    """seconds of a random crop of each record, drawn anew every epoch, or null for whole records; with recordings of
    different lengths, at most those of the shortest"""
    learning_rate: Annotated[float, Gt(0)] = 1e-3
    """peak of AdamW's, after warm-up"""
    weight_decay: Annotated[float, Ge(0)] = 0.05
    """AdamW's"""
    beta2: Annotated[float, Gt(0), Lt(1)] = 0.999
    """AdamW's memory of squared gradients; masked autoencoders are trained with 0.95 (He et al., CVPR 2022)"""
    warmup_epochs: Annotated[int, Ge(0)] = 2
    """epochs of linear warm-up"""
    patience: Annotated[int, Gt(0)] = 15
    """epochs without a better validation loss before stopping"""
    keep: Literal["last", "best"] = "last"
    """weights of the encoder: "last", after the learning rate has come down, or "best", those of the lowest validation
    loss. A contrastive loss on few held-out patients is lowest long before the features are best"""
    validation: Annotated[float, Gt(0), Lt(0.5)] = 0.05
    """share of patients kept for the validation loss"""
    precision: Precision = "auto"
    """of the arithmetic; "auto" is bf16-mixed on a GPU that has it, or without a GPU on a processor with AVX512-BF16
    or AMX, else 32-true"""
    devices: Annotated[int, Ge(1)] | Literal["auto"] = "auto"
    """number of devices"""
    workers: Annotated[int, Ge(0)] = 0
    """processes that read batches ahead"""
    seed: Annotated[int, Ge(0)] = 0
    """of everything random"""
    loggers: tuple[LoggerName, ...] = ()
    """where to log beside the table ``pretraining.csv``, which is always written: into the folder OUT.logs"""
    resume: Literal["auto", "yes", "no"] = "auto"
    """"auto" continues where a killed run stopped and otherwise starts; "yes" demands something to continue; "no"
    refuses to overwrite"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.per_patient > self.batch_size:
            raise ValueError(f"per_patient={self.per_patient}: choose at most batch_size, {self.batch_size}")
        return self

    def identity(self) -> dict[str, Any]:
        """Return what decides the weights, JSON-ready: a run is resumed only where this agrees.

        Devices are no part of it: a batch is spread over all processes, so the schedule and the records of a step are
        the same on any number of them, and a run may go on where there are fewer. Views and masks are then drawn anew:
        bit for bit, a resumed run is the uninterrupted one only on as many devices.
        """
        aside = {"resume", "workers", "loggers", "devices", "start"}  # where weights came from is noted by their hash
        return {name: value for name, value in self.to_dict().items() if name not in aside}
