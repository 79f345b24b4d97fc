"""The samples of a WFDB recording: every storage format that is no compression, decoded with NumPy, bounded in memory.

The formats are those of `signal(5) <https://physionet.org/physiotools/wag/signal-5.htm>`_. A file is read in pieces of
some megabytes and only what is wanted is kept, so that neither a day of samples nor a sparse file fills the memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.records.record import RecordError
from ssl_ecg.records.wfdb_header import Channel

Integers = NDArray[np.int64] | NDArray[np.int32] | NDArray[np.int16]

PIECE = 2**20  # samples decoded at a time
MAX_SUMMED = 2**28  # samples that are read only to compare their sum with the header's


@dataclass(frozen=True)
class Storage:
    """How a format keeps samples.

    Attributes:
        block: samples and bytes of the smallest piece that can be decoded by itself.
        decode: makes integers of whole blocks of bytes.
        missing: the value that stands for nothing recorded; None where there is none.
    """

    block: tuple[int, int]
    decode: Callable[[NDArray[np.uint8]], Integers]
    missing: int | None

    def size(self, samples: int) -> int:
        """Number of bytes of so many samples; those of a block that is not whole may be left out."""
        whole, rest = divmod(samples, self.block[0])
        return whole * self.block[1] + -(-rest * self.block[1] // self.block[0])

    def samples(self, size: int) -> int:
        """Number of samples in so many bytes."""
        whole, rest = divmod(size, self.block[1])
        return whole * self.block[0] + rest * self.block[0] // self.block[1]


def _plain(kind: str, offset: int = 0) -> Callable[[NDArray[np.uint8]], Integers]:
    def decode(data: NDArray[np.uint8]) -> Integers:
        values: Integers = data.view(kind)
        return values.astype(np.int32) - offset if offset else values

    return decode


def _signed(values: NDArray[np.int32], bits: int) -> NDArray[np.int32]:
    shift = 32 - bits
    return (values << shift) >> shift


def _24(data: NDArray[np.uint8]) -> Integers:
    low, middle, high = data.reshape(-1, 3).astype(np.int32).T
    return _signed(low | middle << 8 | high << 16, 24)


def _212(data: NDArray[np.uint8]) -> Integers:
    first, both, second = data.reshape(-1, 3).astype(np.int32).T
    return _signed(np.stack([first | (both & 15) << 8, second | (both >> 4) << 8], axis=1).ravel(), 12)


def _310(data: NDArray[np.uint8]) -> Integers:
    one, two = data.view("<u2").astype(np.int32).reshape(-1, 2).T
    third = one >> 11 | (two >> 11) << 5
    return _signed(np.stack([one >> 1 & 1023, two >> 1 & 1023, third], axis=1).ravel(), 10)


def _311(data: NDArray[np.uint8]) -> Integers:
    word = data.view("<u4").astype(np.int64)
    return _signed(np.stack([word & 1023, word >> 10 & 1023, word >> 20 & 1023], axis=1).ravel().astype(np.int32), 10)


STORAGES = {
    "8": Storage((1, 1), _plain("i1"), None),  # differences
    "16": Storage((1, 2), _plain("<i2"), -(2**15)),
    "24": Storage((1, 3), _24, -(2**23)),
    "32": Storage((1, 4), _plain("<i4"), -(2**31)),
    "61": Storage((1, 2), _plain(">i2"), -(2**15)),
    "80": Storage((1, 1), _plain("u1", 128), -128),
    "160": Storage((1, 2), _plain("<u2", 32768), -(2**15)),
    "212": Storage((2, 3), _212, -(2**11)),
    "310": Storage((3, 4), _310, -(2**9)),
    "311": Storage((3, 4), _311, -(2**9)),
}
FLAC = {"508": -(2**7), "516": -(2**15), "524": -(2**23)}
"""Compressed formats, which the ``wfdb`` package decodes, with the value that stands for nothing recorded."""


@dataclass(frozen=True)
class Samples:
    """Stored values of some signals.

    Attributes:
        values: int32 [frames wanted x samples a frame], one array a signal.
        sums: of all values of each signal, modulo 65536, or None where the file was not read from begin to end.
    """

    values: list[NDArray[np.int32]]
    sums: list[int] | None


def frames_in(path: Path, channels: Sequence[Channel]) -> int:
    """Return how many frames a file holds, given all its signals."""
    size = max(0, path.stat().st_size - channels[0].offset)
    return STORAGES[channels[0].storage].samples(size) // sum(channel.frame for channel in channels)


def read_samples(
    path: Path, channels: Sequence[Channel], wanted: Sequence[int], begin: int, end: int, frames: int
) -> Samples:
    """Read some signals of one file.

    Args:
        path: the file.
        channels: all signals in it, in their order.
        wanted: indices of those that are kept.
        begin: first frame that is kept.
        end: frame after the last one that is kept.
        frames: how many there are by the header; their sums are made if they are not too many, once a file.
    """
    widths = [channel.frame for channel in channels]
    edges = np.cumsum([0, *widths])
    values = [np.empty((end - begin) * widths[i], np.int32) for i in wanted]
    summed = begin == 0 and frames * int(edges[-1]) <= MAX_SUMMED
    sums = np.zeros(int(edges[-1]), np.int64)
    for first, piece in _pieces(path, channels, begin, frames if summed else end):
        if summed:
            sums += piece.sum(axis=0, dtype=np.int64)
        low, high = max(begin, first), min(end, first + len(piece))
        if low < high:
            kept = piece[low - first : high - first]
            for to, i in zip(values, wanted, strict=True):
                to[(low - begin) * widths[i] : (high - begin) * widths[i]] = kept[:, edges[i] : edges[i + 1]].ravel()
    return Samples(values, [int(sums[edges[i] : edges[i + 1]].sum()) % 65536 for i in wanted] if summed else None)


def _pieces(path: Path, channels: Sequence[Channel], begin: int, end: int) -> Iterator[tuple[int, Integers]]:
    """Yield the first frame and the frames, int [frames, samples a frame], of one piece of a file after the other."""
    storage, width = STORAGES[channels[0].storage], sum(channel.frame for channel in channels)
    # Whole frames that are whole blocks too.
    step = max(1, PIECE // (width * storage.block[0])) * storage.block[0]
    differences = channels[0].storage == "8"
    last = np.array([channel.first for channel in channels], np.int64)
    first = 0 if differences else begin // step * step
    for start in range(first, end, step):
        count = min(step, end - start) * width
        at, size = channels[0].offset + start * width // storage.block[0] * storage.block[1], storage.size(count)
        data = np.fromfile(path, np.uint8, count=size, offset=at)
        if len(data) < size:
            raise RecordError("truncated signal", "a file of samples ends before the header says")
        blocks = -(-size // storage.block[1]) * storage.block[1]
        piece = storage.decode(np.pad(data, (0, blocks - size)) if blocks > size else data)[:count].reshape(-1, width)
        if differences:
            piece, last = _summed(piece, channels, last)
        yield start, piece


def _summed(
    piece: Integers, channels: Sequence[Channel], last: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Turn differences into values, from the last value of each signal on; return the new last values too."""
    values = np.empty(piece.shape, np.int32)
    ends = last.copy()
    at = 0
    for n, channel in enumerate(channels):
        row = last[n] + piece[:, at : at + channel.frame].ravel().cumsum(dtype=np.int64)
        ends[n] = row[-1]
        values[:, at : at + channel.frame] = row.astype(np.int32).reshape(-1, channel.frame)
        at += channel.frame
    return values, ends


