"""Batches of an archive: which records make up each batch of an epoch, and what a batch holds.

The order of records in an epoch follows from the seed and the number of the epoch alone. A run that was killed and
continued therefore sees the same batches as one that never stopped, without remembering a state of any generator.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ssl_ecg.archive import Archive
from ssl_ecg.signals.normalisation import normalise
from ssl_ecg.tasks.static_inputs import static_of

Indices = NDArray[np.int64]

log = logging.getLogger(__name__)


class EpochBatches(Sampler[Indices]):
    """Index batches for one rank: a permutation a training epoch, or in order for evaluation.

    Args:
        count: examples to draw from.
        batch_size: examples of a batch over all ranks; a training batch is always full, the last incomplete one of an
            epoch is left out. Where there are fewer examples than a batch, all of them make one batch.
        seed: None reads in order; then only what cannot be shared evenly, less than ``world_size``, is left out.
        rank: this process.
        world_size: processes that share every batch; all get equally many, because their embeddings are gathered.
        patient: patient code of every example [count], needed where ``per_patient`` is above 1.
        per_patient: examples of a patient that training draws together, where the patient has as many; what is left
            over of a patient comes as a smaller group. Every example still comes once an epoch. A group at the border
            of two batches is split.

    Raises:
        ValueError: fewer examples than processes, a batch size that they cannot share, or a ``per_patient`` that does
            not fit.
    """

    def __init__(
        self,
        count: int,
        batch_size: int,
        seed: int | None,
        rank: int = 0,
        world_size: int = 1,
        patient: Indices | None = None,
        per_patient: int = 1,
    ) -> None:
        if count < 1:
            raise ValueError(f"count={count}: there is no example to draw")
        if batch_size % world_size:
            raise ValueError(f"batch_size={batch_size}: choose a multiple of the {world_size} processes")
        if count < world_size:
            raise ValueError(f"count={count}: there are fewer examples than the {world_size} processes")
        if not 1 <= per_patient <= batch_size:
            raise ValueError(f"per_patient={per_patient}: choose between 1 and the batch size, {batch_size}")
        if per_patient > 1 and (patient is None or len(patient) != count):
            raise ValueError(f"per_patient={per_patient}: needs patient, a code for each of the {count} examples")
        self.patient, self.per_patient = patient, per_patient
        self.count, self.seed, self.rank, self.world_size = count, seed, rank, world_size
        self.shared = count // world_size * world_size
        self.batch_size = min(batch_size, self.shared)
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch; the engine calls this."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.shared // self.batch_size if self.seed is not None else -(-self.shared // self.batch_size)

    def __iter__(self) -> Iterator[Indices]:
        order = np.arange(self.count)
        if self.seed is not None:
            rng = np.random.default_rng([self.seed, self.epoch])
            order = rng.permutation(self.count)
            if self.patient is not None and self.per_patient > 1:
                order = order[group_patients(self.patient[order], self.per_patient, rng)]
        order = order[: self.shared]
        for batch in range(len(self)):
            chosen = order[batch * self.batch_size : (batch + 1) * self.batch_size]
            yield chosen[self.rank :: self.world_size]


class OnePerPatient(EpochBatches):
    """Batches of one example a patient, drawn anew each training epoch, so that nobody counts more for more ECGs.

    Args:
        patient: patient code of every example [count].
        batch_size: patients of a batch; where there are fewer, all of them make one batch.
        seed: of the draw.
    """

    def __init__(self, patient: Indices, batch_size: int, seed: int) -> None:
        self.order = np.argsort(patient, kind="stable")
        self.first, self.size = np.unique(patient[self.order], return_index=True, return_counts=True)[1:]
        self.draw = seed
        super().__init__(len(self.first), batch_size, seed)

    def __iter__(self) -> Iterator[Indices]:
        share = np.random.default_rng([self.draw, self.epoch, 1]).random(len(self.first))
        drawn = self.order[self.first + (share * self.size).astype(np.int64)]
        for patients in super().__iter__():
            yield drawn[patients]


def group_patients(patient: Indices, size: int, rng: np.random.Generator) -> Indices:
    """Return an order of examples in which each patient's come in groups of ``size``, groups in random order.

    Args:
        patient: patient code of every example [n], in random order, which decides who is grouped with whom.
        size: examples of a group; a patient's last group may be smaller.
        rng: draws the order of the groups.

    Returns:
        Indices [n].
    """
    sorted_by_patient = np.argsort(patient, kind="stable")
    codes = patient[sorted_by_patient]
    starts = np.flatnonzero(np.r_[True, codes[1:] != codes[:-1]])
    place = np.arange(len(codes)) - np.repeat(starts, np.diff(np.r_[starts, len(codes)]))  # 0, 1, ... of each patient
    group = np.cumsum(place % size == 0) - 1
    shuffled = rng.permutation(group[-1] + 1)
    return sorted_by_patient[np.argsort(shuffled[group], kind="stable")]


class EveryStep(Sampler[Indices]):
    """The training batches of one epoch after the other, from a step on, as one long epoch.

    So what a run that continues still has to do is a shorter run, and nothing has to be skipped.

    Args:
        batches: of one rank, of all epochs.
        steps: of the whole run.
        done: steps that an earlier process took.
    """

    def __init__(self, batches: EpochBatches, steps: int, done: int = 0) -> None:
        self.batches, self.steps, self.done = batches, steps, done

    def __len__(self) -> int:
        return self.steps - self.done

    def __iter__(self) -> Iterator[Indices]:
        step = self.done
        while step < self.steps:
            epoch, first = divmod(step, len(self.batches))
            self.batches.set_epoch(epoch)
            for batch in islice(self.batches, first, first + self.steps - step):
                yield batch
                step += 1


class ArchiveBatches(Dataset[dict[str, Tensor]]):
    """Whole batches of an archive as dicts of tensors; indexed by an array, so nothing happens per record.

    Args:
        archive: where signals come from.
        rows: archive rows [n] that make up this data set.
        targets: float32 [n, C], or None.
        static: names of static inputs, see ``ssl_ecg.tasks.static_inputs``.
    """

    def __init__(
        self,
        archive: Archive,
        rows: Indices,
        targets: NDArray[np.float32] | None = None,
        static: Sequence[str] = (),
    ) -> None:
        if targets is not None and len(targets) != len(rows):
            raise ValueError(f"targets: {len(targets)} rows for {len(rows)} records")
        self.archive, self.rows, self.targets = archive, np.asarray(rows), targets
        self.static = static_of(static, archive, self.rows) if static else None

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, indices: Indices) -> dict[str, Tensor]:
        """Return ``Signals`` as they are stored, int16, for ``in_millivolts`` to convert on their device.

        Beside them stand ``millivolts_per_bit``, ``patient`` [B], ``row`` [B] and, where there are any,
        ``targets`` [B, C] and ``static`` [B, K].
        """
        rows = self.rows[indices]
        batch = {
            **{name: torch.from_numpy(part) for name, part in self.archive.stored(rows)._asdict().items()},
            "millivolts_per_bit": torch.tensor(self.archive.microvolts_per_bit / 1000),
            "patient": torch.from_numpy(self.archive.patient[rows]),
            "row": torch.from_numpy(rows),
        }
        if self.targets is not None:
            batch["targets"] = torch.from_numpy(self.targets[indices])
        if self.static is not None:
            batch["static"] = torch.from_numpy(self.static[indices])
        return batch


def in_millivolts(batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Return a batch with its signals float32 in millivolts, converted on their device."""
    rest = {name: values for name, values in batch.items() if name != "millivolts_per_bit"}
    return {**rest, "signal": batch["signal"] * batch["millivolts_per_bit"]}


