"""The optional loggers, told not to say on which machine, by whom and where something was trained."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any
from unittest.mock import patch

from pytorch_lightning.loggers import Logger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment


class _TensorBoard(TensorBoardLogger):
    """Names its files without the machine, which TensorBoard writes into the name."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Return the writer."""
        with patch("socket.gethostname", lambda: "host"):
            return super().experiment


def tensorboard(folder: Path) -> Logger:
    """Return a logger for TensorBoard.

    Raises:
        ValueError: it is not installed.
    """
    if importlib.util.find_spec("tensorboard") is None:
        raise ValueError("loggers='tensorboard': is not installed; run pip install 'ssl_ecg[tensorboard]'")
    return _TensorBoard(folder, name="tensorboard", version="")


def wandb_offline_without_key(folder: Path, settings: dict[str, Any]) -> Logger:
    """Return a logger for W&B, which never asks for an account: without a key it logs offline.

    Machine, user, program, code and repository are not told.
    """
    import wandb

    told = wandb.Settings(
        x_disable_meta=True,
        x_disable_machine_info=True,
        x_disable_stats=True,
        disable_git=True,
        disable_code=True,
        save_code=False,
        console="off",
        host="",
        username="",
    )
    offline = not os.environ.get("WANDB_API_KEY")
    return WandbLogger(project="ssl_ecg", save_dir=folder, offline=offline, config=settings, settings=told)
