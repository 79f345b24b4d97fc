"""DICOM waveforms, decoded with ``pydicom``: the groups of original rhythm, in millivolts.

A sample is worth sample x sensitivity x correction factor + baseline, in the unit of the channel's sensitivity (PS3.3,
C.10.9). The value for padding is no gap where it is 0: some writers state 0 beside an ordinary signal.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.records.formats import Reader, register
from ssl_ecg.records.naming import age_between, age_of, date_of, lead_of, sex_of
from ssl_ecg.records.record import Record, RecordError, require_room

_MILLIVOLTS = {"v": 1e3, "mv": 1.0, "uv": 1e-3, "µv": 1e-3, "μv": 1e-3, "nv": 1e-6}
_TYPES = {"SB": "i1", "UB": "u1", "SS": "<i2", "US": "<u2", "SL": "<i4", "UL": "<u4"}
# SCP-ECG and MDC (ISO 11073-10101) number the leads alike; MDC counts in a partition that begins at 2 x 65536.
_NUMBERED = {1: "I", 2: "II", 61: "III", 62: "aVR", 63: "aVL", 64: "aVF"} | {n + 2: f"V{n}" for n in range(1, 7)}
_PARTITION = 2 * 65536
# Its data set is deflated, and could inflate to anything.
_DEFLATED = b"1.2.840.10008.1.2.1.99"


@dataclass(frozen=True)
class _Group:
    """Channels that were sampled together: their leads, when they began in milliseconds, whether they are a rhythm."""

    signals: dict[str, NDArray[np.float64]]
    rate: float
    samples: int
    begin: float
    original: bool


def _sniff(path: Path, head: bytes) -> bool:
    # Without the preamble: the first element is of group 8, and says in two letters what it holds.
    return head[128:132] == b"DICM" or re.match(rb"\x08\0[\x00\x05\x08\x16\x18]\0(UL|UI|CS|DA)", head) is not None


def _read(path: Path) -> Iterator[Record]:
    """Yield the one record of a file.

    Raises:
        RecordError: it holds no waveform of a lead, is damaged, or ``pydicom`` is not installed.
    """
    try:
        import pydicom
    except ImportError as error:
        raise RecordError("missing library", "DICOM is read by pydicom: pip install 'ssl-ecg[vendor]'") from error
    require_room(path)
    content = path.read_bytes()
    if _DEFLATED in content[:4096]:
        raise RecordError("unreadable", "a deflated data set is not inflated; save it as Explicit VR Little Endian")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            data = pydicom.dcmread(BytesIO(content), force=True, stop_before_pixels=True)
            groups = [_group(group) for group in data.get("WaveformSequence", None) or ()]
            known = _known(data)
        except RecordError:
            raise
        except Exception as error:  # a damaged file can raise anything from inside pydicom
            raise RecordError("unreadable", f"pydicom cannot decode it ({type(error).__name__})") from error
    if not groups:
        raise RecordError("no waveform", "the DICOM file holds none, such as an image or a report")
    signals, rate = _joined(groups)
    yield Record(np.stack(list(signals.values())).astype(np.float32), rate, tuple(signals), **known)


def _group(group: Any) -> _Group:
    channels, samples = int(group.NumberOfWaveformChannels), int(group.NumberOfWaveformSamples)
    kind = _TYPES.get(group.WaveformSampleInterpretation)
    if kind is None:
        raise RecordError("unreadable", "samples are neither linear integers of 8, 16 nor 32 bits")
    dtype, content = np.dtype(kind), group.WaveformData
    wanted = channels * samples * dtype.itemsize
    if not (0 < channels <= len(group.ChannelDefinitionSequence) and samples > 0 and wanted <= len(content)):
        raise RecordError(
            "truncated signal", f"{len(content)} bytes for {channels} channels of {samples} samples, {wanted} needed"
        )
    integers: NDArray[Any] = np.frombuffer(content, dtype, channels * samples).reshape(samples, channels)
    padding: NDArray[Any] = np.frombuffer(
        (group.get("WaveformPaddingValue") or b"").ljust(dtype.itemsize, b"\0"), dtype
    )
    signals: dict[str, NDArray[np.float64]] = {}
    for i, channel in enumerate(list(group.ChannelDefinitionSequence)[:channels]):
        lead = _lead(channel)
        if lead is None:
            continue
        if lead in signals:
            raise RecordError("duplicate lead", lead)
        signals[lead] = _signal(channel, integers[:, i], int(padding[0]), lead)
    original = str(group.get("WaveformOriginality", "")).strip().upper() != "DERIVED"
    begin = float(group.get("MultiplexGroupTimeOffset", None) or 0)
    return _Group(signals, float(group.SamplingFrequency), samples, begin, original)


def _signal(channel: Any, integers: NDArray[Any], padding: int, lead: str) -> NDArray[np.float64]:
    """Return one channel in millivolts, NaN where it was padded."""
    units = list(channel.get("ChannelSensitivityUnitsSequence", None) or ())
    unit = str(units[0].get("CodeValue", "")).strip("\0 ").lower() if units else ""
    sensitivity = channel.get("ChannelSensitivity", None)
    if unit not in _MILLIVOLTS or sensitivity is None:
        raise RecordError("unknown unit", f"of lead {lead} (known: nV, uV, mV, V)")
    factor = channel.get("ChannelSensitivityCorrectionFactor", None)
    physical = integers.astype(np.float64) * (float(sensitivity) * (1.0 if factor is None else float(factor)))
    physical += float(channel.get("ChannelBaseline", None) or 0)
    if padding:
        physical[integers == padding] = np.nan
    return physical * _MILLIVOLTS[unit]


def _lead(channel: Any) -> str | None:
    """Return the lead of a channel by its code, or else by its name; None for other signals."""
    sources = channel.get("ChannelSourceSequence", None) or ()
    names = [str(channel.get("ChannelLabel", ""))]
    for source in sources:
        scheme = str(source.get("CodingSchemeDesignator", "")).upper()
        code = str(source.get("CodeValue", "")).strip("\0 ")
        number = re.fullmatch(r"(?:2:|5\.6\.3-9-)?(\d{1,9})", code)
        if number and ("MDC" in scheme or "SCP" in scheme):
            at = int(number[1])
            if lead := _NUMBERED.get(at - _PARTITION if at > _PARTITION else at):
                return lead
        names[:0] = [code, str(source.get("CodeMeaning", ""))]
    return next((lead for name in names if (lead := lead_of(name))), None)


def _joined(groups: list[_Group]) -> tuple[dict[str, NDArray[np.float64]], float]:
    """Return the leads of the best groups that were recorded at the same time, such as four of three leads."""
    found = [group for group in groups if group.signals]
    if not found:
        raise RecordError("missing lead", "no channel is one of the twelve")
    if any(group.original for group in found):
        found = [group for group in found if group.original]
    together: dict[tuple[float, int, float], dict[str, NDArray[np.float64]]] = {}
    for group in found:
        key = (group.rate, group.samples, group.begin)
        together[key] = group.signals | together.get(key, {})
    best = max(together, key=lambda key: (len(together[key]), key[1] / key[0]))
    return together[best], best[0]


def _known(data: Any) -> dict[str, Any]:
    def said(name: str) -> str:
        return str(data.get(name, None) or "").strip("\0 ")

    moment = (
        said("AcquisitionDateTime")[:14]
        or (said("AcquisitionDate") or said("StudyDate"))
        + (said("AcquisitionTime") or said("StudyTime")).partition(".")[0]
    )
    when = None
    for form in ("%Y%m%d%H%M%S", "%Y%m%d%H%M", "%Y%m%d"):
        with suppress(ValueError):
            when = when or datetime.strptime(moment, form)
    stated = re.fullmatch(r"(\d{1,3})([DWMY]?)", said("PatientAge").upper())
    return {
        "patient_id": said("PatientID") or None,
        "recorded_at": when,
        "age": age_of(stated[1], stated[2]) if stated else age_between(date_of(said("PatientBirthDate")), when),
        "sex": sex_of(said("PatientSex")),
        "source": "DICOM",
    }


register("dicom", Reader(_sniff, _read, suffixes=(".dcm", ".dicom")))
