"""Checkpoints that a kill, a full disk or a stranger cannot turn against a run."""

from __future__ import annotations

import io
import logging
import os
from pathlib import Path
from typing import Any

import torch
from pytorch_lightning.callbacks import ModelCheckpoint
from pytorch_lightning.plugins.io import CheckpointIO

from ssl_ecg.runs import previous_of, write_atomically

# Where Lightning looks for, and would write, a checkpoint of its own when it has SLURM queue a job again (``SIGUSR1``).
# What it saves within an epoch does not go on to the same weights, the state that is kept does: so there is no such
# place, and a folder that somebody sent brings none.
NOWHERE = Path(os.devnull) / "nowhere"

logger = logging.getLogger(__name__)


def write_state(state: dict[str, Any], path: str | Path) -> None:
    """Write plain state (tensors, numbers, text, lists, dicts); the file before is kept as ``previous_of(path)``.

    Whenever the process ends, one of the two is whole: the new one is written beside them, synced and then renamed.

    Raises:
        OSError: naming the file; what lay there before is as it was.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    staged = path.with_name(f"{path.stem}.new{path.suffix}")
    write_atomically(staged, buffer.getbuffer())
    if path.exists():
        path.replace(previous_of(path))
    staged.replace(path)


def read_state(path: str | Path, fall_back: bool = True) -> dict[str, Any]:
    """Read what ``write_state`` wrote or, where that is missing or damaged, the one before it. Runs no code of a file.

    Args:
        path: of the file.
        fall_back: whether the one before will do.

    Raises:
        ValueError: neither can be read.
    """
    path = Path(path)
    for file in (path, previous_of(path)) if fall_back else (path,):
        try:
            return dict(torch.load(file, map_location="cpu", weights_only=True))
        except FileNotFoundError:
            continue
        except Exception as error:  # a damaged file can raise anything; a pickle with code in it is refused by torch
            logger.warning("%s: damaged or no plain state (%s); it is left out", file, type(error).__name__)
    raise ValueError(f"{path}: no checkpoint can be read; remove {path.parent} to begin again")


class WholeFiles(CheckpointIO):
    """Has Lightning write and read checkpoints as ``write_state`` and ``read_state`` do."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Write a checkpoint."""
        write_state(checkpoint, path)

    def load_checkpoint(self, path: Any, map_location: Any = None, weights_only: bool | None = None) -> dict[str, Any]:
        """Read a checkpoint to the CPU; the strategy moves it."""
        return read_state(path)

    def remove_checkpoint(self, path: Any) -> None:
        """Remove a checkpoint."""
        Path(path).unlink(missing_ok=True)


class EpochCheckpoint(ModelCheckpoint):
    """One file, rewritten after every epoch, or after those with the lowest value of ``monitor`` so far.

    Args:
        folder: where to write; may be moved between a kill and the run that continues.
        name: of the file, without ``.ckpt``.
        monitor: name of a logged value.
    """

    def __init__(self, folder: Path, name: str, monitor: str | None = None) -> None:
        super().__init__(folder, name, monitor=monitor, enable_version_counter=False)
        self.path = folder / f"{name}.ckpt"

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best value so far; Lightning forgets it, and so the best weights, where the folder has moved."""
        path = str(self.path.resolve())
        best = dict(zip([path], state_dict["best_k_models"].values()))
        moved = {"dirpath": self.dirpath, "best_model_path": path, "kth_best_model_path": path, "best_k_models": best}
        super().load_state_dict({**state_dict, **moved})
