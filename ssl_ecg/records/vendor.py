"""Files of electrocardiographs that ``ecgdatakit`` decodes: MUSE, Philips, aECG, SCP-ECG, EDF, ISHNE and Mortara.

The package decodes; what a recording means is decided here: which files are refused, gaps, the exact rate, the age. XML
is parsed by :mod:`ssl_ecg.records.markup` first and handed on without its DOCTYPE, in UTF-8.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from xml.etree.ElementTree import Element, tostring

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.records.formats import Reader, register
from ssl_ecg.records.markup import parse_xml, root_name, text_of
from ssl_ecg.records.naming import age_between, age_of, date_of, lead_of, sex_of
from ssl_ecg.records.record import LEADS, Record, RecordError, require_room

_MILLIVOLTS = {"V": 1e3, "mV": 1.0, "uV": 1e-3, "nV": 1e-6}
_MISSING = -32768  # what recorders of 16 bits store where an electrode was off
_MEASURED = frozenset(("I", "II", "V1", "V2", "V3", "V4", "V5", "V6"))
# Leads beyond the twelve, which are left out.
_FURTHER = re.compile(r"-AVR|AVRNEG|V[2-9]R|V[789]|[XYZ]|E[SA]|A[SI]|CC5|CM5", re.IGNORECASE)
# Words of the decoder's messages that tell what is wrong; all others, such as names, may stand in the file.
_WORDS = frozenset(
    """
    a an and are array at base64 beyond byte bytes cannot channel channels checksum count counts crc crc32 data
    decode decoded decoding does duration empty end error expected field file files for format found from got had
    has have header in incorrect invalid is lead leads length less match mismatch missing more must no not number
    of only or median padding rate record records rhythm sample samples section short signal size stored than the
    there to too truncated type unknown unsupported value version was waveform with wrong xml zero
    """.split()  # noqa: SIM905
)
# Warnings of the package that are reasons to refuse a file.
_FATAL = {"CRC": "checksum", "checksum": "checksum", "truncated": "truncated signal", "gaps": "gap"}


@dataclass(frozen=True)
class _Format:
    """How files of a format are recognised, decoded and completed.

    Attributes:
        title: what people call it.
        parser: module and class below ``ecgdatakit.parsing.parsers``.
        known: what the file says better than the package: its root, or first bytes, and the decoded record give the
            fields of the record that differ.
        xml: name of the root element, in lower case; empty where it is binary.
        gaps: whether the lowest value of 16 bits stands for nothing recorded.
    """

    title: str
    parser: str
    known: Callable[[Any, Any], dict[str, Any]]
    xml: str = ""
    gaps: bool = False


def _read(form: _Format, path: Path) -> Iterator[Record]:
    """Yield the one record of a file.

    Raises:
        RecordError: the file cannot be decoded, contradicts itself, or ``ecgdatakit`` is not installed.
    """
    parser = _parser(form)
    if form.xml:
        root = parse_xml(path)
        with TemporaryDirectory() as folder:
            clean = Path(folder, "record.xml")
            clean.write_bytes(b'<?xml version="1.0" encoding="UTF-8"?>' + tostring(root, "utf-8"))
            decoded = _decoded(parser, clean)
        known = form.known(root, decoded)
    else:
        require_room(path)
        decoded = _decoded(parser, path)
        with path.open("rb") as file:
            known = form.known(file.read(4096), decoded)
    signals, rates = _leads(form, decoded, known.pop("codes", {}))
    if len(set(rates.values())) > 1:
        raise RecordError("sampling rate", "leads differ: " + ", ".join(f"{k} {v:g} Hz" for k, v in rates.items()))
    if len({len(signal) for signal in signals.values()}) > 1:
        told = ", ".join(f"{lead} {len(signal)}" for lead, signal in signals.items())
        raise RecordError("truncated signal", f"leads have different numbers of samples: {told}")
    rate = known.pop("rate", None) or next(iter(rates.values()))
    patient = decoded.patient
    facts = {
        "patient_id": patient.patient_id or None,
        "recorded_at": decoded.recording.date,
        "age": age_between(patient.birth_date, decoded.recording.date) or age_of(patient.age),
        "sex": sex_of(patient.sex),
        "source": form.title,
    }
    signal = np.stack(list(signals.values()))
    yield Record(signal, rate, tuple(signals), **facts | known)


def _parser(form: _Format) -> Any:
    module, _, name = form.parser.rpartition(".")
    try:
        return getattr(import_module(f"ecgdatakit.parsing.parsers.{module}"), name)
    except ImportError as error:
        raise RecordError(
            "missing library", f"{form.title} is read by ecgdatakit: pip install 'ssl-ecg[vendor]'"
        ) from error


_LEAD_CODE = re.compile(r"MDC_ECG_LEAD_[A-Z0-9_-]{1,20}|V[0-9]{1,2}[RL]?")


def _own_words(message: str) -> str:
    """Return a message of a decoder with its own words, names of leads and counts; what may be of the file is dots."""
    words = [
        word if word.lower() in _WORDS or word in LEADS or re.fullmatch(r"\d{1,6}", word) else "..."
        for word in (part.strip(",.;:()") for part in message[:1000].split()[:40])
    ]
    return re.sub(r"\.\.\.( \.\.\.)+", "...", " ".join(words))


def _decoded(parser: Any, path: Path) -> Any:
    """Decode a file; what the package says of it is told without the text of the file, which can be anybody's name."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            decoded = parser().parse(path)
        except Exception as error:
            counted = re.search(r"\d+ .*(expected|decoded|samples)|truncated|Base64", str(error))
            raise RecordError("truncated signal" if counted else "unreadable", _own_words(str(error))) from error
    for warning in caught:
        told = str(warning.message)
        for word, kind in _FATAL.items():
            if word in told and "(median)" not in told:
                raise RecordError(kind, _own_words(told))
    return decoded


