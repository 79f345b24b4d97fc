"""Files that were damaged in many ways: each gives records or says why not, soon, and in little memory."""

from __future__ import annotations

import resource
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import vendor_files as make

from ssl_ecg.records import LEADS, Record, RecordError
from ssl_ecg.records.formats import reader_of

ROUNDS = 30
SECONDS = 5
BYTES = 2 * 2**30  # that the process may grow by: a length of 32 bits that somebody believes is more


def samples(folder: Path) -> dict[str, bytes]:
    """One small whole file of each format."""
    h5py, signals = pytest.importorskip("h5py"), make.integers(120)
    array = np.stack(list(signals.values())).astype(np.int16)
    np.save(folder / "a.npy", array)
    np.savez_compressed(folder / "a.npz", array)
    scipy.io.savemat(folder / "a.mat", {"ECG": {"data": array}}, do_compression=True)
    with h5py.File(folder / "a.h5", "w") as file:
        file.create_dataset("ecg", data=array, compression="gzip")
    with zipfile.ZipFile(folder / "a.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("a.xml", make.muse(make.integers(20)))
    make.dicom([{"signals": signals}], folder / "a.dcm")
    files = {path.name: path.read_bytes() for path in folder.iterdir()}
    return files | {
        "muse.xml": make.muse(signals),
        "philips.xml": make.philips(signals),
        "plain.xml": make.philips(signals, packed=False, encoding="UTF-16"),
        "aecg.xml": make.aecg(signals),
        "cardiosoft.xml": make.cardiosoft(signals),
        "a.edf": make.edf(make.integers(600)),
    }


def damaged(content: bytes, rng: np.random.Generator) -> bytes:
    """Flip, cut, repeat or overwrite some bytes, most of them near the begin, where sizes and counts stand."""
    data = bytearray(content)
    for _ in range(rng.integers(1, 6)):
        at = int(len(data) * rng.random() ** 3)
        length = int(rng.integers(1, 9))
        match rng.integers(0, 6):
            case 0:
                data[at : at + 1] = bytes([rng.integers(0, 256)])
            case 1:
                del data[at : at + int(rng.integers(1, 400))]
            case 2:
                data[at:at] = data[at : at + int(rng.integers(1, 400))]
            case 3:
                data[at : at + length] = b"\xff" * length
            case 4:
                data[at : at + length] = rng.choice([b"99999999", b"-1", b"1e308", b"\0" * 8, b"<a>", b"&x;", b"nan"])
            case 5:
                del data[max(1, at) :]
    return bytes(data)


def outcome(path: Path) -> str:
    """Read a file; anything but records or a ``RecordError`` comes out."""
    begin = time.monotonic()
    try:
        found = list(reader_of(path).read(path))
        told = "read" if isinstance(found[0], Record) else "refused"
    except RecordError:
        told = "refused"
    assert time.monotonic() - begin < SECONDS
    return told


@pytest.fixture
def bounded():
    """Let the process not grow by more than some gigabytes of addresses."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (now + BYTES, hard))
    yield
    resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is bounded on Linux")
def test_damaged_files_end_in_records_or_a_reason(tmp_path: Path, bounded) -> None:
    (tmp_path / "whole").mkdir()
    rng, told = np.random.default_rng(7), []
    for name, content in samples(tmp_path / "whole").items():
        path = tmp_path / name
        name = f"\nname: {'ECG/data' if name == 'a.mat' else 'ecg'}" if name in ("a.mat", "a.h5") else ""
        (tmp_path / "all.yaml").write_text(
            f"array: '{path.name}'\nleads: [{', '.join(LEADS)}]\nsampling_rate: 500\nunit: uV{name}\n"
        )
        path.write_bytes(content)
        assert outcome(path) == "read", name
        for _ in range(ROUNDS):
            path.write_bytes(damaged(content, rng))
            told.append(outcome(path))
        path.unlink()
    assert told.count("refused") > len(told) / 3
    assert told.count("read") > 0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("deep.xml", b"<RestingECG>" + b"<a>" * 10**6),
        ("wide.xml", b"<RestingECG>" + b"<a/>" * 3 * 10**5),
        ("comments.xml", b"<!---->" * 10**5),
        ("declarations.xml", b"<!DOCTYPE a [" * 10**4),
        ("attributes.xml", b"<AnnotatedECG " + b" ".join(b'a%d="1"' % i for i in range(10**5)) + b">"),
        ("empty.xml", b""),
        ("empty.dcm", b""),
        ("page.xml", b"<!DOCTYPE html><html><body>Session expired</body></html>"),
        ("page.dcm", b"\n<HTML><title>Login</title>"),
        ("zeros.edf", bytes(10**6)),
        ("counts.edf", b"0       " + b" " * 228 + b"99999999" + b"1       " + b"9999" + bytes(4000)),
        ("only.dcm", bytes(128) + b"DICM"),
        (
            "nested.dcm",
            bytes(128) + b"DICM" + b"\x00\x54\x00\x01SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff" * 20000,
        ),
        ("long.dcm", bytes(128) + b"DICM\x02\x00\x00\x00OB\0\0\xf0\xff\xff\xff"),
        ("ishne", b"ISHNE1.0" + b"\xff" * 600),
        ("lengths.scp", bytes(8) + b"\0\0" + b"\xff" * 12 + b"\0\0" + b"\xff" * 4 + b"\7\0\0\0" + b"\xff" * 100),
        (
            "shape.npy",
            b"\x93NUMPY\1\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (9999999999, 12, 5000)}" + b" " * 50,
        ),
        ("only.npy", b"\x93NUMPY"),
        ("only.h5", b"\x89HDF\r\n\x1a\n"),
        ("only.mat", b"MATLAB 5.0 MAT-file".ljust(124) + b"\0\1IM" + b"\x0f\0\0\0\xff\xff\xff\x7f"),
        ("only.zip", b"PK\x03\x04"),
    ],
)
def test_hostile_files(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert outcome(tmp_path / name) == "refused"
