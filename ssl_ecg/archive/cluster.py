"""Files read by the workers of a Dask cluster: each turns slices of them into pieces of the archive.

What a worker does is what a local process does, and so is all that follows: ids, copies, rejections, the manifest and
what a kill costs. Workers write signals beside the journal; whoever started them joins the pieces, in the order of the
files, so that no signal travels over the network and no worker waits for another.
"""

from __future__ import annotations

import hashlib
import logging
import multiprocessing
import os
import re
import socket
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import numpy as np

from ssl_ecg.archive.finding import Job
from ssl_ecg.archive.processes import in_order
from ssl_ecg.archive.reading import Piece, Reading, died, pieces_of, read_job
from ssl_ecg.archive.writer import Written
from ssl_ecg.runs import write_atomically

if TYPE_CHECKING:
    from distributed import Client, Future

MAX_FILES = 512  # of a slice, which is what the death of a worker costs: some 12 MB at 100 Hz, 60 MB at 500 Hz
SLICES_PER_THREAD = 4  # at least, where there are few files, so that all workers end together
AHEAD = 2  # slices that a thread has before it, at most: memory and disk stay flat
SECONDS = 30.0  # without any worker
CONNECT = 10.0  # seconds that a scheduler may take to answer

_ADDRESS = re.compile(r"(\w+://)?\S+:\d+")


class ClusterError(OSError):
    """A cluster that cannot be used, or was lost meanwhile."""


@dataclass(frozen=True)
class Slices:
    """What workers must know.

    Attributes:
        source: folder of the files, absolute.
        folder: where signals are written, absolute.
        how: files become signals.
        seconds: that a file may give no record and not end.
        size: outcomes of a piece at most.
    """

    source: Path
    folder: Path
    how: Reading
    seconds: float
    size: int


def check(cluster: str, workers: int | None) -> None:
    """Refuse what cannot be used, before a folder is walked for hours.

    Raises:
        ValueError: ``distributed`` is not installed, a cluster that is there is told how many workers it has, or its
            address is none.
        ClusterError: it cannot be reached, or has no worker.
    """
    try:
        import distributed  # noqa: F401
    except ImportError:
        raise ValueError(
            f"cluster={cluster!r}: needs dask.distributed, which is not installed; run pip install 'ssl_ecg[cluster]'"
        ) from None
    if cluster == "local":
        return
    if workers is not None:
        raise ValueError(f"workers={workers}: cluster={cluster!r} has workers of its own; leave one of both out")
    if not _ADDRESS.fullmatch(cluster):
        raise ValueError(f"cluster={cluster!r}: is no address; give one such as tcp://host:8786, or local")
    with _connected(cluster, workers):
        pass


