"""Memory of an ingest of ever more small records. ``python benchmarks/ingest_memory.py [RECORDS ...]``; minutes. Linux.

Records are of 12 leads and 1 s at 100 Hz: each a WFDB file, then all in one NumPy array. Each ingest is a process of
its own, with one that reads; told is the peak of each, with all imports, and the seconds of the processor of both.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

RECORDS = (2_000, 8_000, 32_000)
SHORT = {"duration": 1.0, "min_duration": 1.0, "band": None, "mains": None}


def beat() -> np.ndarray:
    """Return one, int16 [samples, leads] in microvolts."""
    from ssl_ecg.synthetic import draw_ecgs

    return np.rint(draw_ecgs(1, sampling_rate=100).signal[0, :, :100].T * 1000).astype("<i2")


def noise(number: int, like: np.ndarray) -> np.ndarray:
    """Return what makes a record differ from the others."""
    return np.random.default_rng(number).integers(-20, 20, like.shape, dtype=np.int16)


def write_files(folder: Path, records: int) -> None:
    """Write a WFDB file a record, a thousand a folder."""
    from ssl_ecg.records import LEADS

    one = beat()
    for number in range(records):
        name, ward = f"{number:07d}", folder / f"{number // 1000:04d}"
        ward.mkdir(parents=True, exist_ok=True)
        (ward / f"{name}.dat").write_bytes((one + noise(number, one)).tobytes())
        lines = [f"{name} 12 100 100", *(f"{name}.dat 16 1000(0)/mV 16 0 0 0 0 {lead}" for lead in LEADS)]
        (ward / f"{name}.hea").write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_array(folder: Path, records: int) -> None:
    """Write all records into one array, and its description."""
    from ssl_ecg.records import LEADS

    one = beat()
    folder.mkdir()
    array = np.lib.format.open_memmap(folder / "all.npy", "w+", np.dtype("<i2"), (records, *one.shape))
    for number in range(records):
        array[number] = one + noise(number, one)
    array.flush()
    said = f"array: all.npy\nleads: [{', '.join(LEADS)}]\nsampling_rate: 100\nunit: uV\n"
    (folder / "all.yaml").write_text(said, encoding="utf-8")


KINDS: dict[str, Callable[[Path, int], None]] = {"files": write_files, "array": write_array}


def itself(folder: Path) -> None:
    """Ingest a folder, and print what it took."""
    import resource

    from ssl_ecg.archive import ingest
    from ssl_ecg.signals import SignalSettings

    report = ingest(folder / "source", folder / "archive", SignalSettings(**SHORT), workers=1, progress=False)
    peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))  # noqa: SIM115
    reading = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss
    print(
        f"{report.accepted:,} accepted, {report.rejected:,} rejected; this process {peak / 1e3:.0f} MB, "
        f"the one that reads {reading / 1e3:.0f} MB; {sum(os.times()[:4]):.0f} s",
        flush=True,
    )


def main() -> None:
    """Measure each."""
    print(f"{os.cpu_count()} cores; load average at the start: {os.getloadavg()[0]:.1f}", flush=True)
    for kind, write in KINDS.items():
        for records in map(int, sys.argv[1:]) if len(sys.argv) > 1 else RECORDS:
            with tempfile.TemporaryDirectory() as temporary:
                write(Path(temporary, "source"), records)
                print(kind, end=": ", flush=True)
                subprocess.run([sys.executable, __file__, "--", temporary], check=True)


if __name__ == "__main__":
    itself(Path(sys.argv[2])) if sys.argv[1:2] == ["--"] else main()