def _leads(
    form: _Format, decoded: Any, codes: dict[str, str]
) -> tuple[dict[str, NDArray[np.float32]], dict[str, float]]:
    """Return the signal of each lead in millivolts, NaN where nothing was recorded, and its rate."""
    exact = decoded.raw_metadata.get("exact_sampling_rates", {})
    signals, rates, unknown = {}, {}, []
    for lead in decoded.leads:
        name = lead_of(lead.label)
        if name is None:
            if (repeated := re.fullmatch(r"(.+)_\d+", lead.label)) and lead_of(repeated[1]):
                raise RecordError("duplicate lead", str(lead_of(repeated[1])))
            unknown += [] if _FURTHER.fullmatch(lead.label) else [codes.get(lead.label.upper(), lead.label)]
            continue
        if name in signals:
            raise RecordError("duplicate lead", name)
        if lead.resolution_unit not in _MILLIVOLTS:
            raise RecordError("unknown unit", f"of lead {name} (known: nV, uV, mV, V)")
        millivolts = _MILLIVOLTS[lead.resolution_unit]
        signal = lead.samples * (lead.resolution * millivolts) + lead.offset * millivolts
        if form.gaps:
            signal[lead.samples == _MISSING] = np.nan
        signals[name], rates[name] = signal.astype(np.float32), float(exact.get(lead.label, lead.sampling_rate))
    if unknown and form.xml and not signals.keys() >= _MEASURED:
        lacking = ", ".join(sorted(_MEASURED - signals.keys()))
        # Codes of leads are told; anything else may be a name of somebody.
        named = ", ".join(name if _LEAD_CODE.fullmatch(name) else "a name" for name in unknown[:4])
        raise RecordError("unknown lead", f"{named}: is none of the twelve, and {lacking} is missing")
    if not signals:
        raise RecordError("missing lead", "the file has none of the twelve")
    return signals, rates


def _muse(root: Element, decoded: Any) -> dict[str, Any]:
    known: dict[str, Any] = {}
    patient = root.find("PatientDemographics")
    age = age_of(text_of(patient, "PatientAge"), text_of(patient, "AgeUnits"))
    if age is not None:
        known["age"] = age
    for wave in root.findall("Waveform"):
        if (text_of(wave, "WaveformType") or "rhythm").lower() == "rhythm":
            base, power = (text_of(wave, name).replace(",", ".") for name in ("SampleBase", "SampleExponent"))
            known["rate"] = float(base) * 10.0 ** float(power or 0)
            break
    return known


def _philips(root: Element, decoded: Any) -> dict[str, Any]:
    _settle_limb_leads(root, decoded.leads)
    ages = root.find("patient/generalpatientdata/age")
    for unit in ("years", "months", "weeks", "days", "hours"):
        age = age_of(text_of(ages, unit), unit)
        if age:
            return {"age": age}
    return {}


