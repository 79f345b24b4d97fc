"""Random reads of an archive against WFDB, HDF5 and Zarr, side by side. ``python benchmarks/reads.py [RECORDS]``.

Each gives the same batches of ECGs in millivolts, float32, of 12 leads and 10 s at 100 Hz, from files that are in the
page cache. HDF5 and Zarr hold the integers of the archive, a chunk a record, as their own defaults store them.
Processor time of this process, its threads included; what is compared is run in turn. What is missing is left out.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from statistics import median

import numpy as np
from all import write_wfdb
from steps import in_turn, machine, ratios

from ssl_ecg.archive import Archive, open_archive
from ssl_ecg.synthetic import synthesize

RECORDS, BATCH, BATCHES, ROUNDS = 256, 64, 4, 9
Reader = Callable[[np.ndarray], np.ndarray]


def of_wfdb(folder: Path, archive: Archive) -> Reader:
    """Two files a record, read by ``wfdb``."""
    from wfdb import rdrecord

    write_wfdb(folder / "wfdb", archive.read(np.arange(len(archive))).signal, 100, copies=1)

    def one(row: int) -> np.ndarray:
        return np.asarray(rdrecord(str(folder / "wfdb" / f"{row:05d}")).p_signal.T, dtype=np.float32)

    return lambda rows: np.stack([one(row) for row in rows])


def of_hdf5(folder: Path, archive: Archive) -> Reader:
    """One dataset of a file."""
    import h5py

    path, integers = folder / "all.h5", whole(archive)
    with h5py.File(path, "w") as file:
        file.create_dataset("signal", data=integers, chunks=(1, *integers.shape[1:]))
    signal = h5py.File(path, "r")["signal"]
    return lambda rows: np.stack([signal[row] for row in rows]) * np.float32(1e-3)


def of_zarr(folder: Path, archive: Archive) -> Reader:
    """One array, a file a chunk."""
    import zarr

    integers = whole(archive)
    made = zarr.create_array(folder / "all.zarr", shape=integers.shape, dtype="i2", chunks=(1, *integers.shape[1:]))
    made[:] = integers
    signal = zarr.open_array(folder / "all.zarr", mode="r")
    return lambda rows: signal.get_orthogonal_selection((rows,)) * np.float32(1e-3)


def whole(archive: Archive) -> np.ndarray:
    """Return the integers of an archive."""
    return np.rint(archive.read(np.arange(len(archive))).signal * 1000).astype("<i2")


OTHERS = {"wfdb": of_wfdb, "h5py": of_hdf5, "zarr": of_zarr}


def main() -> None:
    """Print ECGs a second of a core, and how many times as long the others take."""
    print(json.dumps(machine()))
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        records = int(sys.argv[1]) if len(sys.argv) > 1 else RECORDS
        archive = open_archive(synthesize(folder / "archive", records=records, workers=1))
        readers: dict[str, Reader] = {"archive": lambda rows: archive.read(rows).signal}
        for name, prepare in OTHERS.items():
            try:
                import_module(name)
            except ImportError:
                print(f"{name}: not installed, left out; pip install {name}")
                continue
            readers[name] = prepare(folder, archive)
        rng, rows = np.random.default_rng(0), np.arange(BATCH)
        for name, read in readers.items():
            assert np.abs(read(rows) - readers["archive"](rows)).max() < 1e-3, name
        batches = [rng.permutation(len(archive))[:BATCH] for _ in range(BATCHES)]
        runs = {name: lambda read=read: [read(batch) for batch in batches] for name, read in readers.items()}
        seconds = in_turn(runs, ROUNDS)
        for name, values in seconds.items():
            times = ratios(seconds, name, "archive")
            rate = len(batches) * BATCH / median(values)
            print(f"{name:8} {rate:>10,.0f} ECG/s, {median(times):6.1f} times ({times[0]:.1f} to {times[-1]:.1f})")


if __name__ == "__main__":
    main()
