"""Records a second: synthesize, ingest and read. ``python benchmarks/data.py``; under a minute."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from ssl_ecg.archive import ingest, open_archive
from ssl_ecg.archive.synthetic import draw_ecgs, synthesize
from ssl_ecg.records import LEADS


def timed(run: Callable[[], Any]) -> float:
    """Return the seconds that ``run`` takes."""
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


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
    """Measure each, with as many processes as there are cores."""
    print(f"load average at the start: {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        seconds = timed(lambda: synthesize(folder / "synthetic", records=2000))
        print(f"synthesize, 100 Hz: {2000 / seconds:.0f} records/s ({seconds:.1f} s for 2,000)")

        for rate in (100, 500):
            count = write_wfdb(folder / f"wfdb{rate}", draw_ecgs(100, sampling_rate=rate).signal, rate, copies=10)
            for workers in (1, 2):
                out = folder / f"archive{rate}-{workers}"
                seconds = timed(lambda: ingest(folder / f"wfdb{rate}", out, workers=workers, progress=False))  # noqa: B023
                print(f"ingest, WFDB of {rate} Hz to 100 Hz, {workers} processes: {count / seconds:.0f} records/s")

        archive = open_archive(folder / "synthetic")
        rows = np.random.default_rng(0).integers(len(archive), size=(40, 256))
        for normalise in ("lead", "none"):
            object.__setattr__(archive.settings, "normalise", normalise)
            archive.read(rows[0])
            seconds = timed(lambda: [archive.read(batch) for batch in rows])
            print(f"read random batches of 256, normalise={normalise}: {rows.size / seconds:.0f} ECGs/s")


if __name__ == "__main__":
    main()
