"""DICOM waveforms."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import vendor_files as make

from ssl_ecg.records import LEADS, Record, RecordError, read_records

pydicom = pytest.importorskip("pydicom")


@pytest.fixture
def read(tmp_path: Path):
    """A function that writes groups and reads the record that they make."""

    def one(*groups: dict) -> Record:
        [record] = read_records(make.dicom(list(groups), tmp_path / "ecg"))
        return record

    return one


def truth(signals: dict[str, np.ndarray], step: float = 0.0025) -> np.ndarray:
    return np.stack([signals[lead] for lead in LEADS]) * step


@pytest.mark.parametrize(("unit", "millivolts"), [("uV", 1e-3), ("mV", 1.0), ("V", 1e3)])
def test_sensitivity_correction_and_baseline(read, unit, millivolts) -> None:
    signals = make.integers()
    record = read({"signals": signals, "unit": unit, "sensitivity": 2.5, "factor": 1.02, "baseline": 150})
    assert np.allclose(record.select(LEADS), (truth(signals, 2.5 * 1.02) + 150) * millivolts, rtol=1e-6)
    assert (record.age, record.sex, record.patient_id, record.sampling_rate) == (0.5, "female", "D-1", 500)


@pytest.mark.parametrize(
    "code",
    [
        lambda lead: ("MDC", f"2:{make.NUMBERS[lead]}", "whatever\0"),
        lambda lead: ("MDC", str(131072 + make.NUMBERS[lead]), "whatever"),
        lambda lead: ("SCPECG", f"5.6.3-9-{make.NUMBERS[lead]}\0", "Lead X"),
        lambda lead: ("99LOCAL", "1", f"{lead}\0"),
        lambda lead: ("MDC", f"MDC_ECG_LEAD_{lead.upper()}", "x"),
        lambda lead: ("99LOCAL", "?", f"Lead {lead} (Einthoven)"),
    ],
)
def test_leads_by_code_and_by_name(read, code) -> None:
    signals = make.integers()
    assert np.allclose(read({"signals": signals, "code": code}).select(LEADS), truth(signals), atol=1e-6)


def test_codes_win_over_names(read) -> None:
    signals = make.integers()
    turned = dict(zip(LEADS, LEADS[::-1], strict=True))
    record = read({"signals": signals, "code": lambda lead: ("MDC", f"2:{make.NUMBERS[lead]}", turned[lead])})
    assert np.allclose(record.select(LEADS), truth(signals), atol=1e-6)


def test_the_rhythm_and_not_the_median(read) -> None:
    signals, beat = make.integers(1000), make.integers(600, seed=1)
    rhythm, median = (
        {"signals": signals, "label": "RHYTHM"},
        {"signals": beat, "original": False, "label": "MEDIAN BEAT"},
    )
    for groups in ((rhythm, median), (median, rhythm)):
        assert np.allclose(read(*groups).select(LEADS), truth(signals), atol=1e-6)


def test_groups_of_the_same_time_are_joined(read) -> None:
    signals = make.integers()
    groups = [{"signals": {lead: signals[lead] for lead in LEADS[i : i + 3]}, "begin": 5.0} for i in range(0, 12, 3)]
    assert np.allclose(read(*groups).select(LEADS), truth(signals), atol=1e-6)


def test_groups_one_after_the_other_are_not(read) -> None:
    signals = make.integers()
    groups = [
        {"signals": {lead: signals[lead] for lead in LEADS[i : i + 3]}, "begin": 833.0 * i} for i in range(0, 12, 3)
    ]
    with pytest.raises(RecordError, match="missing lead"):
        read(*groups).select(LEADS)


def test_padding(read) -> None:
    signals = make.integers()
    signals["V1"][10:20] = 0
    assert np.isfinite(read({"signals": signals, "padding": 0}).signal).all()
    signals["V1"][10:20] = -32768
    record = read({"signals": signals, "padding": -32768})
    assert record.findings == ("gap filled: V1 10 samples",)
    signals["V1"][10:200] = -32768
    assert "V1" not in read({"signals": signals, "padding": -32768}).leads


def test_what_is_no_ecg_is_refused(read, tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="no waveform"):
        read()
    with pytest.raises(RecordError, match="unknown unit: of lead I"):
        read({"signals": make.integers(), "unit": "mmHg"})
    path = make.dicom([{"signals": make.integers(100)}], tmp_path / "cut.dcm")
    content = path.read_bytes()
    path.write_bytes(content[:-300])
    with pytest.raises(RecordError):
        list(read_records(path))
    path.write_bytes(
        content.replace(b"IS\x04\x00100 ", b"IS\x04\x009999") if b"IS\x04\x00100 " in content else content[:-9]
    )
    with pytest.raises(RecordError):
        list(read_records(path))


def test_deflated_data_sets_are_not_inflated(tmp_path: Path) -> None:
    path = make.dicom([{"signals": make.integers(100)}], tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.1.99\0"[:20]))
    content = path.read_bytes()
    at = content.index(b"1.2.840.10008.1.2.1")
    path.write_bytes(content[:at] + b"1.2.840.10008.1.2.1.99" + content[at + 20 :])
    with pytest.raises(RecordError, match="deflated"):
        list(read_records(path))


def test_missing_library(tmp_path: Path, monkeypatch) -> None:
    path = make.dicom([{"signals": make.integers(100)}], tmp_path / "a")
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(RecordError, match=r"missing library: DICOM .*pip install 'ssl-ecg\[vendor\]'"):
        list(read_records(path))


def test_real_file(ecg_data: Path) -> None:
    files = list((ecg_data / "vendor").glob("dicom/*.dcm"))
    if not files:
        pytest.skip("no DICOM files here")
    for file in files:
        [record] = read_records(file)
        limb = record.select(("I", "II", "III"))
        assert np.abs(limb[2] - limb[1] + limb[0]).max() < 0.01
        assert record.signal.shape == (12, 10000)
