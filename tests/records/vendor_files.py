"""Small files in the formats of electrocardiographs, written by hand after their specifications."""

from __future__ import annotations

import base64
import zlib
from pathlib import Path

import numpy as np

from ssl_ecg.records import LEADS

STORED = ("I", "II", "V1", "V2", "V3", "V4", "V5", "V6")


def integers(samples: int = 1000, leads: tuple[str, ...] = LEADS, seed: int = 0) -> dict[str, np.ndarray]:
    """Steps of an ADC that obey Einthoven's law and Goldberger's definitions as far as integers can."""
    rng = np.random.default_rng(seed)
    found = {lead: np.cumsum(rng.integers(-6, 7, samples)) for lead in STORED}
    one, two = found["I"], found["II"]
    found |= {"III": two - one, "aVR": -(one + two) // 2, "aVL": one - two // 2, "aVF": two - one // 2}
    return {lead: found[lead].astype(int) for lead in leads}


def muse(
    signals: dict[str, np.ndarray],
    base: str = "500",
    exponent: str = "0",
    step: str = "4.88",
    unit: str = "MICROVOLTS",
    age: str = "<PatientAge>63</PatientAge><AgeUnits>YEARS</AgeUnits>",
    kinds: tuple[str, ...] = ("Median", "Rhythm"),
    prolog: str = '<!DOCTYPE RestingECG SYSTEM "http://127.0.0.1:9/restecg.dtd">',
    flip: str = "",
    encoding: str = "ISO-8859-1",
) -> bytes:
    def lead(name: str, values: np.ndarray) -> str:
        data = values.astype("<i2").tobytes()
        crc = zlib.crc32(data)
        if name == flip:
            data = bytes([data[0] ^ 1]) + data[1:]
        return (
            f"<LeadData><LeadByteCountTotal>{len(data)}</LeadByteCountTotal><LeadSampleCountTotal>{len(values)}"
            f"</LeadSampleCountTotal><LeadAmplitudeUnitsPerBit>{step}</LeadAmplitudeUnitsPerBit><LeadAmplitudeUnits>{unit}"
            f"</LeadAmplitudeUnits><LeadID>{name}</LeadID><LeadSampleSize>2</LeadSampleSize><LeadDataCRC32>{crc}"
            f"</LeadDataCRC32><WaveFormData>\n{base64.encodebytes(data).decode()}</WaveFormData></LeadData>"
        )

    waves = ""
    for kind in kinds:
        shown = signals if kind == "Rhythm" else {name: np.arange(60) for name in signals}
        waves += (
            f"<Waveform><WaveformType>{kind}</WaveformType><SampleBase>{base}</SampleBase><SampleExponent>{exponent}"
            f"</SampleExponent>{''.join(lead(*item) for item in shown.items())}</Waveform>"
        )
    text = (
        f'<?xml version="1.0" encoding="{encoding}"?>{prolog}<RestingECG><PatientDemographics>'
        "<PatientID>P-1</PatientID>"
        f"{age}<Gender>FEMALE</Gender><PatientLastName>Mühlbauer</PatientLastName></PatientDemographics>"
        "<TestDemographics><AcquisitionTime>08:15:42</AcquisitionTime><AcquisitionDate>03-05-2013</AcquisitionDate>"
        f"</TestDemographics>{waves}</RestingECG>"
    )
    return text.encode(encoding)


def aecg(
    signals: dict[str, np.ndarray],
    step: str = "0.002",
    step_unit: str = "s",
    scale: str = '<origin value="0" unit="uV"/><scale value="2.5" unit="uV"/>',
    born: str = "19530508",
    when: str = "20021122091000.000",
    names: dict[str, str] | None = None,
) -> bytes:
    def series(tag: str, kind: str, shown: dict[str, np.ndarray]) -> str:
        sequences = "".join(
            f'<component><sequence><code code="{(names or {}).get(lead, "MDC_ECG_LEAD_" + lead.upper())}"/>'
            f"<value>{scale}"
            f"<digits>{' '.join(map(str, values))}</digits></value></sequence></component>"
            for lead, values in shown.items()
        )
        return (
            f'<{tag}><code code="{kind}"/>{{inner}}<component><sequenceSet><component><sequence>'
            f'<code code="TIME_ABSOLUTE"/><value><head value="{when}"/>'
            f'<increment value="{step}" unit="{step_unit}"/></value></sequence></component>'
            f"{sequences}</sequenceSet></component></{tag}>"
        )

    beat = series("derivedSeries", "REPRESENTATIVE_BEAT", {lead: np.arange(60) for lead in signals}).format(inner="")
    rhythm = series("series", "RHYTHM", signals).format(inner=f"<derivation>{beat}</derivation>")
    person = (
        f'<administrativeGenderCode code="F"/><birthTime value="{born}"/><name><family>Invented</family></name>'
        if born
        else ""
    )
    return (
        '<?xml version="1.0"?><AnnotatedECG xmlns="urn:hl7-org:v3">'
        f'<effectiveTime><low value="{when}"/></effectiveTime><componentOf><timepointEvent><componentOf>'
        f'<subjectAssignment><subject><trialSubject><id extension="S-1"/><subjectDemographicPerson>{person}'
        "</subjectDemographicPerson></trialSubject></subject></subjectAssignment></componentOf></timepointEvent>"
        f"</componentOf><component>{rhythm}</component></AnnotatedECG>"
    ).encode()


def philips(
    signals: dict[str, np.ndarray], packed: bool = True, residuals: bool = True, encoding: str = "UTF-8"
) -> bytes:
    """Sierra 1.03, 5 uV a step; limb leads but I and II as residuals."""
    stored = {lead: signals[lead].astype(int) for lead in LEADS}
    one, two, three = stored["I"], stored["II"], stored["III"]
    if residuals:
        stored |= {
            "III": two - one - three,
            "aVR": -stored["aVR"] - (one + two) // 2,
            "aVL": (one - three) // 2 - stored["aVL"],
            "aVF": (two + three) // 2 - stored["aVF"],
        }
    count = len(one)
    data = b"".join(_packed(stored[lead]) if packed else stored[lead].astype("<i2").tobytes() for lead in LEADS)
    how = 'compressflag="True" compressmethod="XLI"' if packed else 'compressflag="False" compressmethod="Uncompressed"'
    return (
        f'<?xml version="1.0" encoding="{encoding}"?><restingecgdata xmlns="http://www3.medical.philips.com"><documentinfo>'
        "<documenttype>SierraECG</documenttype><documentversion>1.03</documentversion></documentinfo><dataacquisition"
        ' date="2012-03-04" time="10:11:12"><signalcharacteristics><samplingrate>500</samplingrate><signalresolution>5'
        "</signalresolution><acquisitiontype>STD-12</acquisitiontype><signalsigned>True</signalsigned>"
        "<numberchannelsallocated>12</numberchannelsallocated></signalcharacteristics></dataacquisition><patient>"
        "<generalpatientdata><age><years>0</years><months>6</months></age><sex>Male</sex></generalpatientdata></patient>"
        f'<waveforms><parsedwaveforms {how} dataencoding="Base64" durationperchannel="{count * 2}">'
        f"{base64.b64encode(data).decode()}</parsedwaveforms></waveforms></restingecgdata>"
    ).encode("utf-16" if encoding == "UTF-16" else encoding)


def _packed(values: np.ndarray) -> bytes:
    """XLI: second differences in two planes of bytes, written as the 10-bit codes of LZW that stand for bytes."""
    deltas = np.zeros(len(values), dtype=np.int64)
    deltas[:2] = values[:2]
    # The decoder gives value[i] = 2 value[i-1] - value[i-2] - last, where last is 64 below the delta before.
    last = 2 * values[1:-1] - values[:-2] - values[2:]
    first, deltas[2:-1] = int(last[0]), last[1:] + 64
    words = deltas.astype(np.int16).view(np.uint16)
    planes = bytes((words >> 8).astype(np.uint8)) + bytes((words & 255).astype(np.uint8))
    bits = "".join(f"{byte:010b}" for byte in planes)
    bits += "0" * (-len(bits) % 8)
    body = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return len(body).to_bytes(4, "little") + b"\0\0" + first.to_bytes(2, "little", signed=True) + body


def edf(
    signals: dict[str, np.ndarray],
    seconds: float = 1,
    rates: dict[str, int] | None = None,
    unit: str = "uV",
    patient: str = "X F 01-JAN-1950 X",
    plus: bool = False,
) -> bytes:
    """10 microvolts, or as many of another unit, a step; the signals are cut to whole records."""
    rate = {lead: round((rates or {}).get(lead, 500) * seconds) for lead in signals}
    records = min(len(values) // rate[lead] for lead, values in signals.items())

    def column(values: list[str], width: int) -> str:
        return "".join(value.ljust(width)[:width] for value in values)

    n = len(signals)
    header = (
        "0".ljust(8) + patient.ljust(80) + "Startdate 05-MAR-2013 X X X".ljust(80) + "05.03.1308.15.42"
        + str(256 * (n + 1)).ljust(8) + ("EDF+C" if plus else "").ljust(44) + str(records).ljust(8)
        + f"{seconds:g}".ljust(8) + str(n).ljust(4) + column([f"EKG {lead}" for lead in signals], 16) + " " * 80 * n
        + column([unit] * n, 8) + column(["-327680"] * n, 8) + column(["327670"] * n, 8) + column(["-32768"] * n, 8)
        + column(["32767"] * n, 8) + " " * 80 * n + column([str(rate[lead]) for lead in signals], 8) + " " * 32 * n
    )  # fmt: skip
    blocks = [
        signals[lead][i * rate[lead] : (i + 1) * rate[lead]].astype("<i2").tobytes()
        for i in range(records)
        for lead in signals
    ]
    return header.encode("ascii") + b"".join(blocks)


def cardiosoft(signals: dict[str, np.ndarray], unit: str = "uVperLsb", promised: int | None = None) -> bytes:
    waves = "".join(
        f'<WaveformData lead="{lead}">\n\t{",".join(map(str, values))}</WaveformData>'
        for lead, values in signals.items()
    )
    count = len(next(iter(signals.values()))) if promised is None else promised
    median = '<RestingECGMeasurements><MedianSamples><WaveformData lead="I">1,2,3</WaveformData></MedianSamples>'
    return (
        '<?xml version="1.0" encoding="ISO-8859-1"?><CardiologyXML><ObservationDateTime>'
        "<Hour>9</Hour><Minute>1</Minute><Second>2</Second><Day>3</Day><Month>4</Month><Year>2015</Year></ObservationDateTime><PatientInfo><PID>C-1</PID>"
        '<Name><FamilyName>Invented</FamilyName></Name><Age units="years">61</Age><Gender>MALE</Gender></PatientInfo>'
        f'{median}</RestingECGMeasurements><StripData><SampleRate units="Hz">500</SampleRate><ChannelSampleCountTotal>'
        f'{count}</ChannelSampleCountTotal><Resolution units="{unit}">5</Resolution>{waves}</StripData></CardiologyXML>'
    ).encode("latin-1")


def dicom(groups: list[dict], path: Path) -> Path:
    """Write groups of channels.

    Args:
        groups: each ``signals``, and ``rate``, ``original``, ``label``, ``begin``, ``padding``, ``unit``,
            ``sensitivity``, ``factor``, ``baseline``, ``code`` (of a lead: scheme, value, meaning) where they differ.
        path: file to write.
    """
    import pydicom
    from pydicom.dataset import Dataset, FileMetaDataset
    from pydicom.sequence import Sequence

    data = Dataset()
    data.SOPClassUID, data.SOPInstanceUID = "1.2.840.10008.5.1.4.1.1.9.1.1", "1.2.3"
    data.PatientID, data.PatientName, data.PatientAge, data.PatientSex = "D-1", "Invented^Name", "006M", "F"
    data.AcquisitionDateTime = "20130125105919"
    data.WaveformSequence = Sequence()
    for given in groups:
        signals, group = given["signals"], Dataset()
        group.NumberOfWaveformChannels, group.NumberOfWaveformSamples = len(signals), len(next(iter(signals.values())))
        group.SamplingFrequency, group.WaveformBitsAllocated = given.get("rate", 500), 16
        group.WaveformSampleInterpretation = "SS"
        group.WaveformOriginality = "ORIGINAL" if given.get("original", True) else "DERIVED"
        if "label" in given:
            group.MultiplexGroupLabel = given["label"]
        if "begin" in given:
            group.MultiplexGroupTimeOffset = given["begin"]
        if "padding" in given:
            group.add_new(0x5400100A, "OW", np.int16(given["padding"]).tobytes())
        group.ChannelDefinitionSequence = Sequence()
        for lead in signals:
            channel, source, unit = Dataset(), Dataset(), Dataset()
            scheme, value, meaning = given.get("code", _scp_code)(lead)
            source.CodingSchemeDesignator, source.CodeValue, source.CodeMeaning = scheme, value, meaning
            channel.ChannelSourceSequence = Sequence([source])
            unit.CodeValue = given.get("unit", "uV")
            channel.ChannelSensitivity = given.get("sensitivity", 2.5)
            channel.ChannelSensitivityUnitsSequence = Sequence([unit])
            channel.ChannelSensitivityCorrectionFactor = given.get("factor", 1)
            channel.ChannelBaseline = given.get("baseline", 0)
            group.ChannelDefinitionSequence.append(channel)
        group.add_new(0x54001010, "OW", np.stack(list(signals.values())).T.astype("<i2").tobytes())
        data.WaveformSequence.append(group)
    data.file_meta = FileMetaDataset()
    data.file_meta.TransferSyntaxUID = "1.2.840.10008.1.2.1"
    pydicom.dcmwrite(path, data, enforce_file_format=True)
    return path


NUMBERS = dict(zip((*LEADS[:2], *LEADS[6:], *LEADS[2:6]), (*range(1, 9), 61, 62, 63, 64), strict=True))


def _scp_code(lead: str) -> tuple[str, str, str]:
    return "SCPECG", f"5.6.3-9-{NUMBERS[lead]}", f"Lead {lead}"