def convert(
    slices: Slices, jobs: Sequence[Job], cluster: str, workers: int | None, done: Callable[[], object]
) -> Generator[Piece, None, None]:
    """Yield the pieces that the workers of a cluster make of files, in the order of the files.

    A slice whose worker dies is given to another one, three times.

    Args:
        slices: how it is done.
        jobs: the files.
        cluster: address of a scheduler, or "local".
        workers: how many, where local; by default one per core.
        done: called after each file.

    Raises:
        ClusterError: there is no such scheduler, no worker, or one that cannot read or write here.
    """
    if not jobs:
        return
    for left in slices.folder.glob("*.i16"):  # of a call that was killed
        left.unlink(missing_ok=True)
    with _connected(cluster, workers) as client:
        threads = sum(client.nthreads().values())
        files = max(1, min(MAX_FILES, -(-len(jobs) // (SLICES_PER_THREAD * threads))))
        cuts = iter([jobs[begin : begin + files] for begin in range(0, len(jobs), files)])
        waiting: deque[tuple[int, Future]] = deque()
        while True:
            while len(waiting) < AHEAD * max(1, threads) and (cut := next(cuts, None)):
                waiting.append((len(cut), client.submit(convert_slice, slices, cut, pure=False)))
            if not waiting:
                return
            count, future = waiting.popleft()
            yield from _result(client, future, cluster)
            for _ in range(count):
                done()
            threads = sum(client.nthreads().values())  # workers come and go


def convert_slice(slices: Slices, jobs: Sequence[Job]) -> list[Piece]:
    """Read files, on a worker, and write their signals; return all else.

    Raises:
        ClusterError: the files or the archive are not where they should be.
    """
    there = [job.path for job in jobs if job.reader is not None]
    for what, path, seen in (
        ("archive", slices.folder, slices.folder.is_dir()),
        ("source", slices.source, not there or any((slices.source / path).exists() for path in there)),
    ):
        if not seen:
            told = f"{path} is not seen by the worker on {socket.gethostname()}; every worker needs it under this path"
            raise ClusterError(f"{what}: {told}")
    multiprocessing.current_process().daemon = False  # those of Dask's nanny may else have no children
    # Dask's threads hold locks that a forked copy would never get; a server without threads forks instead.
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    outcomes = in_order(partial(read_job, source=slices.source, how=slices.how), jobs, 1, died, slices.seconds, context)
    return [_written(piece, slices.folder) for piece in pieces_of(outcomes, slices.size)]


def _written(piece: Piece, folder: Path) -> Piece:
    signals = [outcome.signal for _, outcome in piece.outcomes if outcome.signal is not None]
    outcomes = [(job, replace(outcome, signal=None)) for job, outcome in piece.outcomes]
    if not signals:
        return Piece(outcomes)
    file = folder / f"{uuid4().hex}.i16"  # a slice may be read twice, by a worker that was only thought dead
    content = np.stack(signals).data
    write_atomically(file, content)
    return Piece(outcomes, Written(file, hashlib.sha256(content).hexdigest()))


def _result(client: Client, future: Future, cluster: str) -> list[Piece]:
    """Wait for a slice, as long as there is a worker.

    Raises:
        ClusterError: there is none, or several died of this slice.
        OSError: a worker could not write.
    """
    from distributed import KilledWorker

    again = "; the same command goes on from what is committed"
    try:
        while True:
            try:
                return future.result(timeout=SECONDS)
            except TimeoutError:
                if not client.nthreads():
                    raise ClusterError(f"cluster={cluster!r}: has no worker any more; start one{again}") from None
    except KilledWorker as error:
        told = f"{error.allowed_failures + 1} workers died of the same files, see their logs (often memory ran out)"
        raise ClusterError(f"cluster={cluster!r}: {told}{again}") from error
    except ImportError as error:
        told = f"a worker has another installation ({error}); install the same on all"
        raise ClusterError(f"cluster={cluster!r}: {told}{again}") from error
    except OSError:
        raise
    except Exception as error:
        told = f"was lost ({type(error).__name__}); start it again"
        raise ClusterError(f"cluster={cluster!r}: {told}{again}") from error


@contextmanager
def _connected(cluster: str, workers: int | None) -> Iterator[Client]:
    """Connect to a cluster that has a worker.

    Raises:
        ClusterError: it cannot be reached, or has none.
    """
    from distributed import Client, LocalCluster

    options: dict[str, Any] = {"set_as_default": False, "timeout": CONNECT}
    if cluster == "local":
        logging.getLogger("distributed").setLevel(logging.ERROR)  # it tells of every start and end
        workers = workers or os.cpu_count()
        with (
            LocalCluster(n_workers=workers, threads_per_worker=1, dashboard_address="127.0.0.1:0") as here,
            Client(here, **options) as client,
        ):
            yield client
        return
    try:
        client = Client(cluster, **options)
    except (OSError, ValueError) as error:
        told = f"no Dask scheduler answers there; start one by dask scheduler --port {cluster.rpartition(':')[2]}"
        raise ClusterError(f"cluster={cluster!r}: {told}, or mend the address") from error
    with client:
        try:
            client.wait_for_workers(1, timeout=SECONDS)
        except TimeoutError:
            raise ClusterError(f"cluster={cluster!r}: has no worker; start some by dask worker {cluster}") from None
        yield client
