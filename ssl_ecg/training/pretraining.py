"""Pretraining: an unlabelled archive in, an encoder folder out."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from ssl_ecg.archive import Archive
from ssl_ecg.archive.hashes import ecgs_of, patients_of
from ssl_ecg.backbones import Encoder, load_encoder, save_encoder
from ssl_ecg.backbones.encoder import read_config
from ssl_ecg.backbones.lineage import objectives_of
from ssl_ecg.objectives import create_objective
from ssl_ecg.objectives.siamese import Siamese
from ssl_ecg.runs import Run, goes_on, locked, site
from ssl_ecg.training.batches import (
    ArchiveBatches,
    EpochBatches,
    batch_loader,
    count_incomplete,
    in_millivolts,
    normalised,
)
from ssl_ecg.training.card import pretraining_card
from ssl_ecg.training.checkpoints import EpochCheckpoint, read_state
from ssl_ecg.training.engine import (
    EarlyStop,
    EpochTable,
    Throughput,
    decay_groups,
    effective_rank,
    feature_deviation,
    is_first,
    make_trainer,
    seed_step,
    warmup_cosine,
)
from ssl_ecg.training.loggers import finish, make_loggers
from ssl_ecg.training.monitor import Monitor, Watched
from ssl_ecg.training.pictures import (
    RECORDS,
    ReconstructionPictures,
    draw_reconstruction,
    first_samples,
    reconstructing,
)
from ssl_ecg.training.pretrain_settings import PretrainSettings
from ssl_ecg.training.start import describe_start, read_start
from ssl_ecg.training.stops import FiniteLoss, told_of_memory
from ssl_ecg.views import random_crop

logger = logging.getLogger(__name__)


class PretrainModule(pl.LightningModule):
    """The engine's view of an objective: seeded steps, AdamW, a schedule, and a watch for collapse."""

    def __init__(
        self,
        objective: nn.Module,
        settings: PretrainSettings,
        steps: int,
        steps_per_epoch: int,
        crop: int | None = None,
    ) -> None:
        super().__init__()
        self.objective = objective
        self.settings = settings
        self.crop = crop  # samples; None: whole records
        self.steps, self.steps_per_epoch = steps, steps_per_epoch
        self._features: list[Tensor] = []

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Return the objective's loss."""
        seed_step(self.settings.seed, self.global_step, self.global_rank)
        done = torch.tensor(self.global_step / max(1, self.steps - 1))
        parts = self.objective({**self._cropped(batch), "progress": done})
        rows = len(batch["signal"])
        loss = parts["loss"].detach()
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=rows, prog_bar=True, sync_dist=True)
        return parts["loss"]

    def validation_step(self, batch: dict[str, Tensor], batch_index: int) -> None:
        """Log the validation loss, with the same views every epoch so that epochs compare."""
        seed_step(self.settings.seed, batch_index, self.global_rank, stream=1)
        parts = self.objective(self._cropped(batch))
        rows = len(batch["signal"])
        for name, value in parts.items():
            if value.ndim == 0:
                self.log(f"validation_{name}", value, batch_size=rows, prog_bar=name == "loss", sync_dist=True)
        self._features.append(parts["features"])

    def _cropped(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        if self.crop is None:
            return batch
        signal, recorded = random_crop(batch["signal"], batch["recorded"], self.crop)
        return {**batch, "signal": signal, "recorded": recorded}

    def on_validation_epoch_end(self) -> None:
        """Log how far the features are from collapse."""
        # Of all processes together: the rank of a share of the records is at most their number.
        features = self.all_gather(torch.cat(self._features))
        assert isinstance(features, Tensor)
        features = features.flatten(0, -2)
        self._features.clear()
        self.log("feature_deviation", feature_deviation(features), sync_dist=True)
        self.log("effective_rank", effective_rank(features), sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """AdamW with weight decay on matrices and kernels alone; linear warm-up and half a cosine, by steps."""
        groups = decay_groups(self, self.settings.weight_decay)
        optimizer = torch.optim.AdamW(groups, lr=self.settings.learning_rate, betas=(0.9, self.settings.beta2))
        warmup = self.settings.warmup_epochs * self.steps_per_epoch
        return warmup_cosine(optimizer, self.steps, warmup)


def split_patients(archive: Archive, rows: np.ndarray, validation: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Split archive rows into training and validation by patient.

    Raises:
        ValueError: fewer than two patients.
    """
    patients = np.unique(archive.patient[rows])
    if len(patients) < 2:
        raise ValueError(f"archive: {len(patients)} patients to pretrain on; at least 2 are needed to hold one out")
    count = max(1, round(validation * len(patients)))
    chosen = np.random.default_rng([seed, 1]).permutation(patients)[:count]
    held = np.isin(archive.patient[rows], chosen)
    return rows[~held], rows[held]


def kept_split(out: str | Path) -> dict[str, Any] | None:
    """Return how the run in ``out``, finished or not, holds patients out; None where it holds out none, or is none."""
    for name, read in (("config.json", lambda config: config["origin"]), ("run.json", dict)):
        if (path := Path(out) / name).is_file():
            split: dict[str, Any] | None = read(json.loads(path.read_text(encoding="utf-8"))).get("split")
            return split
    return None


def see_at_once(objective: nn.Module, micro_batch: int) -> None:
    """Have an objective, or its parts, show the network so many views at once.

    Raises:
        ValueError: it compares no views.
    """
    comparing = [part for part in objective.modules() if isinstance(part, Siamese)]
    if not comparing:
        raise ValueError(
            f"micro_batch={micro_batch}: the objective compares no views; set it to null, lower batch_size"
        )
    for part in comparing:
        part.micro_batch = micro_batch


@locked("out", when=is_first)
def pretrain(
    archive: Archive,
    out: str | Path,
    settings: PretrainSettings,
    holdout: np.ndarray | None = None,
    progress: bool = True,
    split: Mapping[str, Any] | None = None,
    watched: Watched | None = None,
) -> Encoder:
    """Pretrain a backbone and write an encoder folder; a killed run continues from its last whole epoch.

    Args:
        archive: the unlabelled archive.
        out: encoder folder; also holds ``pretraining.csv`` (one row per epoch), of a masked objective
            ``reconstruction.svg``, and, until the run is finished, checkpoints.
        settings: how.
        holdout: archive rows whose patients must not be seen.
        progress: show a progress bar.
        split: how ``holdout`` was drawn (``Splits.how``), kept in the encoder folder.
        watched: labelled records of which linear probes tell now and then what the features are worth.

    Returns:
        The encoder, in eval mode, with the weights that ``settings.keep`` says.

    Raises:
        ValueError: settings that do not fit the archive, ``out`` holds a run with other settings, or the loss is not
            finite from the first epoch on.
        FileExistsError: ``resume="no"`` and ``out`` holds a run already.
        FolderInUseError: another process pretrains into ``out``.
    """
    out = Path(out)
    run = Run(out)
    crop = None if settings.crop is None else round(settings.crop * archive.sampling_rate)
    if crop is not None and not 1 <= crop <= archive.samples:
        seconds = archive.settings.duration
        raise ValueError(f"crop={settings.crop}: choose between one sample and the archive's {seconds:g} s")
    rows = np.arange(len(archive))
    if holdout is not None and len(holdout):
        rows = rows[~np.isin(archive.patient, archive.patient[holdout])]
    patients = patients_of(archive, rows)
    earlier = None if settings.start is None else read_start(settings.start, settings.backbone, archive.settings)
    identity: dict[str, Any] = {
        "settings": settings.identity(),
        "start": None if earlier is None else describe_start(earlier),
        "signal": archive.settings.to_dict(),
        "records": len(rows),
        "split": None if split is None else dict(split),
        "patients_digest": hashlib.sha256("".join(sorted(patients)).encode()).hexdigest()[:16],
    }
    checkpoint = _prepare(run, settings, identity)
    if (out / "config.json").is_file():
        logger.info("%s: this run is finished already", out)
        if is_first():
            run.clear()  # a kill right after the encoder was written
        return load_encoder(out, settings.backbone.thing)

    train_rows, validation_rows = split_patients(archive, rows, settings.validation, settings.seed)
    incomplete = count_incomplete(archive, rows)

    seed_step(settings.seed, 0, stream=2)
    network, learned = settings.backbone, settings.objective
    encoder = Encoder(network.given, network.options, archive.settings)
    if earlier is not None:
        encoder.backbone.load_state_dict(earlier.backbone.state_dict())
    objective = create_objective(learned.name, encoder.backbone, archive.sampling_rate, **learned.options)
    if settings.micro_batch is not None:
        see_at_once(objective, settings.micro_batch)
    data = PretrainData(archive, train_rows, validation_rows, settings)
    table = EpochTable(out / "pretraining.csv")
    best = EpochCheckpoint(run.checkpoints, "best", monitor="validation_loss")
    # After the best weights, so that the state to continue from knows them.
    last = EpochCheckpoint(run.checkpoints, "last")
    finite = FiniteLoss(archive, out, settings.learning_rate)
    monitors = [] if watched is None else [Monitor(watched, encoder, archive)]
    stop = EarlyStop("validation_loss", patience=settings.patience)
    callbacks = [finite, Throughput(), *monitors, table, stop, best, last]
    if (masked := reconstructing(objective)) is not None:
        callbacks.append(ReconstructionPictures(masked, encoder, settings.seed))
    loggers = make_loggers(settings.loggers, out, identity["settings"])
    trainer = make_trainer(
        epochs=settings.epochs,
        precision=settings.precision,
        callbacks=callbacks,
        loggers=loggers,
        devices=settings.devices,
        progress=progress,
        num_sanity_val_steps=0,
        sync_batchnorm=torch.cuda.device_count() > 1,
    )
    per_epoch = data.steps_per_epoch
    module = PretrainModule(objective, settings, settings.epochs * per_epoch, per_epoch, crop)
    with told_of_memory(settings.batch_size):
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    finish(loggers)
    # A run that diverged has no last weights worth keeping.
    keep_last = settings.keep == "last" and math.isfinite(table.rows[-1]["validation_loss"])
    kept = last if keep_last else best
    module.load_state_dict(read_state(kept.path, fall_back=False)["state_dict"])
    trainer.strategy.barrier()  # every process has read the checkpoint before the first removes it

    chosen = table.rows[-1] if keep_last else min(table.rows, key=lambda row: row["validation_loss"])
    if not math.isfinite(chosen["validation_loss"]):
        if trainer.is_global_zero:
            run.clear()
        raise ValueError(
            f"learning_rate={settings.learning_rate}: the validation loss is not finite after the first epoch; lower it"
        )
    # Weights remember whom they started from, too.
    encoder.patients, encoder.ecgs = patients, frozenset(ecgs_of(archive, rows))
    if earlier is not None:
        encoder.patients |= earlier.patients
        encoder.ecgs |= earlier.ecgs
    encoder.origin = {
        **identity,
        "objectives": [
            *objectives_of({"settings": identity["settings"]}),
            *([] if earlier is None else objectives_of(earlier.origin)),
        ],
        "sites": [site()],
        "parameters": sum(p.numel() for p in encoder.backbone.parameters()),
        "training_records": len(train_rows),
        "validation_records": len(validation_rows),
        "patients": len(patients),
        "patients_unknown": int(np.count_nonzero(~archive.patient_known[rows])),
        "held_out_records": len(archive) - len(rows),
        **incomplete,
        "epochs_run": len(table.rows),
        "epoch": int(chosen["epoch"]),
        "precision": trainer.precision,  # what "auto" was here
        # Of training steps, also those before a kill.
        "seconds": round(sum(data.records_per_epoch / row["ecg_per_second"] for row in table.rows), 2),
        "metrics": {
            name: chosen[name] for name in ("train_loss", "validation_loss", "effective_rank") if name in chosen
        },
    }
    if trainer.is_global_zero:
        if masked is not None:
            from ssl_ecg.explain.style import save_figure

            batch = data.validation_data[np.arange(min(RECORDS, len(validation_rows)))]
            batch = first_samples(normalised(in_millivolts(batch), archive.settings.normalise), crop)
            batch = {name: values.to(module.device) for name, values in batch.items()}
            save_figure(draw_reconstruction(masked, batch, encoder, settings.seed), out / "reconstruction.svg")
        save_encoder(encoder, out, pretraining_card(encoder))
        run.clear()
    return encoder.eval()


class PretrainData(pl.LightningDataModule):
    """Training and validation batches of an archive, without labels."""

    def __init__(
        self, archive: Archive, train_rows: np.ndarray, validation_rows: np.ndarray, settings: PretrainSettings
    ) -> None:
        super().__init__()
        self.train_data = ArchiveBatches(archive, train_rows)
        self.validation_data = ArchiveBatches(archive, validation_rows)
        self.settings = settings

    @property
    def steps_per_epoch(self) -> int:
        """Training steps of one epoch."""
        return len(EpochBatches(len(self.train_data), self.settings.batch_size, self.settings.seed))

    @property
    def records_per_epoch(self) -> int:
        """Records of the training steps of one epoch."""
        return self.steps_per_epoch * min(self.settings.batch_size, len(self.train_data))

    def _loader(self, data: ArchiveBatches, seed: int | None) -> Any:
        rank, world = (self.trainer.global_rank, self.trainer.world_size) if self.trainer else (0, 1)
        patient = data.archive.patient[data.rows]
        settings = self.settings
        batches = EpochBatches(len(data), settings.batch_size, seed, rank, world, patient, settings.per_patient)
        return batch_loader(data, batches, self.settings.workers)

    def on_after_batch_transfer(self, batch: dict[str, Tensor], dataloader_idx: int) -> dict[str, Tensor]:
        """Convert and normalise whole records, on the device."""
        return normalised(in_millivolts(batch), self.train_data.archive.settings.normalise)

    def train_dataloader(self) -> Any:
        """Return shuffled batches, another order every epoch."""
        return self._loader(self.train_data, self.settings.seed)

    def val_dataloader(self) -> Any:
        """Return batches in order."""
        return self._loader(self.validation_data, None)


def _prepare(run: Run, settings: PretrainSettings, identity: dict[str, Any]) -> str | None:
    """Make the folder ready and return the checkpoint to continue from, if any."""
    finished = (run.folder / "config.json").is_file()
    earlier = read_config(run.folder).get("origin", {}) if finished else run.identity
    checkpoint = str(run.last) if goes_on(run.folder, earlier, identity, settings.resume) else None
    if not finished and is_first():
        run.begin(identity)
    return checkpoint
