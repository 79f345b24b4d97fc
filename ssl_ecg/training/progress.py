"""Progress bars: one line of at most the terminal's width, with the time that is left of the whole."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import ProgressBar
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Column

LEAST = 0.5  # seconds between two looks at the metrics, which a GPU would have to wait for


def bar(progress: bool, console: Console | None = None) -> Progress:
    """Return a bar whose texts are cut where the terminal ends: what is done, how much of it, what is left, numbers."""
    uncut, cut = Column(no_wrap=True), Column(no_wrap=True, overflow="ellipsis", ratio=1)
    columns = (
        TextColumn("{task.description}", table_column=uncut),
        BarColumn(bar_width=8),
        MofNCompleteColumn(table_column=uncut),
        TimeRemainingColumn(table_column=uncut),
        TextColumn("{task.fields[numbers]}", table_column=cut),
    )
    return Progress(*columns, console=console or Console(stderr=True), disable=not progress, expand=True)


class TotalProgress(ProgressBar):
    """Steps of the whole training, not of an epoch, with the metrics that modules log for the bar.

    Args:
        console: where to; None: standard error.
    """

    def __init__(self, console: Console | None = None) -> None:
        super().__init__()
        self.enabled, self.console = True, console
        self.bar: Progress | None = None

    def disable(self) -> None:
        """Show nothing: on all processes but the first."""
        self.enabled = False

    def enable(self) -> None:
        """Show it."""
        self.enabled = True

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Begin at the step from which training goes on."""
        self.bar = bar(self.enabled, self.console)
        self.bar.start()
        total = int(trainer.estimated_stepping_batches)
        self.job = self.bar.add_task("training", total=total, completed=trainer.global_step, numbers="")
        self.looked = self.bar.get_time()

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        """Move on."""
        assert self.bar is not None
        if self.bar.get_time() - self.looked >= LEAST:
            self._show(trainer, pl_module)

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Show what validation found."""
        self._show(trainer, pl_module)

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Leave the last state on the screen."""
        self._show(trainer, pl_module)
        self._stop()

    def on_exception(self, trainer: pl.Trainer, pl_module: pl.LightningModule, exception: BaseException) -> None:
        """Give the terminal back."""
        self._stop()

    def _show(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert self.bar is not None
        epochs = trainer.max_epochs or 1
        said = f"epoch {min(trainer.current_epoch + 1, epochs)}/{epochs}" if epochs > 1 else "training"
        numbers = _said(self.get_metrics(trainer, pl_module))
        self.bar.update(self.job, completed=trainer.global_step, description=said, numbers=numbers)
        self.looked = self.bar.get_time()

    def _stop(self) -> None:
        if self.bar is not None:
            self.bar.stop()
            self.bar = None


def _said(metrics: Mapping[str, Any]) -> str:
    """Say metrics in few characters, the speed last; the number of a logger's version is none."""
    names = sorted(metrics.keys() - {"v_num"}, key=lambda name: (name == "ecg_per_second", name))
    return " ".join(f"{name.removesuffix('_loss')} {float(metrics[name]):.3g}" for name in names)
