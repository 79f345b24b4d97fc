"""GE CardioSoft and CASE XML: a list of integers for each lead in ``StripData``, as in the UK Biobank.

The medians in ``RestingECGMeasurements`` hold lists of the same name, which are no recording.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.records.formats import Reader, register
from ssl_ecg.records.markup import parse_xml, root_name, text_of
from ssl_ecg.records.naming import age_between, age_of, lead_of, sex_of
from ssl_ecg.records.record import Record, RecordError

# Resolution of a step: the unit before "PerLsb", which stands in the attribute.
_MILLIVOLTS = {"uvperlsb": 1e-3, "µvperlsb": 1e-3, "mvperlsb": 1.0, "nvperlsb": 1e-6}


def _sniff(path: Path, head: bytes) -> bool:
    return root_name(head).lower() == "cardiologyxml"


def _read(path: Path) -> Iterator[Record]:
    """Yield the one record of a file.

    Raises:
        RecordError: it holds no strip, states no rate or unit, or a lead is cut off.
    """
    root = parse_xml(path)
    strip = root.find("StripData")
    strip = root.find("Strip/StripData") if strip is None else strip
    if strip is None:
        raise RecordError("no waveform", "the file holds no StripData")
    step = _number(strip, "Resolution") * _unit(strip)
    promised = text_of(strip, "ChannelSampleCountTotal")
    signals: dict[str, NDArray[np.float64]] = {}
    for wave in strip.findall("WaveformData"):
        lead = lead_of(wave.get("lead", ""))
        if lead is None:
            continue
        if lead in signals:
            raise RecordError("duplicate lead", lead)
        try:
            integers = np.array([int(value) for value in (wave.text or "").strip(" \t\r\n,").split(",")])
        except (ValueError, OverflowError) as error:
            raise RecordError("unreadable", f"lead {lead} is not a list of integers") from error
        if promised.isdigit() and len(integers) != int(promised):
            raise RecordError("truncated signal", f"lead {lead} has {len(integers)} of {int(promised)} samples")
        signals[lead] = np.where(integers == -32768, np.nan, integers * step)
    if not signals:
        raise RecordError("missing lead", "the strip has none of the twelve")
    if len({len(signal) for signal in signals.values()}) > 1:
        raise RecordError("truncated signal", "leads have different numbers of samples")
    signal = np.stack(list(signals.values())).astype(np.float32)
    yield Record(signal, _number(strip, "SampleRate"), tuple(signals), source="CardioSoft XML", **_known(root))


def _number(strip: Element, name: str) -> float:
    try:
        return float(text_of(strip, name).replace(",", "."))
    except ValueError as error:
        raise RecordError("unreadable", f"{name} is not a number") from error


def _unit(strip: Element) -> float:
    resolution = strip.find("Resolution")
    unit = "" if resolution is None else resolution.get("units", "").lower()
    if unit not in _MILLIVOLTS:
        raise RecordError("unknown unit", "of the resolution (known: uVperLsb, mVperLsb, nVperLsb)")
    return _MILLIVOLTS[unit]


def _known(root: Element) -> dict[str, Any]:
    when, patient = _moment(root.find("ObservationDateTime")), root.find("PatientInfo")
    stated = None if patient is None else patient.find("Age")
    age = None if stated is None else age_of((stated.text or "").strip(), stated.get("units") or "years")
    born = None if patient is None else _moment(patient.find("BirthDateTime"))
    return {
        "patient_id": text_of(patient, "PID") or None,
        "recorded_at": when,
        "age": age_between(born, when) if age is None else age,
        "sex": sex_of(text_of(patient, "Gender")),
    }


def _moment(element: Element | None) -> datetime | None:
    try:
        day = [int(text_of(element, name)) for name in ("Year", "Month", "Day")]
        return datetime(*day, *(int(text_of(element, name) or 0) for name in ("Hour", "Minute", "Second")))  # type: ignore[arg-type]
    except ValueError:
        return None


register("cardiosoft", Reader(_sniff, _read, suffixes=(".xml",)))
