"""Finetuning: an encoder, labels and a task in; a classifier with the best validation score out.

Pretrained features are kept where labels are few: the head starts as the linear probe (Kumar et al., ICLR 2022: probe,
then finetune), lower layers learn more slowly (layer-wise decay), and batch norms can keep their pretraining
statistics. The state before the first step, which is the probe itself, is one of the candidates that validation chooses
from. A randomly initialised encoder goes through the same code as the supervised baseline.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from pytorch_lightning.loggers import Logger

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Backbone, Encoder
from ssl_ecg.backbones.attention_pooled import with_attention
from ssl_ecg.runs import Run
from ssl_ecg.tasks import Classifier, Task
from ssl_ecg.tasks.heads import Head, WideHead
from ssl_ecg.tasks.label_correction import Correction
from ssl_ecg.tasks.linear_probe import LinearProbe
from ssl_ecg.tasks.static_inputs import check_static
from ssl_ecg.training.batches import ArchiveBatches, EpochBatches, EveryStep, OnePerPatient, batch_loader
from ssl_ecg.training.checkpoints import read_state
from ssl_ecg.training.engine import make_trainer
from ssl_ecg.training.finetune_module import FinetuneModule
from ssl_ecg.training.finetune_settings import FinetuneSettings
from ssl_ecg.training.frozen import (
    EVALUATION_BATCH,
    Features,
    Rows,
    Targets,
    model_features,
    says_nothing,
    start_as_probe,
)
from ssl_ecg.training.stops import FiniteLoss, told_of_memory

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Finetuned:
    """What finetuning leaves behind.

    Attributes:
        model: the classifier of the best evaluation, in eval mode, on the CPU.
        curve: one row per evaluation: step, train_loss, validation_loss and the task's validation metrics.
        best: the chosen row of ``curve``.
    """

    model: Classifier
    curve: list[dict[str, float]]
    best: dict[str, float]


def finetune(
    encoder: Encoder,
    task: Task,
    archive: Archive,
    train: tuple[Rows, Targets],
    validation: tuple[Rows, Targets],
    settings: FinetuneSettings,
    progress: bool = False,
    run: Run | None = None,
    frozen: Features | None = None,
    loggers: Sequence[Logger] = (),
    zeros_stay: bool = False,
    prior: LinearProbe | None = None,
) -> Finetuned:
    """Train an encoder and a head with labels; the test set is not seen here.

    Args:
        encoder: where to start; a copy is trained.
        task: head, loss and metrics.
        archive: signals.
        train: archive rows [n] and targets [n, C], NaN where unknown; records without information for the task are
            left out.
        validation: the same for the records that choose the best evaluation.
        settings: how.
        progress: show a progress bar.
        run: folder in which the state is kept after every evaluation, and from which a killed run goes on; its caller
            has made sure that it is about the same, and clears it.
        frozen: the encoder's features of archive rows, where they are kept; None: they are made here where needed.
        loggers: told of every evaluation on validation.
        zeros_stay: leave weights of the encoder's layers that are 0 so, as pruning made them.
        prior: the probe of the encoder's features that needs no label, to which the probe that a head starts as is
            pulled.

    Raises:
        ValueError: the archive was prepared otherwise than the encoder expects, no record to train on, a setting that
            the task has no use for or the records do not allow, a loss that is not finite, or too little memory.
    """
    encoder.check(archive.settings)
    for name in ("supervised_contrastive", "attention", "label_correction"):
        if getattr(settings, name) and not task.of_labels:
            raise ValueError(f"{name}={getattr(settings, name)}: task {task.name!r} has no labels to learn it from")
    if unknown := sorted(set(settings.keep_order) - set(task.classes)):
        raise ValueError(f"keep_order={unknown}: are no classes; choose of {', '.join(task.classes)}")
    if settings.attention and type(encoder.backbone).forward is not Backbone.forward:
        raise ValueError(f"attention={settings.attention}: backbone {encoder.name!r} does more than pool its steps")
    check_static(settings.static, archive, task)
    informative = task.informative(train[1])
    train = train[0][informative], train[1][informative]
    if not len(train[0]):
        raise ValueError("train: there is no record to learn from")
    kind: Head = "hidden" if settings.head == "hidden" else "linear"
    start = copy.deepcopy(encoder)
    if settings.attention_heads:
        # Attention starts as the mean over time, which the encoder's own features need not be.
        start, frozen, prior = with_attention(start, settings.attention_heads), None, None
    model = Classifier(start, task.for_training(train[1]), settings.windows, kind, settings.static)
    state = read_state(run.last) if run is not None and run.begun else None
    first: Targets | None = None  # features of validation before the first step, where nothing has to be computed
    if state is None and settings.head == "probe":
        first = start_as_probe(model, archive, train, validation, frozen, prior)
    elif state is None and says_nothing(model.head):
        first = np.zeros((len(validation[0]), start.width), np.float32)
    # Fewer records than a batch are repeated to fill it; each copy gets a crop and an augmentation of its own.
    filled = np.arange(max(len(train[0]), settings.batch_size)) % len(train[0])
    parts = (train[0][filled], train[1][filled]), validation
    data = tuple(ArchiveBatches(archive, *part, settings.static) for part in parts)
    if data[0].static is not None and isinstance(model.head, WideHead):
        model.head.inputs.fit(data[0].static[: len(train[0])])
    batches = EpochBatches(len(data[0]), settings.batch_size, settings.seed)
    if settings.one_per_patient:
        batches = OnePerPatient(archive.patient[data[0].rows], settings.batch_size, settings.seed)
    steps = settings.steps_of(len(batches))
    module = FinetuneModule(model, settings, steps, state, None if run is None else run.last, loggers, zeros_stay)
    loaders = (
        batch_loader(data[0], EveryStep(batches, steps, module.done)),
        batch_loader(data[1], EpochBatches(len(data[1]), EVALUATION_BATCH, None)),
    )
    trained = steps * batches.batch_size * module.crop
    evaluations = settings.evaluations_of(trained, len(validation[0]) * encoder.samples)
    if settings.label_correction:
        module.correction = Correction(
            settings.label_correction,
            evaluations,
            *train,
            lambda: model_features(model, archive, train[0]),
            settings.seed,
        )
        if state is not None:
            module.correction.go_on(state["correction"])
    trainer = make_trainer(
        epochs=1,
        max_steps=steps - module.done,
        precision=settings.precision,
        callbacks=[FiniteLoss(archive, None if run is None else run.folder, settings.learning_rate)],
        devices=1,
        progress=progress,
        val_check_interval=max(1, steps // evaluations),
        check_val_every_n_epoch=None,
        num_sanity_val_steps=0,
        enable_checkpointing=False,
    )
    with told_of_memory(settings.batch_size):
        if first is not None:
            with torch.no_grad():
                beside = None if data[1].static is None else torch.from_numpy(data[1].static)
                module.judge(model.eval().logits(torch.from_numpy(first), beside), torch.from_numpy(validation[1]))
        elif state is None:
            trainer.validate(module, loaders[1], verbose=False)
        module.train()  # the encoder comes in eval mode, and Lightning leaves modes as they are
        if module.done < steps:
            trainer.fit(module, *loaders)
    model.load_state_dict(module.best_state)
    if settings.head == "probe" and not module.best["step"]:
        logger.warning(
            "finetuning never beat the probe on validation: the model is the probe; try a lower training.learning_rate"
        )
    return Finetuned(model.cpu().eval(), module.curve, module.best)
