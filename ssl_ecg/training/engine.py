"""What pretraining and finetuning share: seeding, precision, schedule, loggers, the trainer."""

from __future__ import annotations

import logging
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import EarlyStopping
from pytorch_lightning.loggers import Logger
from pytorch_lightning.utilities.rank_zero import rank_zero_only
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from ssl_ecg.runs import write_csv
from ssl_ecg.training.checkpoints import NOWHERE, WholeFiles
from ssl_ecg.training.progress import TotalProgress

BFLOAT16 = ("avx512_bf16", "amx_bf16")  # instructions of processors; without them bfloat16 is slower than float32

logger = logging.getLogger(__name__)


def seed_step(seed: int, step: int, rank: int = 0, stream: int = 0) -> None:
    """Seed torch for one step, so that a resumed run draws what the uninterrupted one would have drawn."""
    state = np.random.SeedSequence([seed, step, rank, stream]).generate_state(2, np.uint32)
    torch.manual_seed(int(state[0]) << 32 | int(state[1]))


def is_first() -> bool:
    """Tell whether this process writes, locks and prints, of several that share a run; known before any trainer is."""
    return getattr(rank_zero_only, "rank", 0) == 0


def choose_precision(precision: str) -> str:
    """Resolve "auto": bfloat16 autocast where the GPU, or without one the processor, multiplies in it, else float32."""
    if precision != "auto":
        return precision
    if torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    # Releases of torch before get_capabilities cannot tell.
    able = getattr(torch.cpu, "get_capabilities", dict[str, bool])()
    return "bf16-mixed" if any(able.get(name) for name in BFLOAT16) else "32-true"


def warmup_cosine(optimizer: torch.optim.Optimizer, steps: int, warmup: int) -> OptimizerLRSchedulerConfig:
    """Return the optimizer with a schedule by steps: linear warm-up, then a half cosine to zero."""
    from lightly.utils.scheduler import CosineWarmupScheduler

    # lightly's half cosine reaches end_value at the last of max_epochs; ours are steps.
    schedule = CosineWarmupScheduler(optimizer, min(warmup, max(1, steps - 1)), max(steps, 2), end_value=0.0)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def one_cycle(optimizer: torch.optim.Optimizer, steps: int, warmup: int) -> OptimizerLRSchedulerConfig:
    """Return the optimizer with the 1cycle schedule of Smith & Topin (2018) by steps, as torch has it.

    The learning rate of every group rises from 1/25 of its own to it, and falls to almost nothing, both by half a
    cosine; beta1 falls from .95 to .85 and rises again.
    """
    total = max(steps, 4)
    rising = min(max(warmup, 2), total - 1) / total  # torch divides by the steps of either part less one
    peaks = [group["lr"] for group in optimizer.param_groups]
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, peaks, total_steps=total, pct_start=rising)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def not_decayed(module: nn.Module) -> list[str]:
    """Name the parameters that weight decay leaves alone: all but matrices and kernels, whose names hold "weight".

    So tokens, positions and the dynamics of state spaces are not pulled to 0. Biases and norms, which are vectors, are
    left out by :func:`decay_groups`, as by timm.
    """
    return [name for name, _ in module.named_parameters() if "weight" not in name.rpartition(".")[2]]


