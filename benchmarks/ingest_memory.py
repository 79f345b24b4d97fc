"""Memory of an ingest of ever more small records. ``python benchmarks/ingest_memory.py [RECORDS ...]``; minutes. Linux.

Each record is a WFDB file of 12 leads and 1 s at 100 Hz. Each ingest is a process of its own, with one that reads; told
is the peak of each, with all imports, and records a second of the wall clock.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

RECORDS = (2_000, 8_000, 32_000)
SHORT = {"duration": 1.0, "min_duration": 1.0, "band": None, "mains": None}


def write(folder: Path, records: int) -> None:
    """Write records that differ, a thousand a folder."""
    from ssl_ecg.records import LEADS
    from ssl_ecg.synthetic import draw_ecgs

    beat = np.rint(draw_ecgs(1, sampling_rate=100).signal[0, :, :100].T * 1000).astype("<i2")
    for number in range(records):
        name, ward = f"{number:07d}", folder / f"{number // 1000:04d}"
        ward.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(number).integers(-20, 20, beat.shape, dtype=np.int16)
        (ward / f"{name}.dat").write_bytes((beat + noise).tobytes())
        lines = [f"{name} 12 100 100", *(f"{name}.dat 16 1000(0)/mV 16 0 0 0 0 {lead}" for lead in LEADS)]
        (ward / f"{name}.hea").write_text("\n".join(lines) + "\n", encoding="utf-8")


def itself(folder: Path) -> None:
    """Ingest a folder, and print what it took."""
    import resource

    from ssl_ecg.archive import ingest
    from ssl_ecg.signals import SignalSettings

    began = time.perf_counter()
    report = ingest(folder / "source", folder / "archive", SignalSettings(**SHORT), workers=1, progress=False)
    rate = (report.accepted + report.rejected) / (time.perf_counter() - began)
    peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))  # noqa: SIM115
    reading = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(
        f"{report.accepted:,} accepted, {report.rejected:,} rejected; this process {peak / 1e3:.0f} MB, "
        f"the one that reads {reading / 1e3:.0f} MB; {rate:.0f} records/s",
        flush=True,
    )


def main() -> None:
    """Measure each."""
    print(f"{os.cpu_count()} cores; load average at the start: {os.getloadavg()[0]:.1f}", flush=True)
    for records in map(int, sys.argv[1:]) if len(sys.argv) > 1 else RECORDS:
        with tempfile.TemporaryDirectory() as temporary:
            write(Path(temporary, "source"), records)
            subprocess.run([sys.executable, __file__, "--", temporary], check=True)


if __name__ == "__main__":
    itself(Path(sys.argv[2])) if sys.argv[1:2] == ["--"] else main()
