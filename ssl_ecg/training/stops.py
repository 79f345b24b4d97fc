"""What stops a training: a loss that is not finite, and too little memory; each says what to change."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor

from ssl_ecg.archive import Archive
from ssl_ecg.runs import write_csv

NOT_FINITE = "not_finite.csv"


class FiniteLoss(pl.Callback):
    """Stop at the first training loss that is not finite, and name the records of its batch in a file.

    Args:
        archive: that the batches' ``row`` are of.
        folder: for ``not_finite.csv``: record_id, lowest and highest value in millivolts; None: no file.
        learning_rate: for the message.
    """

    def __init__(self, archive: Archive, folder: Path | None, learning_rate: float) -> None:
        self.archive, self.folder, self.learning_rate = archive, folder, learning_rate

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: dict[str, Tensor], batch_idx: int
    ) -> None:
        """Look at the loss of the step.

        Raises:
            ValueError: it is not finite.
        """
        loss = outputs["loss"] if isinstance(outputs, dict) else outputs
        if bool(torch.isfinite(loss)):
            return
        where = ""
        if self.folder is not None:
            rows = batch["row"].cpu().numpy()
            signal = self.archive.read(rows).signal
            table = pd.DataFrame(
                {
                    "record_id": self.archive.manifest["record_id"].iloc[rows].to_numpy(),
                    "lowest_mv": signal.min((1, 2)),
                    "highest_mv": signal.max((1, 2)),
                }
            )
            write_csv(self.folder / NOT_FINITE, table, float_format="%.4g")
            where = f"{self.folder / NOT_FINITE} names the records of the batch; "
        raise ValueError(
            f"learning_rate={self.learning_rate}: the training loss is {float(loss)} at step "
            f"{trainer.global_step}; {where}lower the learning rate, or use precision=32-true"
        )


@contextmanager
def told_of_memory(batch_size: int) -> Iterator[None]:
    """Say which setting to lower where memory ends during the block.

    Raises:
        ValueError: memory ended.
    """
    try:
        yield
    except (torch.OutOfMemoryError, MemoryError, RuntimeError) as error:
        ended = isinstance(error, torch.OutOfMemoryError | MemoryError) or "allocate memory" in str(error)
        if not ended:
            raise
        raise ValueError(
            f"batch_size={batch_size}: out of memory; lower the batch size, the backbone's width or the crop"
        ) from error
