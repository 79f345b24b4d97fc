"""Every storage format against the wfdb package, whole and in part, and how much is read of what."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
import wfdb

from ssl_ecg.records import RecordError, read_wfdb
from ssl_ecg.records.wfdb_header import read_header
from ssl_ecg.records.wfdb_samples import STORAGES, read_samples

# What random bytes hardly ever are.
MISSING = {"16": b"\0\x80", "24": b"\0\0\x80", "32": b"\0\0\0\x80", "61": b"\x80\0", "160": b"\0\0"}


def write(folder: Path, storage: str, frames: list[int], skews: list[int], length: int, seed: int = 0) -> Path:
    """Write random bytes as a recording of three signals: any bytes are samples, the invalid ones among them."""
    rng = np.random.default_rng(seed)
    size = STORAGES[storage].size(length * sum(frames))
    data = rng.integers(0, 256, size + 8, dtype=np.uint8)
    if storage in ("310", "311"):  # bits that no sample has
        data[3::4] &= 0x3F if storage == "311" else 0xFF
    if missing := MISSING.get(storage):
        data[30 * len(missing) : 31 * len(missing)] = np.frombuffer(missing, np.uint8)
    (folder / "a.dat").write_bytes(bytes(5) + data.tobytes())
    lines = [f"a 3 250 {length}"]
    for lead, frame, skew in zip(("I", "II", "V1"), frames, skews, strict=True):
        lines.append(f"a.dat {storage}x{frame}:{skew}+5 100(3)/mV 0 0 7 0 0 {lead}")
    (folder / "a.hea").write_text("\n".join(lines))
    return folder / "a"


@pytest.mark.parametrize("storage", list(STORAGES))
@pytest.mark.parametrize(("frames", "length"), [([1, 1, 1], 1001), ([2, 2, 2], 500), ([1, 3, 2], 333)])
def test_integers_are_those_of_the_wfdb_package(tmp_path, monkeypatch, storage, frames, length) -> None:
    monkeypatch.setattr("ssl_ecg.records.wfdb_samples.PIECE", 1000)  # so that a record is many pieces
    path = write(tmp_path, storage, frames, [0, 0, 0], length)
    channels = read_header(path.with_suffix(".hea")).channels
    other = path
    if storage == "61":  # the package reads its bytes, but cannot hand out integers of another byte order
        other = tmp_path / "other" / "a"
        other.parent.mkdir()
        content = path.with_suffix(".dat").read_bytes()
        other.with_suffix(".dat").write_bytes(content[:5] + np.frombuffer(content[5:], ">i2").astype("<i2").tobytes())
        other.with_suffix(".hea").write_text(path.with_suffix(".hea").read_text().replace(" 61x", " 16x"))
    whole = wfdb.rdrecord(str(other), physical=False, smooth_frames=False, return_res=64).e_d_signal
    for begin, end in ((0, length), (17, 300), (length - 1, length)):
        got = read_samples(path.with_suffix(".dat"), channels, [0, 1, 2], begin, end, length)
        for i, frame in enumerate(frames):
            np.testing.assert_array_equal(got.values[i], whole[i][begin * frame : end * frame])
        assert got.sums == (None if begin else [int(row.sum()) % 65536 for row in whole])


@pytest.mark.parametrize("storage", [name for name in STORAGES if name != "8"])
def test_millivolts_gaps_and_skew_are_those_of_the_wfdb_package(tmp_path, storage) -> None:
    path = write(tmp_path, storage, [1, 1, 1], [0, 4, 9], 2000)
    got = read_wfdb(path)
    stored = wfdb.rdrecord(str(path), return_res=32, ignore_skew=True).p_signal.T  # it fails where there is some
    wanted = np.stack([row[skew : skew + 1991] for row, skew in zip(stored, (0, 4, 9), strict=True)])
    assert got.signal.shape == (3, 1991)
    assert np.isnan(wanted).any()
    np.testing.assert_allclose(got.signal, wanted, rtol=1e-5, atol=1e-5)
    part = read_wfdb(path, begin=2, seconds=1.5)
    np.testing.assert_array_equal(part.signal, got.signal[:, 500:875])
    assert (part.length, part.duration) == (8, 1.5)


def test_a_frame_of_several_samples_has_their_rate(tmp_path) -> None:
    path = write(tmp_path, "16", [2, 2, 2], [0, 1, 0], 1000)
    record = read_wfdb(path)
    assert (record.sampling_rate, record.signal.shape) == (500, (3, 1998))
    stored = wfdb.rdrecord(str(path), smooth_frames=False, ignore_skew=True).e_p_signal
    np.testing.assert_allclose(record.signal, [stored[0][:1998], stored[1][2:], stored[2][:1998]], rtol=1e-5)
    path = write(tmp_path, "16", [1, 2, 2], [0, 0, 0], 1000)
    with pytest.raises(RecordError, match="sampling rate: the leads have several: 250, 500 Hz"):
        read_wfdb(path)


@pytest.mark.parametrize("storage", ["508", "516", "524"])
def test_flac_is_decoded_by_the_wfdb_package_whatever_the_name(tmp_path, storage) -> None:
    rng = np.random.default_rng(0)
    top = 2 ** (int(storage) - 500 - 2)
    stored = rng.integers(-top, top, (500, 3))
    wfdb.wrsamp("x", 250, ["mV"] * 3, ["I", "II", "V1"], d_signal=stored, fmt=[storage] * 3, adc_gain=[100.0] * 3,
                baseline=[0] * 3, write_dir=str(tmp_path))  # fmt: skip
    folder = tmp_path / "zip::ü"
    folder.mkdir()
    (tmp_path / "x.hea").rename(folder / "1.2 +é.hea")
    (tmp_path / "x.dat").rename(folder / "x.dat")
    record = read_wfdb(folder / "1.2 +é.hea")
    np.testing.assert_allclose(record.signal, stored.T / 100, rtol=1e-6)
    np.testing.assert_array_equal(read_wfdb(folder / "1.2 +é.hea", 0.4, 1).signal, record.signal[:, 100:350])


def test_a_sparse_day_costs_what_is_kept(tmp_path) -> None:
    hours = 24 * 365
    frames = hours * 3600 * 500
    with (tmp_path / "a.dat").open("wb") as file:
        file.truncate(frames * 24)
    lines = [f"a.dat 16 1000/mV 16 0 0 5 0 V{i}" for i in range(1, 7)] * 2
    (tmp_path / "a.hea").write_text("\n".join([f"a 6 500 {frames}", *lines[:6]]))
    tracemalloc.start()
    record = read_wfdb(tmp_path / "a", seconds=20)
    assert (record.signal.shape, record.length) == ((6, 10000), hours * 3600)
    with pytest.raises(RecordError, match="too long: 8760 hours"):
        read_wfdb(tmp_path / "a")
    assert tracemalloc.get_traced_memory()[1] < 50e6
    tracemalloc.stop()
