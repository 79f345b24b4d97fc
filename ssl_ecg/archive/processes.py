"""Work in several processes with its results in order; a process that dies costs only the item that killed it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

BATCH = 16


def in_order(
    work: Callable[[Item], Iterable[Result]], items: Sequence[Item], processes: int, died: Callable[[Item], Result]
) -> Generator[tuple[Item, Result | None], None, None]:
    """Yield what ``work`` yields of each item, in the order of the items, whatever the number of processes.

    Each process is a batch ahead of who takes the results at most, so that memory stays flat however much an item
    yields.

    Args:
        work: yields any number of results of an item.
        items: what to work on.
        processes: how many at most.
        died: the last result of an item that killed its process.

    Returns:
        Pairs of item and result; after the last result of an item, the item and None.
    """
    count = max(1, min(processes, -(-len(items) // BATCH)))
    lanes = [_Lane(work, [x for n, x in enumerate(items) if n // BATCH % count == i], died) for i in range(count)]
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
        self, work: Callable[[Item], Iterable[Result]], items: list[Item], died: Callable[[Item], Result]
    ) -> None:
        self.work, self.items, self.died = work, deque(items), died
        self._start(list(items), BATCH)

    def _start(self, items: list[Item], batch: int) -> None:
        self.received: deque[Result | None] = deque()
        self.pipe, there = multiprocessing.Pipe(duplex=False)
        self.process = multiprocessing.Process(target=_serve, args=(self.work, items, batch, there), daemon=True)
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
                if alone:
                    yield self.died(item)
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


def _serve(work: Callable[[Item], Iterable[Result]], items: list[Item], batch: int, pipe: Connection) -> None:
    """Send lists of results, with None after the last one of each item."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who started this process ends it
    _follow_parent()
    results: list[Result | None] = []
    for item in items:
        for result in work(item):
            results.append(result)
            if len(results) >= batch:
                pipe.send(results)
                results = []
        results.append(None)
        if len(results) >= batch:
            pipe.send(results)
            results = []
    pipe.send(results)


def _follow_parent() -> None:
    """End this process when its parent is killed; otherwise it would wait for ever to hand over its results."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        threading.Thread(target=lambda: (wait([parent.sentinel]), os._exit(1)), daemon=True).start()