def read_flac(path: Path, channels: Sequence[Channel], wanted: Sequence[int], begin: int, end: int) -> Samples:
    """Read some signals of one FLAC file, from frame ``begin`` to before ``end``, with the ``wfdb`` package.

    The package gets a header of plain names in a folder of its own: it takes the names of headers for addresses.
    """
    import wfdb  # takes a second to import

    lines = [f"r {len(channels)} 1 {end}"]
    for n, channel in enumerate(channels):
        frame = f"x{channel.frame}" if channel.frame > 1 else ""
        lines.append(f"r.dat {channel.storage}{frame}+{channel.offset} 1(0)/mV 0 0 0 0 0 s{n}")
    with TemporaryDirectory() as folder:
        Path(folder, "r.hea").write_text("\n".join(lines) + "\n", encoding="ascii")
        Path(folder, "r.dat").symlink_to(path)
        try:
            record = wfdb.rdrecord(
                str(Path(folder, "r")), begin, end, list(wanted), physical=False, smooth_frames=False, return_res=32
            )
            values = [np.asarray(signal, np.int32) for signal in record.e_d_signal]
        except Exception as error:  # a damaged file can raise anything from inside wfdb
            raise RecordError("unreadable", f"wfdb cannot decode it ({type(error).__name__})") from error
    if any(len(row) != (end - begin) * channels[i].frame for row, i in zip(values, wanted, strict=True)):
        raise RecordError("truncated signal", "a file of samples ends before the header says")
    return Samples(values, None)