def _settle_limb_leads(root: Element, leads: list[Any]) -> None:
    """Decide by Einthoven's law whether an uncompressed file holds limb leads or, as compressed ones do, residuals.

    Raises:
        RecordError: the leads obey it in neither way.
    """
    waves = root.find(".//parsedwaveforms")
    method = "" if waves is None else waves.get("compression") or waves.get("compressmethod") or ""
    flag = "" if waves is None else waves.get("compressflag", "true")
    packed = flag.lower() not in ("false", "no", "f", "0") and method.lower() not in ("", "none", "uncompressed")
    named = {lead.label: lead for lead in leads}
    limb = ("I", "II", "III", "aVR", "aVL", "aVF")
    if packed or not set(limb) <= named.keys():
        return
    one, two, *others = (named[lead].samples for lead in limb)
    if len({len(named[lead].samples) for lead in limb}) > 1:
        raise RecordError("truncated signal", "limb leads have different numbers of samples")
    three = two - one - others[0]
    rebuilt = [three, -others[1] - (one + two) // 2, (one - three) // 2 - others[2], (two + three) // 2 - others[3]]
    for found in (others, rebuilt):
        ideal = (two - one, -(one + two) / 2, one - two / 2, two - one / 2)
        # The pulse of 1 mV at the end obeys no law, in whatever lead.
        wrong = [np.quantile(np.abs(a - b), 0.9) * named["I"].resolution for a, b in zip(found, ideal, strict=True)]
        if max(wrong) <= 50:  # microvolts; true leads are within a few steps
            for lead, samples in zip(limb[2:], found, strict=True):
                named[lead].samples = samples
            return
    raise RecordError("limb leads", "neither the stored leads nor those rebuilt from residuals obey Einthoven's law")


def _aecg(root: Element, decoded: Any) -> dict[str, Any]:
    codes = [
        code.get("code", "") for code in root.findall("component/series/component/sequenceSet/component/sequence/code")
    ]
    known: dict[str, Any] = {"codes": {code.upper().rpartition("_ECG_LEAD_")[2]: code for code in codes}}
    if exact := decoded.raw_metadata.get("rhythm_time", {}).get("sampling_rate_exact"):
        known["rate"] = round(exact, 6)  # 1 / 0.002 need not be 500
    stated = root.find("controlVariable/relatedObservation/code[@code='21612-7']/../value")
    born = root.find(".//trialSubject/subjectDemographicPerson/birthTime")
    when = decoded.raw_metadata.get("effective_time", "") or decoded.raw_metadata.get("rhythm_time", {}).get("head", "")
    age = None if stated is None else age_of(stated.get("value"), stated.get("unit") or "a")
    if age is None and born is not None:
        age = age_between(date_of(born.get("value", "")[:8]), date_of(when[:8]))
    return known if age is None else known | {"age": age}


def _scp(head: bytes, decoded: Any) -> dict[str, Any]:
    interval = decoded.raw_metadata.get("rhythm_sample_interval_us")
    return {"rate": 1e6 / interval} if interval else {}


def _edf(head: bytes, decoded: Any) -> dict[str, Any]:
    """Take id, sex and age from a patient field in the form of EDF+; any other can be a name."""
    fields = head[8:88].decode("latin-1").split()
    form = (
        len(fields) > 2 and fields[1] in ("F", "M", "X") and re.fullmatch(r"X|\d\d-[A-Z]{3}-\d{4}", fields[2].upper())
    )
    known = {"patient_id": fields[0] if form and fields[0] != "X" else None}
    if not form:
        return known
    return known | {"sex": sex_of(fields[1]), "age": age_between(date_of(fields[2]), decoded.recording.date)}


def _nothing_more(head: bytes | Element, decoded: Any) -> dict[str, Any]:
    return {}


_FORMATS = {
    "muse": _Format("GE MUSE XML", "ge_muse_xml.GEMuseXMLParser", _muse, xml="restingecg", gaps=True),
    "philips": _Format("Philips Sierra XML", "sierra_xml.SierraXMLParser", _philips, xml="restingecgdata", gaps=True),
    "aecg": _Format("HL7 aECG", "hl7_aecg.HL7aECGParser", _aecg, xml="annotatedecg", gaps=True),
    "mortara": _Format("Mortara XML", "mortara_el250.MortaraEL250Parser", _nothing_more, xml="ecg"),
    "scp": _Format("SCP-ECG", "scp_ecg.SCPECGParser", _scp),
    "edf": _Format("EDF", "edf.EDFParser", _edf),
    "ishne": _Format("ISHNE", "ishne_holter.ISHNEHolterParser", _nothing_more, gaps=True),
}


def _is_xml(root: str, path: Path, head: bytes) -> bool:
    return root_name(head).lower() == root


def _is_scp(path: Path, head: bytes) -> bool:
    """Whether section 0 begins at byte 7 and its first pointer is to itself, as the standard demands."""
    return len(head) >= 32 and head[8:10] == head[22:24] == b"\0\0" and head[28:32] == b"\7\0\0\0"


def _is_edf(path: Path, head: bytes) -> bool:
    return head[:8] in (b"0       ", b"\xffBIOSEMI") and len(head) >= 256


def _is_ishne(path: Path, head: bytes) -> bool:
    return head[:8] == b"ISHNE1.0"


_BINARY = {"scp": (_is_scp, (".scp",)), "edf": (_is_edf, (".edf", ".bdf")), "ishne": (_is_ishne, ())}

for _name, _form in _FORMATS.items():
    _sniff, _suffixes = _BINARY.get(_name) or (partial(_is_xml, _form.xml), (".xml",))
    register(_name, Reader(_sniff, partial(_read, _form), suffixes=_suffixes))
