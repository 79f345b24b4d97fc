"""Records a core-second: synthesize, ingest and read. ``python benchmarks/data.py``; under a minute."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from ssl_ecg.archive import ingest, open_archive
from ssl_ecg.records import LEADS
from ssl_ecg.synthetic import draw_ecgs, synthesize


def core_seconds(run: Callable[[], Any]) -> float:
    """Return the processor time that ``run`` and the processes it starts take: other load hardly changes it."""
    before = sum(os.times()[:4])
    run()
    return sum(os.times()[:4]) - before


def write_wfdb(folder: Path, signals: np.ndarray, sampling_rate: int, copies: int) -> int:
    """Write signals [n, 12, T] in millivolts, each ``copies`` times, and return how many files were written."""
    folder.mkdir()
    for number, signal in enumerate(np.tile(signals, (copies, 1, 1))):
        name = f"{number:05d}"
        np.rint(signal.T * 1000).astype("<i2").tofile(folder / f"{name}.dat")
        lines = [f"{name} 12 {sampling_rate} {signal.shape[1]}"]
        lines += [f"{name}.dat 16 1000(0)/mV 16 0 0 0 0 {lead}" for lead in LEADS]
        (folder / f"{name}.hea").write_text("\n".join(lines) + "\n", encoding="utf-8")
    return copies * len(signals)


def main() -> None:
    """Measure each."""
    print(f"load average at the start: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        seconds = core_seconds(lambda: synthesize(folder / "synthetic", records=600))
        print(f"synthesize, 100 Hz: {600 / seconds:.0f} records a core-second")

        for rate in (100, 500):
            source, out = folder / f"wfdb{rate}", folder / f"archive{rate}"
            count = write_wfdb(source, draw_ecgs(50, sampling_rate=rate).signal, rate, copies=8)
            seconds = core_seconds(partial(ingest, source, out, progress=False))
            print(f"ingest, WFDB of {rate} Hz to 100 Hz: {count / seconds:.0f} records a core-second")

        archive = open_archive(folder / "synthetic")
        rows = np.random.default_rng(0).integers(len(archive), size=(40, 256))
        archive.read(rows[0])
        seconds = core_seconds(lambda: [archive.read(batch) for batch in rows])
        print(f"read random batches of 256: {rows.size / seconds:.0f} ECGs a core-second")


if __name__ == "__main__":
    main()
