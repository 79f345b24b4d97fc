"""Work in several processes with its results in order; a process that dies costs only the item that killed it.

An item that gives no result for too long is such an item: the alarm clock of its process kills it, whatever it hangs
in.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, MutableSequence, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH = 16
SECONDS = 300.0  # a damaged file can take minutes, none takes longer that is read in the end

Died = Callable[[Item, bool], Result]


def in_order(
    work: Callable[[Item], Iterable[Result]],
    items: Sequence[Item],
    processes: int,
    died: Died[Item, Result],
    seconds: float = SECONDS,
    context: BaseContext | None = None,
) -> Generator[tuple[Item, Result | None], None, None]:
    """Yield what ``work`` yields of each item, in the order of the items, whatever the number of processes.

    Each process is a batch ahead of who takes the results at most, so that memory stays flat however much an item
    yields.

    Args:
        work: yields any number of results of an item.
        items: what to work on.
        processes: how many at most.
        died: ``died(item, late)``: the last result of an item that killed its process, or gave no result in time.
        seconds: that an item may take to each of its results, and from the last one to its end.
        context: how processes are started, where not as usual.

    Returns:
        Pairs of item and result; after the last result of an item, the item and None.
    """
    count = max(1, min(processes, -(-len(items) // BATCH)))
    shares = [[x for n, x in enumerate(items) if n // BATCH % count == i] for i in range(count)]
    lanes = [_Lane(work, share, died, seconds, context or multiprocessing.get_context()) for share in shares]
    try:
        for n, item in enumerate(items):
            for result in lanes[n // BATCH % count].results():
                yield item, result
            yield item, None
    finally:
        for lane in lanes:
            lane.stop()


class _Lane(Generic[Item, Result]):
    """A process that works through items one after the other."""

    def __init__(
        self,
        work: Callable[[Item], Iterable[Result]],
        items: list[Item],
        died: Died[Item, Result],
        seconds: float,
        context: BaseContext,
    ) -> None:
        self.work, self.items, self.died, self.seconds, self.context = work, deque(items), died, seconds, context
        self.taken = 0  # items before the first of self.items
        self._start(list(items), BATCH)

    def _start(self, items: list[Item], batch: int) -> None:
        self.received: deque[Result | None] = deque()
        self.pipe, there = self.context.Pipe(duplex=False)
        # Which item the process is at, and how many results it has made of it.
        self.at, self.first = self.context.RawArray("q", 2), self.taken
        arguments = (self.work, items, batch, there, self.seconds, self.at)
        self.process = self.context.Process(target=_serve, args=arguments, daemon=True)  # type: ignore[attr-defined]
        self.process.start()
        there.close()

    def results(self) -> Iterator[Result]:
        """Yield the results of the next item."""
        item, given, skip, alone = self.items[0], 0, 0, False
        while True:
            try:
                result = self._receive()
            except (EOFError, OSError):
                self.stop()
                late = self.process.exitcode == -_ALARM
                here, made = self.first + self.at[0] == self.taken, self.at[1]
                if alone or (late and here and made == given):
                    yield self.died(item, late)
                    alone = True
                    break
                # Somebody's item of this batch killed it: now each result counts, to tell which.
                skip, alone = given, True
                self._start([item], 1)
                continue
            if result is None:
                break
            if skip:
                skip -= 1
            else:
                given += 1
                yield result
        self.items.popleft()
        self.taken += 1
        if alone:
            self.stop()
            self._start(list(self.items), BATCH)

    def _receive(self) -> Result | None:
        if not self.received:
            self.received.extend(self.pipe.recv())
        return self.received.popleft()

    def stop(self) -> None:
        """End the process."""
        self.process.terminate()
        self.process.join()
        self.pipe.close()


def _serve(
    work: Callable[[Item], Iterable[Result]],
    items: list[Item],
    batch: int,
    pipe: Connection,
    seconds: float,
    at: MutableSequence[int],
) -> None:
    """Send lists of results, with None after the last one of each item."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this process ends it
    _follow_parent()
    results: list[Result | None] = []
    for number, item in enumerate(items):
        at[0], at[1] = number, 0
        _alarm(seconds)
        for result in work(item):
            results.append(result)
            at[1] += 1
            if len(results) >= batch:
                _alarm(0)  # who takes the results may take his time
                pipe.send(results)
                results = []
            _alarm(seconds)
        _alarm(0)
        results.append(None)
        if len(results) >= batch:
            pipe.send(results)
            results = []
    pipe.send(results)


_ALARM = getattr(signal, "SIGALRM", 0)


def _alarm(seconds: float) -> None:
    """Have the system end this process after so many seconds, or not if 0; Windows has no such clock."""
    if _ALARM:
        signal.signal(_ALARM, signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, seconds)


def _follow_parent() -> None:
    """End this process when its parent is killed; otherwise it would wait for ever to hand over its results."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
