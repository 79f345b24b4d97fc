"""A million records: opening, appending, reading; 100,000 labels. ``python benchmarks/scale.py [RECORDS]``; minutes.

Each is measured in a process of its own: seconds of the wall clock and of the processor, and the peak of its memory,
with all imports (Linux).
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd

RECORDS, PER_PART, APPENDED = 1_000_000, 2048, 10
READ, BATCH = 16_384, 256
TINY = {"duration": 0.1, "min_duration": 0.1, "band": None, "mains": None}  # 10 samples: only rows are at stake


def rows(first: int, count: int) -> pd.DataFrame:
    """Return rows of a manifest as of a hospital: ids of 30 letters, three records a patient."""
    number = np.arange(first, first + count)
    return pd.DataFrame(
        {
            "record_id": [f"exported/2019/{each // 1000:05d}/ecg_{each:09d}" for each in number],
            "patient_id": [f"exported:{each // 3:09d}" for each in number],
            "source": "exported",
            "age": (number * 7 % 80 + 18).astype(float),
            "sex": np.where(number % 2, "female", "male"),
            "recorded_at": pd.Timestamp("2019-01-01") + pd.to_timedelta(number, unit="min"),
            "original_rate": 500.0,
            "original_duration": 10.0,
            "calibrated": True,
        }
    )


def write(folder: Path, records: int, first: int = 0, tiny: bool = True) -> None:
    """Add records of noise to an archive."""
    from ssl_ecg.archive.writer import ArchiveWriter
    from ssl_ecg.signals import SignalSettings

    settings = SignalSettings(**(TINY if tiny else {}))
    writer = ArchiveWriter(folder, settings)
    rng = np.random.default_rng(first)
    for begin in range(first, first + records, PER_PART):
        count = min(PER_PART, first + records - begin)
        signal = rng.integers(-2000, 2000, (count, len(settings.leads), settings.samples), dtype=np.int16)
        writer.write_part(signal, rows(begin, count))
    writer.finish()


def open_(folder: Path, records: int) -> None:
    """Open an archive."""
    from ssl_ecg.archive import open_archive

    assert len(open_archive(folder)) == records


def find(folder: Path, records: int) -> None:
    """Open it, number its patients and find 100,000 records by their ids."""
    from ssl_ecg.archive import open_archive

    archive = open_archive(folder)
    wanted = archive.manifest["record_id"].iloc[:: max(1, records // 100_000)]
    assert archive.patient.max() < records
    assert (archive.find(wanted) >= 0).all()


def append(folder: Path, records: int) -> None:
    """Add ten records."""
    write(folder, APPENDED, first=records)


def bootstrap(folder: Path, records: int) -> None:
    """Draw 1,000 times of 100,000 labels of five classes."""
    from ssl_ecg.evaluation import bootstrap_metrics

    rng = np.random.default_rng(0)
    labels = (rng.random((100_000, 5)) < [0.3, 0.1, 0.05, 0.02, 0.01]).astype(float)
    bootstrap_metrics(labels, labels + rng.normal(size=labels.shape), np.arange(100_000) // 3)


def read(folder: Path, records: int, workers: int) -> float:
    """Return the records a second of 10 s at 100 Hz that a loader gives in random order, after its first batch."""
    from ssl_ecg.archive import open_archive
    from ssl_ecg.training.batches import ArchiveBatches, EpochBatches, batch_loader

    archive = open_archive(folder)
    loader = iter(batch_loader(ArchiveBatches(archive, np.arange(len(archive))), EpochBatches(READ, BATCH, 0), workers))
    next(loader)
    began = time.perf_counter()
    seen = sum(len(batch["signal"]) for batch in loader)
    return seen / (time.perf_counter() - began)


STEPS: dict[str, Callable[..., object]] = {
    "open": open_,
    "find": find,
    "append": append,
    "open, of two files": lambda folder, records: open_(folder, records + APPENDED),
    "bootstrap": bootstrap,
    **{f"loader, {workers} workers": lambda *of, workers=workers: read(*of, workers) for workers in (0, 1, 2, 4)},
}


def measured(step: str, folder: Path, records: int) -> dict[str, object]:
    """Run a step in a process of its own."""
    command = [sys.executable, __file__, step, str(folder), str(records)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def itself(step: str, folder: Path, records: int) -> None:
    """Run a step, and print what it took."""
    began = time.perf_counter()
    result = STEPS[step](folder, records)
    seconds, used = time.perf_counter() - began, sum(os.times()[:2])
    # Of this program alone; what getrusage tells begins with the size of whoever started it.
    peak = re.search(r"VmHWM:\s*(\d+)", Path("/proc/self/status").read_text("ascii"))
    told = {"seconds": seconds, "processor": used, "MB": int(peak[1]) / 1e3 if peak else None}
    print(json.dumps({**told, "records_per_second": result}))


def main() -> None:
    """Measure each."""
    records = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
    print(f"{platform.machine()}, {os.cpu_count()} cores; load average at the start: {os.getloadavg()[0]:.1f}")
    with tempfile.TemporaryDirectory() as temporary:
        tiny, whole = Path(temporary, "tiny"), Path(temporary, "whole")
        write(tiny, records)
        write(whole, READ, tiny=False)
        size = sum(path.stat().st_size for path in tiny.glob("manifest*"))
        print(f"{records:,} records; manifest {size / 1e6:.0f} MB")
        for step in STEPS:
            found = measured(step, whole if step.startswith("loader") else tiny, records)
            print(step, *(f"{name} {value:,.2f}" for name, value in found.items() if value is not None), sep="; ")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        itself(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]))
    else:
        main()
