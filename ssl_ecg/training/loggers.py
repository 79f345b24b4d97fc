"""The optional loggers, told not to say on which machine, by whom and where something was trained.

They write beside the folder that a verb leaves, into ``OUT.logs``: that folder is what is shared.
"""

from __future__ import annotations

import importlib.util
import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, get_args

from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger, WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from ssl_ecg.training.pretrain_settings import LoggerName


def make_loggers(names: Sequence[str], out: Path, settings: dict[str, Any]) -> list[Logger]:
    """Return the loggers of these names.

    Args:
        names: of "jsonl", "tensorboard", "wandb" and "mlflow". W&B never asks for an account: without a key it logs
            offline. MLflow logs into files, or to the server that ``MLFLOW_TRACKING_URI`` names.
        out: folder of what is trained; they write into ``OUT.logs`` beside it.
        settings: recorded as hyperparameters.

    Raises:
        ValueError: an unknown name, or one that is not installed.
    """
    out = Path(os.path.abspath(out))
    folder = out.with_name(f"{out.name}.logs")
    made: list[Logger] = []
    for name in names:
        if name == "jsonl":
            made.append(JsonLines(folder / "metrics.jsonl"))
        elif name == "tensorboard":
            made.append(tensorboard(folder))
        elif name == "wandb":
            folder.mkdir(parents=True, exist_ok=True)  # else W&B writes into the working directory
            made.append(wandb_offline_without_key(folder, settings))
        elif name == "mlflow":
            made.append(mlflow(folder, out.name, settings))
        else:
            raise ValueError(f"loggers={name!r}: unknown; choose from {', '.join(get_args(LoggerName))}")
    return made


def log_rows(loggers: Iterable[Logger], rows: Iterable[Mapping[str, float]], of: str = "") -> None:
    """Log rows of a curve, each at its ``step``, without what is not finite; ``of`` begins the names."""
    for row in rows:
        known = {f"{of}{name}": value for name, value in row.items() if name != "step" and math.isfinite(value)}
        for each in loggers:
            each.log_metrics(known, int(row["step"]))


def finish(loggers: Iterable[Logger]) -> None:
    """Write what is left; another run of the same process then logs for itself."""
    for each in loggers:
        each.finalize("finished")
        if isinstance(each, WandbLogger):
            each.experiment.finish()


class JsonLines(Logger):
    """A line of JSON for whatever is logged at once: step, and metrics by name; null for what is not finite.

    A run that goes on after a kill may repeat the steps since its last state; the last line of a step counts.

    Args:
        path: the file; lines are added to it.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path

    @property
    def name(self) -> str:
        """Name of the logger."""
        return "jsonl"

    @property
    def version(self) -> str:
        """There is one."""
        return ""

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Do nothing: model card and ``config.json`` have the settings."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add a line."""
        numbers = {name: float(value) for name, value in metrics.items()}
        line = {"step": step} | {name: value if math.isfinite(value) else None for name, value in numbers.items()}
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")


class _TensorBoard(TensorBoardLogger):
    """Names its files without the machine, which TensorBoard writes into the name."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """Return the writer."""
        from unittest.mock import patch  # brings asyncio, which costs every start

        with patch("socket.gethostname", lambda: "host"):
            return super().experiment


def tensorboard(folder: Path) -> Logger:
    """Return a logger for TensorBoard.

    Raises:
        ValueError: it is not installed.
    """
    _need("tensorboard")
    return _TensorBoard(folder, name="tensorboard", version="")


def mlflow(folder: Path, name: str, settings: Mapping[str, Any]) -> Logger:
    """Return a logger for MLflow: files in ``folder``, unless ``MLFLOW_TRACKING_URI`` names a server.

    User, program and code are not told; the files say where they themselves lie.

    Args:
        folder: of the logs.
        name: of the run.
        settings: recorded as parameters.

    Raises:
        ValueError: it is not installed.
    """
    _need("mlflow")
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ALLOW_FILE_STORE", "true")  # else it wants a database, and packages that know one
    untold = {f"mlflow.{tag}": "" for tag in ("user", "source.name", "source.type", "source.git.commit")}
    to = os.environ.get("MLFLOW_TRACKING_URI") or (folder / "mlflow").as_uri()
    made = MLFlowLogger("ssl_ecg", run_name=name, tracking_uri=to, tags=untold)
    made.log_hyperparams(dict(settings))
    return made


def _need(package: str) -> None:
    """Refuse a logger whose package is not there.

    Raises:
        ValueError: it is not installed.
    """
    if importlib.util.find_spec(package) is None:
        raise ValueError(f"loggers={package!r}: is not installed; run pip install 'ssl_ecg[{package}]'")


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