def decay_groups(module: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Return AdamW's parameter groups: weight decay on matrices and kernels alone, recurrent ones too."""
    # timm's param_groups_weight_decay says the same, after two seconds of import.
    plain = {*not_decayed(module)}
    groups: tuple[list[nn.Parameter], list[nn.Parameter]] = [], []
    for name, parameter in module.named_parameters():
        if parameter.requires_grad:
            groups[parameter.ndim > 1 and name not in plain].append(parameter)
    return [{"params": groups[0], "weight_decay": 0.0}, {"params": groups[1], "weight_decay": weight_decay}]


def effective_rank(features: Tensor) -> float:
    """Return the exponential of the entropy of the singular-value shares of centred features [n, D] (Roy 2007).

    1 means that all features lie on a line (collapse); D means that they fill the space evenly. NaN where a feature is
    not finite.
    """
    if not features.isfinite().all():
        return float("nan")
    values = torch.linalg.svdvals(features.float() - features.float().mean(0))
    share = values / values.sum().clamp(min=1e-12)
    return float(torch.exp(-(share * share.clamp(min=1e-12).log()).sum()))


def feature_deviation(features: Tensor) -> float:
    """Return the mean standard deviation of unit-length features [n, D], times sqrt(D): 0 collapse, 1 a full sphere."""
    unit = torch.nn.functional.normalize(features.float(), dim=1)
    return float(unit.std(0).mean() * features.shape[1] ** 0.5)


class EpochTable(pl.Callback):
    """One CSV row an epoch of everything that was logged; survives a resume, because it is part of the checkpoint.

    Args:
        path: the CSV.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: list[dict[str, float]] = []

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far, for the checkpoint."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the rows of the checkpoint."""
        self.rows = list(state_dict["rows"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the row; the checkpoint of this epoch, which holds it, is written after this."""
        metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
        self.rows = [row for row in self.rows if row["epoch"] < trainer.current_epoch]
        self.rows.append({"epoch": trainer.current_epoch, "step": trainer.global_step, **metrics})
        if not trainer.is_global_zero:
            return
        write_csv(self.path, pd.DataFrame(self.rows))


class EarlyStop(EarlyStopping):
    """Stop after ``patience`` epochs without a lower value; a run that had stopped does not go on when continued."""

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Stop before the first step where the state of the checkpoint says so."""
        trainer.should_stop = self.wait_count >= self.patience


class Throughput(pl.Callback):
    """Log ECGs per second of training time, over each epoch, into the log and the progress bar."""

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Start the clock."""
        self.seen, self.started = 0, time.perf_counter()

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: dict[str, Tensor], batch_idx: int
    ) -> None:
        """Count the ECGs of all processes."""
        self.seen += len(batch["signal"]) * trainer.world_size
        seconds = time.perf_counter() - self.started
        pl_module.log("ecg_per_second", self.seen / seconds, prog_bar=True)


class Trainer(pl.Trainer):
    """Lightning's, which saves no checkpoint where none is kept.

    When SLURM ends a job, Lightning saves one in the signal's handler, where all processes wait for each other: for
    ever, where another one waits in the step for this one. Then nobody is left to have the job queued again.
    """

    def save_checkpoint(self, filepath: Any, *args: Any, **kwargs: Any) -> None:
        """Save a checkpoint, unless it is to lie nowhere."""
        if Path(filepath).parent != NOWHERE:
            super().save_checkpoint(filepath, *args, **kwargs)


def make_trainer(
    *,
    epochs: int,
    precision: str,
    callbacks: list[pl.Callback],
    loggers: list[Logger] | None = None,
    devices: int | str = "auto",
    progress: bool = True,
    **options: Any,
) -> pl.Trainer:
    """Return a Lightning trainer with this project's defaults: one engine for every run."""
    # Lightning advises on workers and loggers for data sets that are not memory-mapped batches.
    warnings.filterwarnings("ignore", message=".*does not have many workers.*")
    warnings.filterwarnings("ignore", message=".*smaller than the logging interval.*")
    # A run that continues finds its own checkpoints.
    warnings.filterwarnings("ignore", message="Checkpoint directory .* exists and is not empty")
    # Lightning 2.6 calls functions that torch 2.13 deprecates.
    warnings.filterwarnings("ignore", message=".*LeafSpec.*")
    warnings.filterwarnings("ignore", message=".*all_gather is deprecated.*")
    # Where SLURM is installed, not every run is to be one of its jobs.
    warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
    logging.getLogger("pytorch_lightning.utilities.rank_zero").setLevel(logging.WARNING)
    # On a CPU several devices are processes; nobody wants as many as cores unless told so.
    if not torch.cuda.is_available():
        if devices == "auto":
            devices = 1
        elif devices != 1:
            logger.warning(
                "devices=%s: there is no GPU here; as many processes share the cores, and gain nothing", devices
            )
    return Trainer(
        default_root_dir=NOWHERE,
        max_epochs=epochs,
        precision=choose_precision(precision),  # type: ignore[arg-type]
        callbacks=[*callbacks, *([TotalProgress()] if progress else [])],
        logger=loggers or False,
        devices=devices,
        accelerator="auto",
        enable_progress_bar=progress,
        enable_model_summary=False,
        use_distributed_sampler=False,
        log_every_n_steps=10,
        plugins=[WholeFiles()],
        **options,
    )
