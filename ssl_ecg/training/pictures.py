"""Pictures of what a masked objective reconstructs: into the loggers while it learns, beside the encoder at the end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger
from torch import Tensor, nn

from ssl_ecg.training.engine import seed_step

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from ssl_ecg.backbones import Encoder

RECORDS = 2


def reconstructing(objective: nn.Module) -> nn.Module | None:
    """Return the part of an objective that reconstructs signals, or None."""
    return next((module for module in objective.modules() if hasattr(module, "reconstruct")), None)


def draw_reconstruction(part: Any, batch: Mapping[str, Tensor], encoder: Encoder, seed: int) -> Figure:
    """Draw the first records of a batch as objectives see them, always with the same masks."""
    from ssl_ecg.explain import reconstruction_figure

    signal, was_training = batch["signal"], part.training
    part.eval()
    # The draw must not move the generator from which training draws.
    with torch.random.fork_rng(devices=[signal.device] if signal.is_cuda else []):
        seed_step(seed, 0, stream=3)
        pictures = part.reconstruct({name: values[:RECORDS] for name, values in batch.items()})
    part.train(was_training)
    arrays = {name: {key: value.cpu().numpy() for key, value in parts.items()} for name, parts in pictures.items()}
    return reconstruction_figure(arrays, encoder.leads, encoder.sampling_rate, signal.shape[-1], records=RECORDS)


def first_samples(batch: Mapping[str, Tensor], samples: int | None) -> dict[str, Tensor]:
    """Return a batch with the first ``samples`` of its signals; None: as it is."""
    if samples is None:
        return dict(batch)
    return {**batch, "signal": batch["signal"][..., :samples], "recorded": batch["recorded"].clamp(max=samples)}


class ReconstructionPictures(pl.Callback):
    """Log pictures of the first validation records about ten times in a run, to TensorBoard and W&B.

    Args:
        part: what reconstructs.
        encoder: names the leads.
        seed: of the masks.
    """

    def __init__(self, part: nn.Module, encoder: Encoder, seed: int) -> None:
        self.part, self.encoder, self.seed = part, encoder, seed

    def on_validation_batch_end(
        self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int, *_: Any
    ) -> None:
        """Draw after the first batch of every tenth of the run."""
        every = max(1, (trainer.max_epochs or 1) // 10)
        if batch_idx or not trainer.is_global_zero or trainer.current_epoch % every:
            return
        for log in trainer.loggers:
            figure = draw_reconstruction(self.part, first_samples(batch, pl_module.crop), self.encoder, self.seed)
            if isinstance(log, TensorBoardLogger):
                log.experiment.add_figure("reconstruction", figure, trainer.global_step)
            elif isinstance(log, WandbLogger):
                log.log_image("reconstruction", [figure], step=trainer.global_step)
