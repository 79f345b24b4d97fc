"""What the engine sees of a classifier: the loss of a batch, evaluations on validation, the optimizer."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from ssl_ecg.tasks import Classifier, supervised_contrastive_loss
from ssl_ecg.tasks.attention import attention_loss
from ssl_ecg.tasks.heads import BESIDE_RATE, WideHead
from ssl_ecg.tasks.label_correction import Correction
from ssl_ecg.training.batches import in_millivolts
from ssl_ecg.training.checkpoints import write_state
from ssl_ecg.training.engine import decay_groups, not_decayed, one_cycle, seed_step, warmup_cosine
from ssl_ecg.training.finetune_settings import FinetuneSettings
from ssl_ecg.training.loggers import log_rows
from ssl_ecg.views import Augment, random_crop, semantic_views

SCHEDULES = {"cosine": warmup_cosine, "onecycle": one_cycle}


def layer_groups(model: Classifier, settings: FinetuneSettings) -> list[dict[str, Any]]:
    """Return AdamW parameter groups: layer-wise decayed learning rates, no weight decay on biases and norms."""
    from timm.optim import param_groups_layer_decay

    backbone = model.encoder.backbone
    plain = not_decayed(backbone)
    groups = param_groups_layer_decay(backbone, settings.weight_decay, plain, layer_decay=settings.layer_decay)
    wide = model.head if isinstance(model.head, WideHead) else None
    groups += decay_groups(wide.deep if wide else model.head, settings.weight_decay)
    if wide:
        rate = {"lr_scale": BESIDE_RATE, "weight_decay": settings.weight_decay}
        groups.append({"params": [wide.beside.weight], **rate})
    for group in groups:
        group["lr"] = settings.learning_rate * group.pop("lr_scale", 1.0)
        group.pop("param_names", None)
    return groups


class FinetuneModule(pl.LightningModule):
    """The engine's view of a classifier.

    Args:
        model: what is trained.
        settings: how.
        steps: of the whole training; None: what the settings say, where a pass is one batch.
        state: of a run that continues, as it was after its last evaluation.
        path: file for the state after every evaluation, if wanted.
        told: loggers of every evaluation.
        zeros_stay: whether weights of the backbone's layers that are 0 are left so.
    """

    def __init__(
        self,
        model: Classifier,
        settings: FinetuneSettings,
        steps: int | None = None,
        state: Mapping[str, Any] | None = None,
        path: Path | None = None,
        told: Sequence[Logger] = (),
        zeros_stay: bool = False,
    ) -> None:
        super().__init__()
        self.told = told
        self.steps, self.state, self.path = steps or settings.steps_of(1), state, path
        self.done = 0 if state is None else int(state["step"])
        self.model = model
        self.settings = settings
        encoder = model.encoder
        self.augment = Augment(settings.augment, encoder.sampling_rate, encoder.leads)
        self.crop = encoder.samples
        if settings.crop is not None and not settings.windows.of_features:
            self.crop = min(encoder.samples, round(settings.crop * encoder.sampling_rate))
        self.curve: list[dict[str, float]] = [] if state is None else list(state["curve"])
        self.best_state: dict[str, Tensor] = {} if state is None else state["best_state"]
        if state is not None:
            model.load_state_dict(state["model"])
        for weight in encoder.backbone.parameters() if zeros_stay else ():
            if weight.ndim > 1:  # without a gradient AdamW leaves a 0 as it is
                weight.register_hook(lambda gradient, weight=weight: gradient * (weight != 0))
        self.correction: Correction | None = None
        self._losses: list[Tensor] = []
        self._outputs: list[tuple[Tensor, Tensor]] = []

    @property
    def best(self) -> dict[str, float]:
        """The evaluation with the best validation score, the earliest of equals."""
        metric = self.model.task.selection
        return metric.best(self.curve, key=lambda row: row[f"validation_{metric}"])

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Convert stored signals, on the device."""
        return in_millivolts(batch)

    def on_train_batch_start(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Seed the step, and keep the batch norms' statistics where wanted."""
        seed_step(self.settings.seed, self.done + self.global_step)
        if self.settings.norms_kept:
            for module in self.model.modules():
                if isinstance(module, nn.modules.batchnorm._BatchNorm):
                    module.eval()

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Return the task's loss on augmented crops."""
        signal, recorded, leads = self.model.encoder.prepare(batch["signal"], batch["recorded"], batch["leads"])
        signal, recorded = random_crop(signal, recorded, self.crop)
        crop, signal = signal, self.augment(signal, recorded, leads)
        if self.settings.attention:
            steps, counted, present = self.model.steps(signal, recorded, leads)
            features = self.model.pool(steps, counted, present)
        else:
            features = self.model.features(signal, recorded, leads)
        logits, targets = self.model.logits(features, batch.get("static")), batch["targets"]
        if self.correction is None:
            loss = self.model.task.loss(logits, targets)
        else:
            loss = self.correction.loss(self.model.task.loss, logits, targets, batch["row"])
        if self.settings.supervised_contrastive:
            if self.settings.semantic_views:
                features = self._of_views(crop, recorded, leads, batch["targets"])
            attraction = supervised_contrastive_loss(features, batch["targets"])
            loss = loss + self.settings.supervised_contrastive * attraction
        if self.settings.attention:
            counted = (counted & present[..., None]).flatten(1)
            apart = attention_loss(steps.flatten(1, 2), self.model.head, batch["targets"], counted)
            loss = loss + self.settings.attention * apart
        self._losses.append(loss.detach())
        return loss

    def _of_views(self, crop: Tensor, recorded: Tensor, leads: Tensor, targets: Tensor) -> Tensor:
        """Return the features of both semantic views of crops, [2, B, D]."""
        classes = self.model.task.classes
        ordered = [classes.index(name) for name in self.settings.keep_order]
        # A label that is not known may be one of them.
        in_order = (targets[:, ordered] != 0).any(1)
        views = semantic_views(crop, recorded, leads, self.model.encoder.sampling_rate, in_order)
        return torch.stack([self.model.features(self.augment(v, recorded, leads), recorded, leads) for v in views])

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Collect logits of records."""
        logits = self.model(batch["signal"], batch["recorded"], batch["leads"], batch.get("static"))
        self._outputs.append((logits.float(), batch["targets"]))

    def on_validation_epoch_end(self) -> None:
        """Score validation and keep the weights where it is the best so far."""
        logits, targets = (torch.cat(parts).cpu() for parts in zip(*self._outputs))
        self._outputs.clear()
        row = self.judge(logits, targets)
        name = f"validation_{self.model.task.selection}"
        self.log(name, row[name], prog_bar=True)
        if not self.trainer.optimizers:  # before the first step
            return
        if self.correction is not None:
            self.correction.update()
        if self.path is not None:
            write_state(self._state(), self.path)

    def judge(self, logits: Tensor, targets: Tensor) -> dict[str, float]:
        """Score logits [n, outputs] of validation, keep the weights where it is the best so far, return the row."""
        metrics = self.model.task.evaluate(targets.numpy(), self.model.task.scores(logits).numpy())
        row = {
            "step": float(self.done + self.global_step),
            "train_loss": float(torch.stack(self._losses).mean()) if self._losses else float("nan"),
            "validation_loss": float(self.model.task.loss(logits, targets)),
            **{f"validation_{name}": float(value) for name, value in metrics.items()},
        }
        self._losses.clear()
        self.curve.append(row)
        log_rows(self.told, [row])
        if self.best is row:
            self.best_state = copy.deepcopy(self.model.state_dict())
        return row

    def _state(self) -> dict[str, Any]:
        """Return all that the steps after this one depend on."""
        return {
            "step": self.done + self.global_step,
            "model": self.model.state_dict(),
            "optimizer": self.trainer.optimizers[0].state_dict(),
            "schedule": self.trainer.lr_scheduler_configs[0].scheduler.state_dict(),
            "curve": self.curve,
            "best_state": self.best_state,
            "correction": None if self.correction is None else self.correction.state(),
        }

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with layer-wise learning rates and the schedule, by steps."""
        settings = self.settings
        optimizer = torch.optim.AdamW(layer_groups(self.model, settings), lr=settings.learning_rate)
        made = SCHEDULES[settings.schedule](optimizer, self.steps, round(settings.warmup * self.steps))
        if self.state is not None:
            optimizer.load_state_dict(self.state["optimizer"])
            made["lr_scheduler"]["scheduler"].load_state_dict(self.state["schedule"])  # type: ignore[index]
        return made
