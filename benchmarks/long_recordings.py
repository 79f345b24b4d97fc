"""Seconds and memory of a recording of a day on its way in. ``python benchmarks/long_recordings.py [HOURS]``.

Twelve leads of 500 Hz as WFDB, EDF, HDF5 and NumPy. Each is measured in a process of its own: seconds of the wall clock
and of the processor, and the peak of its memory, with all imports. Needs Linux.
"""

from __future__ import annotations

import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

RATE, MINUTE = 500, 60
KINDS = ("wfdb", "edf", "hdf5", "npy")


def write(folder: Path, kind: str, hours: float) -> None:
    """Write a recording, minute by minute."""
    from ssl_ecg.records import LEADS
    from ssl_ecg.synthetic import draw_ecgs

    folder.mkdir()
    drawn = draw_ecgs(6, sampling_rate=RATE).signal  # [6, 12, 5000], millivolts
    minute = np.rint(np.concatenate(drawn, axis=1).T * 1000).astype("<i2")  # [T, 12], microvolts
    minutes = round(hours * 60)
    described = f"leads: [{', '.join(LEADS)}]\nsampling_rate: {RATE}\nunit: uV\n"
    if kind == "wfdb":
        with (folder / "day.dat").open("wb") as file:
            file.writelines(minute.tobytes() for _ in range(minutes))
        lines = [f"day 12 {RATE} {minutes * len(minute)}", *(f"day.dat 16 1000(0)/mV 16 0 0 0 0 {x}" for x in LEADS)]
        (folder / "day.hea").write_text("\n".join(lines) + "\n", encoding="utf-8")
    elif kind == "edf":
        with (folder / "day.edf").open("wb") as file:
            file.write(edf_header(LEADS, minutes))
            file.writelines(np.ascontiguousarray(minute.T).tobytes() for _ in range(minutes))
    elif kind == "hdf5":
        import h5py

        with h5py.File(folder / "day.h5", "w") as file:
            array = file.create_dataset("ecg", (1, minutes * len(minute), 12), "i2", chunks=(1, len(minute), 12))
            for number in range(minutes):
                array[0, number * len(minute) : (number + 1) * len(minute)] = minute
        (folder / "day.yaml").write_text(f"array: day.h5\n{described}", encoding="utf-8")
    else:
        shape = (1, minutes * len(minute), 12)
        array = np.lib.format.open_memmap(folder / "day.npy", mode="w+", dtype="<i2", shape=shape)
        for number in range(minutes):
            array[0, number * len(minute) : (number + 1) * len(minute)] = minute
        (folder / "day.yaml").write_text(f"array: day.npy\n{described}", encoding="utf-8")


def edf_header(leads: tuple[str, ...], minutes: int) -> bytes:
    """Return the header of an EDF file with data records of a minute."""

    def cells(width: int, *values: object) -> str:
        return "".join(str(value).ljust(width) for value in values)

    count = len(leads)
    text = cells(8, 0) + cells(80, "X X X X", "Startdate X X X X") + cells(8, "01.01.20", "00.00.00", 256 * (count + 1))
    text += cells(44, "EDF+C") + cells(8, minutes, MINUTE) + cells(4, count)
    text += cells(16, *(f"ECG {lead}" for lead in leads)) + cells(80, *[""] * count) + cells(8, *["uV"] * count)
    for value in (-32768, 32767, -32768, 32767):
        text += cells(8, *[value] * count)
    return (text + cells(80, *[""] * count) + cells(8, *[RATE * MINUTE] * count) + cells(32, *[""] * count)).encode()


def itself(folder: str, windows: str) -> None:
    """Read a folder as ingest does, in this process, and print what it took."""
    from ssl_ecg.archive.finding import find
    from ssl_ecg.archive.reading import Reading, read_job
    from ssl_ecg.archive.windows import how_many
    from ssl_ecg.records import QualityLimits
    from ssl_ecg.signals import SignalSettings

    how = Reading(SignalSettings(), QualityLimits(), windows=how_many(windows))
    jobs = find(Path(folder), how.settings.sampling_rate, Path(folder, "none")).jobs
    began, outcomes = time.perf_counter(), Counter[str]()
    for job in jobs:
        outcomes.update(outcome.reason or "accepted" for outcome in read_job(job, Path(folder), how))
    peak = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmHWM"))  # noqa: SIM115
    used = {"seconds": time.perf_counter() - began, "processor": sum(os.times()[:2]), "MB": peak / 1e3}
    print(json.dumps({name: round(value, 1) for name, value in used.items()} | {"outcomes": outcomes}))


def main() -> None:
    """Measure each."""
    hours = float(sys.argv[1]) if len(sys.argv) > 1 else 24.0
    print(f"{platform.machine()}, {os.cpu_count()} cores; load average at the start: {os.getloadavg()[0]:.1f}")
    for kind in KINDS:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary, kind)
            write(folder, kind, hours)
            size = sum(path.stat().st_size for path in folder.iterdir())
            for windows in ("first", "all"):
                command = [sys.executable, __file__, str(folder), windows]
                done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
                print(f"{kind}, {hours:g} h, {size / 1e6:.0f} MB, windows={windows}: {done.stdout.strip()}", flush=True)


if __name__ == "__main__":
    itself(*sys.argv[1:]) if len(sys.argv) == 3 else main()
