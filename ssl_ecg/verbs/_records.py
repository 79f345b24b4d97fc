"""New ECGs as a network takes them, whatever they come in: what predict, embed and explain share."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import numpy as np
import pandas as pd
from annotated_types import Gt
from numpy.typing import NDArray

from ssl_ecg.archive import Archive
from ssl_ecg.records import QualityLimits
from ssl_ecg.settings import Settings
from ssl_ecg.signals import Signals
from ssl_ecg.verbs._given import ArchiveLike, opened_for

if TYPE_CHECKING:
    from torch import Tensor, nn

    from ssl_ecg.archive.prepared import Prepared
    from ssl_ecg.backbones import Encoder
    from ssl_ecg.tasks import Classifier

BATCH = 64
UNKNOWN = "unknown format"


class RecordSettings(Settings):
    """Which records are taken, and how files are read."""

    quality: QualityLimits = QualityLimits()
    """which recordings are no ECGs that can be used"""
    partial_leads: bool = False
    """take records that lack some of the model's leads"""
    workers: Annotated[int, Gt(0)] | None = None
    """processes that read; null: one per core"""


class Batch(NamedTuple):
    """Some records of a source.

    Attributes:
        record_ids: of all.
        reasons: why a record cannot be used; blank where it can.
        signals: of those that can, in the same order.
        described: of the same, what the manifest of an archive says.
    """

    record_ids: list[str]
    reasons: list[str]
    signals: Signals
    described: pd.DataFrame

    @property
    def usable(self) -> NDArray[np.bool_]:
        """Which of all can be used."""
        return np.array([not reason for reason in self.reasons], dtype=bool)


def is_archive(source: ArchiveLike) -> bool:
    """Say whether a source is an archive, and no file or folder of files."""
    return isinstance(source, Archive) or (Path(source) / "archive.json").is_file()


def batches(
    encoder: Encoder, source: ArchiveLike, settings: RecordSettings, rows: NDArray[np.int64] | None = None
) -> Iterator[Batch]:
    """Yield the records of a file, a folder of files or an archive, in the form that an encoder takes.

    Args:
        encoder: says what signals look like.
        source: where the records are. Files of unknown format in a folder are left out.
        settings: which are taken.
        rows: of an archive; None: all.

    Yields:
        At least one batch, which may hold nothing.

    Raises:
        FileNotFoundError: no such source, or no recording in it.
        ValueError: an archive that was prepared otherwise.
    """
    if is_archive(source):
        yield from _of_archive(encoder, opened_for(encoder, source), rows)
        return
    from ssl_ecg.archive.prepared import prepare_files

    source = Path(source) if not isinstance(source, Archive) else source.folder
    workers = settings.workers or os.cpu_count() or 1
    found = prepare_files(source, encoder.signal, settings.quality, settings.partial_leads, workers)
    if source.is_dir():
        found = (prepared for prepared in found if not prepared.reason.startswith(UNKNOWN))
    batch = list(islice(found, BATCH))
    yield _joined(encoder, batch)
    while batch := list(islice(found, BATCH)):
        yield _joined(encoder, batch)


def _of_archive(encoder: Encoder, archive: Archive, rows: NDArray[np.int64] | None) -> Iterator[Batch]:
    rows = np.arange(len(archive)) if rows is None else rows
    for start in range(0, max(len(rows), 1), BATCH):
        some = rows[start : start + BATCH]
        manifest = archive.manifest.iloc[some].reset_index(drop=True)
        yield Batch(manifest["record_id"].to_list(), [""] * len(some), archive.read(some), manifest)


def _joined(encoder: Encoder, batch: list[Prepared]) -> Batch:
    shape = (0, len(encoder.leads), encoder.samples)
    nothing = Signals(np.zeros(shape, np.float32), np.zeros(0, np.int64), np.zeros(shape[:2], bool))
    parts = [prepared.signals for prepared in batch if prepared.signals is not None]
    signals = Signals(*map(np.concatenate, zip(nothing, *parts)))
    ids, reasons = [prepared.record_id for prepared in batch], [prepared.reason for prepared in batch]
    return Batch(ids, reasons, signals, pd.DataFrame([prepared.row for prepared in batch if not prepared.reason]))


def inputs_of(model: Classifier, signals: Signals, described: pd.DataFrame) -> tuple[NDArray[Any], ...]:
    """Return the arrays that a model sees of records: their signals and, where it has any, their static inputs."""
    return (*signals, model.static_values(described, signals)) if model.static else signals


def computed(
    module: nn.Module, function: Callable[..., Tensor], given: Signals | tuple[NDArray[Any], ...]
) -> NDArray[np.float32]:
    """Return what a function of a module's gives for a batch of arrays, on the module's device."""
    import torch

    device = next(module.parameters()).device
    with torch.inference_mode():
        return function(*(torch.from_numpy(part).to(device) for part in given)).float().cpu().numpy()


def refuse_other(out: Path, own: str | None = None) -> None:
    """Refuse a folder that another command has written.

    Raises:
        ValueError: naming what lies there.
    """
    known = ("archive.json", "config.json", "metrics.json", "model.json", "comparison.json", "run.json")
    if other := [name for name in known if name != own and (out / name).exists()]:
        raise ValueError(f"out={str(out)!r}: holds {other[0]} of another command; choose another folder")
