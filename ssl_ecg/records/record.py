"""One ECG recording with the names of its leads, its sampling rate and what is known about the patient."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace
from datetime import datetime
from functools import lru_cache
from pathlib import Path
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

LEADS = ("I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5", "V6")

MAX_BYTES = 160 * 2**20  # of a file of 16-bit samples; reading it takes some ten times as much memory
CURE = "cut it into hours, or convert it to WFDB, of which days are read in pieces"

_LONGEST = 80  # characters of a name; what is longer is text
_CANONICAL = {lead.upper(): lead for lead in LEADS}
_NAMES: ContextVar[Mapping[str, str]] = ContextVar("names", default=MappingProxyType({}))
# Goldberger's leads and Einthoven's third as sums of I and II: name -> (weight of I, weight of II).
_LIMB = {"III": (-1.0, 1.0), "aVR": (-0.5, -0.5), "aVL": (1.0, -0.5), "aVF": (-0.5, 1.0)}


class RecordError(ValueError):
    """A recording that cannot be used.

    It never quotes what stands in the file, which may be about a person: it says where, and what is wrong with it.

    Attributes:
        kind: A few words to count by, such as ``"flat lead"``.
    """

    def __init__(self, kind: str, detail: str = "") -> None:
        super().__init__(kind, detail)
        self.kind = kind
        self.detail = detail

    def __str__(self) -> str:
        return f"{self.kind}: {self.detail}" if self.detail else self.kind


def require_room(path: Path) -> None:
    """Refuse a binary file that would take more than 2 GiB of memory where it is read whole.

    Raises:
        RecordError: saying what to do instead.
    """
    if path.stat().st_size > MAX_BYTES:
        raise RecordError("too large", f"this format is read whole, {MAX_BYTES >> 20} MiB at most; {CURE}")


def canonical_lead(name: str) -> str:
    """Return the lead that a name means, as recorders and data sets write it.

    Case, spaces, hyphens and underscores do not matter, nor do what stands before it (``"ECG I"``, ``"Lead II"``,
    ``"MDC_ECG_LEAD_AVR"``, ``"DII"``) and what follows in brackets (``"V1 [mV]"``, ``"Lead I (Einthoven)"``). A
    modified lead, such as ``"MLII"``, is another lead.

    Raises:
        RecordError: If it is none of the twelve.

    Example:
        >>> canonical_lead("MDC_ECG_LEAD_AVR"), canonical_lead("V-1")
        ('aVR', 'V1')
    """
    if (known := _NAMES.get().get(name.strip().upper())) is not None:
        return known
    if len(name) > _LONGEST or (lead := _usual(name)) is None:
        raise RecordError("unknown lead", f"{name[:_LONGEST]!r} is none of {', '.join(LEADS)}")
    return lead


@lru_cache(maxsize=1024)  # files call their leads alike, and each record asks three times
def _usual(name: str) -> str | None:
    key = re.split(r"[(\[{]", name, maxsplit=1)[0].upper()
    key = re.sub(r"[\s_:.\0]", "", re.sub(r"(?<=\w)-(?=\w)", "", key))  # "-aVR" is another lead
    for prefix in ("MDC", "ECG", "EKG", "LEAD"):
        key = key.removeprefix(prefix)
    if key in ("DI", "DII", "DIII"):
        key = key[1:]
    return _CANONICAL.get(key)


@contextmanager
def also_named(names: Mapping[str, str]) -> Iterator[None]:
    """Let :func:`canonical_lead` know further names while the block runs, such as ``{"MLII": "II"}``."""
    token = _NAMES.set({name.strip().upper(): canonical_lead(lead) for name, lead in names.items()})
    try:
        yield
    finally:
        _NAMES.reset(token)


@dataclass(frozen=True, eq=False)
class Record:
    """One ECG recording.

    Attributes:
        signal: float32 [leads, samples], millivolts, or any unit where ``calibrated`` is False; NaN where nothing was
            recorded.
        sampling_rate: Samples a second, in Hz.
        leads: Canonical lead names, one a row of ``signal``.
        patient_id: Identifier of the patient, or None where unknown.
        recorded_at: Begin of the recording, or None where unknown.
        age: Age in years, or None where unknown.
        sex: ``"female"``, ``"male"``, or None where unknown.
        source: The format it was read from.
        calibrated: Whether ``signal`` is in millivolts.
        record_id: What tells it from the other records of its file; empty where the file holds one.
        length: Seconds of the whole recording where ``signal`` is a part of it; None where it is not.
        start: Seconds from the begin of the recording to the first sample of ``signal``.
        findings: What a user should know of it, each a name and what it is about (``"checksum: V2"``).

    Raises:
        RecordError: If signal, rate and leads do not fit together.
    """

    signal: NDArray[np.float32]
    sampling_rate: float
    leads: tuple[str, ...]
    patient_id: str | None = None
    recorded_at: datetime | None = None
    age: float | None = None
    sex: str | None = None
    source: str = ""
    calibrated: bool = True
    record_id: str = ""
    length: float | None = None
    start: float = 0.0
    findings: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "signal", np.asarray(self.signal, dtype=np.float32))
        object.__setattr__(self, "leads", tuple(_named(lead, n) for n, lead in enumerate(self.leads, 1)))
        if self.signal.ndim != 2 or len(self.leads) != self.signal.shape[0]:
            raise RecordError("leads", f"{len(self.leads)} names for a signal of shape {self.signal.shape}")
        if len(set(self.leads)) < len(self.leads):
            twice = sorted(lead for lead in set(self.leads) if self.leads.count(lead) > 1)
            raise RecordError("duplicate lead", ", ".join(twice))
        if not 0 < self.sampling_rate < float("inf"):
            raise RecordError("sampling rate", f"must be positive, got {self.sampling_rate!r} Hz")
        if self.sex not in ("female", "male", None):
            raise RecordError("sex", "must be 'female', 'male' or None")

    @property
    def duration(self) -> float:
        """Length in seconds."""
        return self.signal.shape[1] / self.sampling_rate

    def part(self, begin: int, end: int) -> Record:
        """Return the samples from ``begin`` to before ``end``; the record keeps its length and findings."""
        if begin <= 0 and end >= self.signal.shape[1]:
            return self
        begin = max(0, begin)
        start = self.start + begin / self.sampling_rate
        return replace(self, signal=self.signal[:, begin:end], length=self.length or self.duration, start=start)

    def available(self, leads: tuple[str, ...]) -> tuple[str, ...]:
        """Return those of the given leads, in their order, that were recorded or can be derived from I and II."""
        return tuple(lead for lead in leads if lead in self.leads or (self._derives and lead in _LIMB))

    def select(self, leads: tuple[str, ...]) -> NDArray[np.float32]:
        """Return the given leads in their order, float32 [len(leads), samples]; limb leads are derived if need be.

        Raises:
            RecordError: If a lead is missing and cannot be derived.
        """
        available = self.available(leads)
        if missing := [lead for lead in leads if lead not in available]:
            raise RecordError("missing lead", f"{', '.join(missing)} wanted, record has {', '.join(self.leads)}")
        signal, names = derive_limb_leads(self.signal, self.leads) if self._derives else (self.signal, self.leads)
        return signal[[names.index(lead) for lead in leads]]

    @property
    def _derives(self) -> bool:
        # Leads that were scaled one by one do not obey Einthoven's law any more.
        return self.calibrated and {"I", "II"} <= set(self.leads)


def _named(lead: str, number: int) -> str:
    try:
        return canonical_lead(lead)
    except RecordError as error:  # the text of a file is nobody's reason
        raise RecordError("unknown lead", f"signal {number} is none of {', '.join(LEADS)}") from error


def derive_limb_leads(
    signal: NDArray[np.float32], leads: tuple[str, ...]
) -> tuple[NDArray[np.float32], tuple[str, ...]]:
    """Append those of III, aVR, aVL and aVF that are missing, computed from I and II.

    By Einthoven's law III = II - I, and by Goldberger's definitions aVR = -(I + II)/2, aVL = I - II/2, aVF = II - I/2.

    Args:
        signal: float32 [L, T], millivolts, all leads in the same unit.
        leads: Canonical names of its L rows.

    Returns:
        The signal with the derived leads below, float32 [L + derived, T], and the names of all its rows.

    Raises:
        RecordError: If I or II is missing.
    """
    if missing := {"I", "II"} - set(leads):
        raise RecordError("missing lead", f"{', '.join(sorted(missing))} needed to derive the limb leads")
    one, two = signal[leads.index("I")], signal[leads.index("II")]
    derived = {lead: a * one + b * two for lead, (a, b) in _LIMB.items() if lead not in leads}
    if not derived:
        return signal, leads
    return np.concatenate([signal, np.stack(list(derived.values())).astype(signal.dtype)]), (*leads, *derived)