def normalised(batch: dict[str, Tensor], how: str) -> dict[str, Tensor]:
    """Return a batch with its signals normalised as ``how`` says, on their device."""
    return {**batch, "signal": normalise(batch["signal"], batch["recorded"], batch["leads"], how)}


def batch_loader(data: ArchiveBatches, batches: Sampler[Indices], workers: int = 0) -> DataLoader[dict[str, Tensor]]:
    """Return a loader of whole batches; ``workers`` processes read ahead (0: none, best on few cores)."""
    return DataLoader(
        data,
        sampler=batches,
        batch_size=None,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=torch.cuda.is_available(),
    )


def count_incomplete(archive: Archive, rows: NDArray[np.int64]) -> dict[str, int]:
    """Count, and name in the log, records that are shorter than the archive's or lack some of its leads.

    Returns:
        "short_records" and "records_lacking_leads" among ``rows``.
    """
    short = int((archive.recorded[rows] < archive.samples).sum())
    lacking = int((~archive.recorded_leads[rows]).any(1).sum())
    if short or lacking:
        log.warning(
            "%d of %d records are shorter than %g s, %d lack leads; what was not recorded counts for nothing",
            short,
            len(rows),
            archive.settings.duration,
            lacking,
        )
    return {"short_records": short, "records_lacking_leads": lacking}
