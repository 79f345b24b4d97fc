"""Files of electrocardiographs, each trap by a file that has it."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import vendor_files as make

from ssl_ecg.records import LEADS, Record, RecordError, read_records

TRAILER = np.repeat([0, 200, 0], [50, 100, 50])  # 1 mV at 5 uV a step


@pytest.fixture
def read(tmp_path: Path):
    """A function that writes bytes under a name that says nothing, and reads the one record in them."""

    def one(content: bytes, name: str = "ecg.bin") -> Record:
        (tmp_path / name).write_bytes(content)
        [record] = read_records(tmp_path / name)
        return record

    return one


def truth(signals: dict[str, np.ndarray], step: float, leads: tuple[str, ...] = LEADS) -> np.ndarray:
    return np.stack([signals[lead] for lead in leads]) * step


def test_muse_takes_the_rhythm_wherever_it_stands(read) -> None:
    signals = make.integers(leads=make.STORED)
    for kinds in (("Median", "Rhythm"), ("Rhythm", "Median"), ("Rhythm",)):
        record = read(make.muse(signals, kinds=kinds))
        assert np.allclose(record.select(make.STORED), truth(signals, 0.00488, make.STORED), atol=1e-6)
    assert (record.sampling_rate, record.age, record.sex, record.patient_id) == (500, 63, "female", "P-1")
    assert str(record.recorded_at) == "2013-03-05 08:15:42"
    assert np.allclose(record.select(("III",)), record.select(("II",)) - record.select(("I",)))
    with pytest.raises(RecordError, match="rhythm"):
        read(make.muse(signals, kinds=("Median",)))


@pytest.mark.parametrize(
    ("base", "exponent", "rate"), [("240", "0", 240), ("25", "1", 250), ("3333", "-1", 333.3), ("1", "3", 1000)]
)
def test_muse_rate_has_an_exponent(read, base, exponent, rate) -> None:
    assert read(make.muse(make.integers(100), base=base, exponent=exponent)).sampling_rate == pytest.approx(rate)


@pytest.mark.parametrize(
    ("step", "unit", "millivolts"),
    [("4,88", "MICROVOLTS", 0.00488), ("0.005", "MILLIVOLTS", 0.005), ("2.44", "uV", 0.00244)],
)
def test_muse_unit_is_read(read, step, unit, millivolts) -> None:
    signals = make.integers(100)
    assert np.allclose(
        read(make.muse(signals, step=step, unit=unit)).select(LEADS), truth(signals, millivolts), atol=1e-6
    )
    with pytest.raises(RecordError, match="unknown unit: of lead I"):
        read(make.muse(signals, unit="FURLONGS"))


@pytest.mark.parametrize(
    ("stated", "age"),
    [("18 MONTHS", 1.5), ("10 DAYS", 0.03), ("6 MONTHS", 0.5), ("61", 61), ("261 YEARS", None)],
)
def test_muse_ages_have_units(read, stated, age) -> None:
    value, _, unit = stated.partition(" ")
    told = f"<PatientAge>{value}</PatientAge>" + (f"<AgeUnits>{unit}</AgeUnits>" if unit else "")
    record = read(make.muse(make.integers(100), age=told))
    assert record.age == age if age is not None else record.age is None
    born = "<DateofBirth>09-05-1950</DateofBirth>"
    assert read(make.muse(make.integers(100), age=born)).age == 62.5


def test_muse_that_contradicts_itself_is_refused(read) -> None:
    signals = make.integers(400)
    with pytest.raises(RecordError, match=r"checksum: .*lead V6"):
        read(make.muse(signals, flip="V6"))
    content = make.muse(signals)
    at = content.rindex(b"<WaveFormData>\n") + 15
    for cut in (4, 5, 100):
        with pytest.raises(RecordError, match=r"(checksum|truncated signal): .*[Ll]ead V6"):
            read(content[:at] + content[at + cut :])


def test_muse_gap_is_filled_or_costs_its_lead(read) -> None:
    signals = make.integers(1000)
    signals["V1"][20:30] = -32768
    assert read(make.muse(signals)).findings == ("gap filled: V1 10 samples",)
    signals["V1"][20:300] = -32768
    assert "V1" not in read(make.muse(signals)).leads


@pytest.mark.parametrize("encoding", ["ISO-8859-1", "UTF-8", "UTF-16", "windows-1252", "GB18030"])
def test_encodings(read, encoding) -> None:
    signals = make.integers(100)
    content = make.muse(signals).decode("latin-1").replace("ISO-8859-1", encoding)
    assert np.allclose(read(content.encode(encoding)).select(LEADS), truth(signals, 0.00488), atol=1e-6)


@pytest.mark.parametrize(
    "prolog",
    [
        '<!DOCTYPE RestingECG [<!ENTITY a "aaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>',
        '<!DOCTYPE RestingECG [<!ENTITY x SYSTEM "file:///etc/passwd">]>',
        '<!DOCTYPE RestingECG [<!ENTITY % x SYSTEM "http://127.0.0.1:9/x">]>',
    ],
)
def test_entities_are_refused(read, prolog) -> None:
    with pytest.raises(RecordError, match="XML: declares entities"):
        read(make.muse(make.integers(100), prolog=prolog))


def test_nothing_of_the_text_of_a_file_is_told(read) -> None:
    content = make.muse(make.integers(100), step="Annabel Lee")
    with pytest.raises(RecordError) as caught:
        read(content.replace(b"<LeadSampleSize>2", b"<LeadSampleSize>Annabel Lee"))
    assert "Annabel" not in str(caught.value)


@pytest.mark.parametrize("encoding", ["UTF-8", "UTF-16"])
def test_philips_residuals_and_calibration_pulse(read, encoding) -> None:
    signals = make.integers(800)
    shown = {lead: np.concatenate([values, TRAILER]) for lead, values in signals.items()}
    record = read(make.philips(shown, encoding=encoding))
    assert record.signal.shape == (12, 800)
    assert np.allclose(record.select(LEADS), truth(signals, 0.005), atol=1e-6)
    assert (record.age, record.sex, record.sampling_rate) == (0.5, "male", 500)


def test_philips_uncompressed_is_decided_by_einthovens_law(read) -> None:
    signals = make.integers(3000)
    shown = {lead: np.concatenate([values, TRAILER]) for lead, values in signals.items()}
    for residuals in (True, False):
        record = read(make.philips(shown, packed=False, residuals=residuals))
        assert record.signal.shape == (12, 3000)
        assert np.allclose(record.select(LEADS), truth(signals, 0.005), atol=1e-6)
    broken = signals | {"III": make.integers(3000, seed=5)["V3"]}
    with pytest.raises(RecordError, match=r"limb leads: .*Einthoven"):
        read(make.philips(broken, packed=False, residuals=False))


def test_pulse_that_differs_between_leads_is_kept(read) -> None:
    signals = make.integers(800)
    shown = {lead: np.concatenate([values, TRAILER]) for lead, values in signals.items()}
    shown["V6"] = np.concatenate([signals["V6"], TRAILER + np.arange(200)])
    assert read(make.aecg(shown)).signal.shape == (12, 1000)


@pytest.mark.parametrize(
    ("step", "unit", "rate"), [("0.002", "s", 500), ("2", "ms", 500), ("1000", "us", 1000), ("0.003", "s", 333.333333)]
)
def test_aecg_increment_has_a_unit(read, step, unit, rate) -> None:
    assert read(make.aecg(make.integers(100), step=step, step_unit=unit)).sampling_rate == pytest.approx(rate)


def test_aecg_origin_and_scale_have_units_of_their_own(read) -> None:
    signals = make.integers(100)
    record = read(make.aecg(signals, scale='<origin value="100" unit="uV"/><scale value="0.0025" unit="mV"/>'))
    assert np.allclose(record.select(LEADS), truth(signals, 0.0025) + 0.1, atol=1e-6)
    assert (record.age, record.sex, record.patient_id) == (49.5, "female", "S-1")
    with pytest.raises(RecordError, match="unknown unit"):
        read(make.aecg(signals, scale='<origin value="0"/><scale value="1"/>'))


@pytest.mark.parametrize(
    ("born", "when", "age"),
    [
        ("19530508", "20021122", 49.5),
        ("1953", "20021122091000", 49.4),
        ("", "20021122", None),
        ("20020922", "20021122", 0.17),
    ],
)
def test_aecg_age_from_birth_and_recording(read, born, when, age) -> None:
    assert read(make.aecg(make.integers(100), born=born, when=when)).age == age


def test_aecg_missing_samples_and_pulse(read) -> None:
    signals = make.integers(800)
    shown = {lead: np.concatenate([values, 2 * TRAILER]) for lead, values in signals.items()}
    shown["V2"][5] = -32768
    record = read(make.aecg(shown))
    assert record.signal.shape == (12, 800)
    assert "gap filled: V2 1 samples" in record.findings


def test_aecg_lead_that_nobody_knows_is_named(read) -> None:
    with pytest.raises(RecordError, match=r"unknown lead: MDC_ECG_LEAD_V33: is none of the twelve, and V3 is missing"):
        read(make.aecg(make.integers(100), names={"V3": "MDC_ECG_LEAD_V33"}))
    signals = make.integers(100)
    assert read(make.aecg(signals | {"X": signals["I"]}, names={"X": "MDC_ECG_LEAD_V7"})).leads == LEADS


@pytest.mark.parametrize(
    ("seconds", "unit", "factor"), [(1, "uV", 0.01), (2, "mV", 10), (0.5, "uV", 0.01), (0.1, "V", 1e4)]
)
def test_edf_rate_is_that_of_a_record(read, seconds, unit, factor) -> None:
    signals = make.integers(2000)
    record = read(make.edf(signals | {"Resp": signals["I"]}, seconds=seconds, unit=unit))
    assert record.sampling_rate == 500
    assert np.allclose(record.select(LEADS), truth(signals, factor), rtol=1e-5, atol=1e-5 * factor)
    assert (record.age, record.sex, record.patient_id) == (63.2, "female", None)


def test_edf_refuses_leads_of_different_rates_and_truncated_files(read) -> None:
    signals = make.integers(2000)
    with pytest.raises(RecordError, match=r"sampling rate: leads differ: .*V6 250 Hz"):
        read(make.edf(signals, rates={"V6": 250}))
    content = make.edf(signals)
    with pytest.raises(RecordError, match="truncated signal"):
        read(content[:-100])


def test_edf_patient_field_that_can_be_a_name_is_not_an_id(read) -> None:
    assert read(make.edf(make.integers(1000), patient="Annabel Lee")).patient_id is None
    assert read(make.edf(make.integers(1000), patient="MRN-7 M X X")).patient_id == "MRN-7"


def test_sound_of_a_missing_library(read, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "ecgdatakit.parsing.parsers.ge_muse_xml", None)
    with pytest.raises(RecordError, match=r"missing library: GE MUSE XML .*pip install 'ssl-ecg\[vendor\]'"):
        read(make.muse(make.integers(100)))


def test_real_files(ecg_data: Path) -> None:
    folder = ecg_data / "vendor"
    files = [
        *folder.glob("muse/*.xml"),
        *folder.glob("philips/*.xml"),
        *folder.glob("aecg/*.xml"),
        *folder.glob("scp/*"),
    ]
    if not files:
        pytest.skip("no files of vendors here")
    for file in files:
        [record] = read_records(file)
        limb = record.select(("I", "II", "III"))
        assert np.abs(limb[2] - limb[1] + limb[0]).max() <= 0.011, file.name
        assert 0.3 < np.median(np.ptp(record.signal, axis=1)) < 8, file.name
        assert record.duration > 9.9, file.name


@pytest.mark.parametrize("case", ["muse_240Hz", "philips_xli_1_03"])
def test_hand_made_cases(case: str) -> None:
    folder = Path(__file__).parents[1] / "cases" / case
    expect = json.loads((folder / "expect.json").read_text("utf-8"))
    [record] = read_records(folder / expect["file"])
    signal = np.load(folder / "truth_mV.npy", allow_pickle=False)
    assert record.select(tuple(expect["leads"])) == pytest.approx(signal, abs=expect["tolerance_mV"])
    assert (record.sampling_rate, record.age, record.sex) == (expect["rate"], expect["age"], expect["sex"])


def test_what_would_take_too_much_memory_is_refused_with_a_cure(read, monkeypatch) -> None:
    content = make.edf(make.integers())
    monkeypatch.setattr("ssl_ecg.records.record.MAX_BYTES", len(content))
    read(content)
    with pytest.raises(RecordError, match=r"too large: .* read whole, .*; cut it into hours, or convert it to WFDB"):
        read(content + b"0")
