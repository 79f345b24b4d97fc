"""WFDB headers as they occur, and as somebody hostile might write them."""

from __future__ import annotations

import socket
import time
import unicodedata
from contextlib import suppress
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest

from ssl_ecg.archive.finding import find
from ssl_ecg.records import LEADS, READERS, RecordError, read_records, read_wfdb


def edit(path: Path, old: str, new: str) -> None:
    header = path.with_name(path.name + ".hea")
    text = header.read_text("utf-8")
    assert old in text
    header.write_text(text.replace(old, new), "utf-8")


def test_signal_and_facts_come_back(tmp_path, heartbeat, write_wfdb) -> None:
    signal = heartbeat()
    path = write_wfdb(tmp_path, "a-1", signal, comments="#Age: 74\n#Sex: Male\n#Dx: AF\n")
    record = read_wfdb(path)
    np.testing.assert_allclose(record.signal, signal, atol=6e-4)
    assert (record.leads, record.sampling_rate, record.duration) == (LEADS, 500, 10)
    assert (record.age, record.sex, record.calibrated, record.recorded_at) == (74, "male", True, None)


@pytest.mark.parametrize(
    ("comments", "age", "sex"),
    [
        ("#<age>: 51\n#<sex>: F\n", 51, "female"),
        ("#  AGE :  3.5\n# Gender=female\n", 3.5, "female"),
        ("#Age: NaN\n#Sex: Unknown\n", None, None),
        ("#Age: 300\n#Dosage: 12\n#Sex: Mixed\n", None, None),
    ],
)
def test_age_and_sex_as_publishers_write_them(tmp_path, heartbeat, write_wfdb, comments, age, sex) -> None:
    record = read_wfdb(write_wfdb(tmp_path, "a", heartbeat(), comments=comments))
    assert (record.age, record.sex) == (age, sex)


def test_crlf_odd_spacing_and_lower_case(tmp_path, heartbeat, write_wfdb) -> None:
    path = write_wfdb(tmp_path, "a", heartbeat(), comments="#Age: 74\n")
    header = path.with_suffix(".hea")
    text = header.read_text().replace(" aVR", "   avr").replace(" 16 1000", "\t16  1000").replace("a 12", "a   12")
    text = text.replace("500 5000", "500  5000   05-Feb-2020 11:39:16")
    header.write_bytes(("\n" + text + "\n").replace("\n", "\r\n").encode())
    record = read_wfdb(path)
    assert record.leads == LEADS
    assert record.age == 74
    assert record.recorded_at == datetime(2020, 2, 5, 11, 39, 16)
    np.testing.assert_allclose(record.signal, heartbeat(), atol=6e-4)


def test_matlab_file_with_offset_gain_and_baseline_per_lead(tmp_path, heartbeat) -> None:
    signal = heartbeat()
    gains, baselines = np.linspace(200, 2000, 12), np.arange(-6, 6)
    stored = np.rint(signal * gains[:, None] + baselines[:, None]).astype("<i2")
    (tmp_path / "m.mat").write_bytes(b"\0" * 24 + stored.T.tobytes())
    lines = [f"m.mat 16+24 {g}({b})/mV 16 0 0 0 0 {lead}" for g, b, lead in zip(gains, baselines, LEADS, strict=True)]
    (tmp_path / "m.hea").write_text("\n".join(["m 12 500 5000", *lines]))
    np.testing.assert_allclose(read_wfdb(tmp_path / "m").signal, signal, atol=0.0026)


@pytest.mark.parametrize(("unit", "factor"), [("mV", 1), ("uV", 1e-3), ("µV", 1e-3), ("V", 1e3)])
def test_units_become_millivolts(tmp_path, heartbeat, write_wfdb, unit, factor) -> None:
    record = read_wfdb(write_wfdb(tmp_path, "a", heartbeat(), unit=unit))
    np.testing.assert_allclose(record.signal, heartbeat() * factor, atol=6e-4 * factor)
    assert record.calibrated


def test_no_unit_and_no_gain_are_uncalibrated(tmp_path, heartbeat, write_wfdb) -> None:
    assert not read_wfdb(write_wfdb(tmp_path, "a", heartbeat(), unit="NU")).calibrated
    path = write_wfdb(tmp_path, "b", heartbeat())
    edit(path, "1000(0)/mV", "0")
    assert not read_wfdb(path).calibrated


def test_channels_that_are_no_leads_are_left_out(tmp_path, heartbeat, write_wfdb) -> None:
    path = write_wfdb(tmp_path, "a", heartbeat())
    edit(path, "/mV 16 0 0 0 0 V6", "/mmHg 16 0 0 0 0 ABP")
    record = read_wfdb(path)
    assert record.leads == LEADS[:-1]
    np.testing.assert_allclose(record.signal, heartbeat()[:-1], atol=6e-4)


@pytest.mark.parametrize(
    ("old", "new", "kind"),
    [
        ("/mV", "/furlong", "unknown unit: of a lead"),
        ("a.dat 16", "../a.dat 16", "header: signal 1 is said to lie outside the folder"),
        ("a.dat 16", "/etc/passwd 16", "header: signal 1 is said to lie outside the folder"),
        ("a.dat 16", "https://example.org/a.dat 16", "header: signal 1 is said to lie outside the folder"),
        ("a.dat 16", "..\\a.dat 16", "header: signal 1 is said to lie outside the folder"),
        ("a.dat 16", ".. 16", "header: signal 1 is said to lie outside the folder"),
        ("a.dat 16", "b.dat 16", "missing signal: the file of signal 1 is not there"),
        ("a.dat 16", "a.dat 777", "header: the storage format of signal 1 is not known"),
        ("500 5000", "500 5001", "truncated signal"),
        ("500 5000", "500 999999999999", "truncated signal"),
        ("500 5000", "0 5000", "sampling rate"),
        ("500 5000", "fast 5000", "header: the sampling rate is no number"),
        ("a 12 500 5000", "a 12", "sampling rate: the header gives none"),
        ("a 12", "a/12 12", "header: the length of segment 1"),
        ("a 12", "a 14", "header: the record line does not announce"),
        ("1000(0)/mV", "1e-e(0)/mV", "header: the line of signal 1"),
        ("0 0 V2", "0 0 v1", "duplicate lead"),
    ],
)
def test_bad_headers_are_refused_by_name(tmp_path, heartbeat, write_wfdb, old, new, kind) -> None:
    path = write_wfdb(tmp_path, "a", heartbeat())
    edit(path, old, new)
    with pytest.raises(RecordError) as caught:
        read_wfdb(path)
    assert str(caught.value).startswith(kind)
    assert str(tmp_path) not in str(caught.value)


@pytest.mark.parametrize("content", [b"", b"\x00\xff" * 50, b"#only a comment\n", b"garbage"])
def test_files_that_are_no_headers(tmp_path, content) -> None:
    (tmp_path / "a.hea").write_bytes(content)
    with pytest.raises(RecordError):
        next(read_records(tmp_path / "a.hea"))


def test_missing_header(tmp_path) -> None:
    with pytest.raises(RecordError, match="cannot be read"):
        read_wfdb(tmp_path / "nothing")


def test_nothing_is_fetched(tmp_path, heartbeat, write_wfdb, monkeypatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    path = write_wfdb(tmp_path, "a", heartbeat())
    assert read_wfdb(path).duration == 10
    for name in ("https://physionet.org/files/ptb-xl/a", "s3://bucket/a"):
        with pytest.raises(RecordError):
            read_wfdb(name)


def test_real_formats(ecg_data: Path) -> None:
    cpsc = read_wfdb(ecg_data / "cpsc2018" / "A0001")
    assert (cpsc.signal.shape, cpsc.age, cpsc.sex, cpsc.calibrated) == ((12, 7500), 74, "male", True)
    assert np.abs(cpsc.signal[0] + cpsc.signal[2] - cpsc.signal[1]).max() < 0.005
    assert cpsc.signal[0, 0] == pytest.approx(0.028)
    ludb = read_wfdb(ecg_data / "ludb" / "data" / "1")
    assert (ludb.leads, ludb.age, ludb.sex) == (LEADS, 51, "female")
    ptbxl = read_wfdb(ecg_data / "ptbxl" / "records100" / "00000" / "00158_lr")
    assert (ptbxl.sampling_rate, ptbxl.calibrated) == (100, False)
    assert ptbxl.signal.std(axis=1) == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize("name", ["1.2.840.113619", "2020-01-02_10.11.12", "Übung_7", "a+b (1)", "my record 12"])
@pytest.mark.parametrize("suffix", ["hea", "HEA"])
def test_names_of_all_kinds(tmp_path, heartbeat, write_wfdb, name, suffix) -> None:
    path = write_wfdb(tmp_path, name, heartbeat())
    header = tmp_path / f"{name}.{suffix}"
    (tmp_path / f"{name}.hea").rename(header)
    np.testing.assert_allclose(next(read_records(header)).signal, heartbeat(), atol=6e-4)
    np.testing.assert_allclose(read_wfdb(path).signal, heartbeat(), atol=6e-4)


@pytest.mark.parametrize("form", ["NFC", "NFD"])
@pytest.mark.parametrize("encoding", ["utf-8", "latin-1"])
def test_umlauts_in_headers_of_other_systems(tmp_path, heartbeat, write_wfdb, form, encoding) -> None:
    write_wfdb(tmp_path, "Ü", heartbeat())
    (tmp_path / "Ü.dat").rename(tmp_path / unicodedata.normalize(form, "ü.DAT"))
    (tmp_path / "x.hea").write_bytes((tmp_path / "Ü.hea").read_text("utf-8").encode(encoding))
    np.testing.assert_allclose(read_wfdb(tmp_path / "x").signal, heartbeat(), atol=6e-4)


@pytest.mark.parametrize(
    ("old", "new", "recorded_at"),
    [
        ("a 12", "a.mat 12", None),
        ("a 12", "another name 12", None),
        ("500 5000", "500 0", None),
        ("500 5000", "500", None),
        ("500 5000", "500/250(3) 5000 10:11:12 02/01/2020", datetime(2020, 1, 2, 10, 11, 12)),
        ("500 5000", "500 5000 2006", None),
        ("500 5000", "500 5000 10:11:12 2006", None),
        ("500 5000", "500 5000 10:11:12", None),
        ("1000(0)/mV", "1e3(0)/MV", None),
        ("1000(0)/mV", "1000/MilliVolts", None),
        ("1000(0)/mV", ".001/nV", None),
    ],
)
def test_record_and_signal_lines_as_they_occur(tmp_path, heartbeat, write_wfdb, old, new, recorded_at) -> None:
    path = write_wfdb(tmp_path, "a", heartbeat())
    edit(path, old, new)
    record = read_wfdb(path)
    np.testing.assert_allclose(record.signal, heartbeat(), atol=6e-4)
    assert record.recorded_at == recorded_at


def test_negative_gain_turns_the_signal(tmp_path, heartbeat, write_wfdb) -> None:
    path = write_wfdb(tmp_path, "a", heartbeat())
    edit(path, "1000(0)/mV", "-1000(20)/mV")
    record = read_wfdb(path)
    assert record.calibrated
    np.testing.assert_allclose(record.signal, 0.02 - heartbeat(), atol=6e-4)


def with_checksums(path: Path) -> None:
    header = path.with_suffix(".hea")
    lines = header.read_text().splitlines()
    sums = np.fromfile(path.with_suffix(".dat"), "<i2").reshape(-1, 12).sum(axis=0, dtype=int)
    told = [line.replace(" 0 0 0 0 ", f" 0 0 {(s + 32768) % 65536 - 32768} 0 ") for line, s in zip(lines[1:], sums)]
    header.write_text("\n".join([lines[0], *told]))


def test_a_flipped_bit_and_exchanged_lines_are_told(tmp_path, heartbeat, write_wfdb) -> None:
    rng = np.random.default_rng(0)
    path = write_wfdb(tmp_path, "a", heartbeat())
    with_checksums(path)
    assert read_wfdb(path).findings == ()
    data = path.with_suffix(".dat").read_bytes()
    for _ in range(40):
        flipped = bytearray(data)
        place = int(rng.integers(len(data)))
        flipped[place] ^= 1 << int(rng.integers(8))
        path.with_suffix(".dat").write_bytes(flipped)
        assert read_wfdb(path).findings == (f"checksum: {LEADS[place // 2 % 12]}",)
        assert read_wfdb(path, seconds=1).findings  # the part that is not kept counts too
    path.with_suffix(".dat").write_bytes(data)
    lines = path.with_suffix(".hea").read_text().splitlines()
    lines[1], lines[9] = lines[9].replace("V3", "I"), lines[1].replace(" I", " V3")
    path.with_suffix(".hea").write_text("\n".join(lines))
    assert read_wfdb(path).findings == ("checksum: I, V3",)


def test_segments_are_one_recording(tmp_path, heartbeat, write_wfdb) -> None:
    signal = heartbeat()
    write_wfdb(tmp_path, "m_1", signal[:, :2000])
    write_wfdb(tmp_path, "m 2", signal[:8, 2000:])
    (tmp_path / "m_layout.hea").write_text("m_layout 1 500 0\n~ 0 200 16 0 0 0 0 I\n")
    (tmp_path / "m.hea").write_text("m/4 12 500 5100\nm_layout 0\nm_1 2000\n~ 100\nm 2 3000\n")
    record = read_wfdb(tmp_path / "m")
    assert (record.leads, record.duration) == (LEADS, 10.2)
    np.testing.assert_allclose(record.signal[:, :2000], signal[:, :2000], atol=6e-4)
    np.testing.assert_allclose(record.signal[:8, 2100:], signal[:8, 2000:], atol=6e-4)
    assert np.isnan(record.signal[:, 2000:2100]).all()
    assert np.isnan(record.signal[8:, 2100:]).all()
    np.testing.assert_array_equal(read_wfdb(tmp_path / "m", 2, 5).signal, record.signal[:, 1000:3500])
    found = find(tmp_path, 100, tmp_path / "none")
    assert [job.path for job in found.jobs] == ["m.hea"]
    (tmp_path / "n.hea").write_text("n/1 12 500 5100\nm 5100\n")
    with pytest.raises(RecordError, match="segment 1 is not what"):
        read_wfdb(tmp_path / "n")
    edit(tmp_path / "m", "m_1", "../m_1")
    with pytest.raises(RecordError, match="outside the folder"):
        read_wfdb(tmp_path / "m")


@pytest.mark.parametrize(
    "text",
    [
        "#\n" * 400_000 + "a 12 500 5000\n",
        "# age " + " " * 900_000 + "\na 12 500 5000\n",
        "#" * 900_000 + "\na 12 500 5000\n",
        "# patient id" + ": " * 400_000 + "\n",
        "a 12 500 5000\n" + "a.dat " + " " * 900_000 + "x\n",
        "a " * 450_000,
        "a/9999 12 500 5000\n" + "b 1\n" * 9999,
        "a 9999 500 5000\n" + "a.dat 16x9999 1 16 0 0 0 0 I\n" * 9999,
        "a 1 500 5000\na.dat 16:999999999 1 16 0 0 0 0 I\n",
        "a 1 500 99999999999\na.dat 16 1 16 0 0 0 0 I\n",
        "a 1 500 " + "9" * 5000 + "\na.dat 16 1 16 0 0 0 0 I\n",
    ],
    ids=range(11),
)
def test_headers_that_would_take_for_ever(tmp_path, text: str) -> None:
    (tmp_path / "a.hea").write_text(text[:990_000])
    with (tmp_path / "a.dat").open("wb") as file:
        file.truncate(2**40)
    begin = time.process_time()
    with suppress(RecordError):
        next(READERS["wfdb"].read_part(tmp_path / "a.hea", 0.0, 80.0))
    with suppress(RecordError):
        next(read_records(tmp_path / "a.hea"))
    list(READERS["wfdb"].companions(tmp_path / "a.hea"))
    list(READERS["wfdb"].parts(tmp_path / "a.hea"))
    assert time.process_time() - begin < 3


def test_reasons_never_quote_the_file(tmp_path, heartbeat, write_wfdb) -> None:
    path = write_wfdb(tmp_path, "a", heartbeat())
    header = path.with_suffix(".hea")
    whole = header.read_text()
    for old in ("a 12", "500", "5000", "a.dat", "16 1000", "1000(0)", "/mV", "16 0 0 0 0 ", "V1", "V", "I"):
        for new in ("Mustermann", "Mustermann Erika 1950 ", "/Mustermann/"):
            for count in (1, -1):
                header.write_text(whole.replace(old, new, count))
                try:
                    said = " ".join(next(read_records(header)).findings)
                except RecordError as error:
                    said = str(error)
                assert "Muster" not in said
                assert "1950" not in said


def rescaled(tmp_path: Path, heartbeat, leads: int = 12) -> tuple[np.ndarray, Path]:
    """Integers that obey Einthoven's law, and a header that scales each lead to a range of 1."""
    stored = np.rint(heartbeat(seed=7) * 800).astype("<i2")
    stored[2] = stored[1] - stored[0]
    stored = stored[:leads]
    stored.T.tofile(tmp_path / "a.dat")
    lines = [f"a {leads} 500 5000"]
    lines += [f"a.dat 16 {np.ptp(row)}({int(row.mean())})/mV 16 0 0 0 0 {lead}" for row, lead in zip(stored, LEADS)]
    (tmp_path / "a.hea").write_text("\n".join(lines) + "\n")
    return stored, tmp_path / "a"


def test_leads_that_were_scaled_one_by_one_get_one_gain(tmp_path: Path, heartbeat) -> None:
    stored, path = rescaled(tmp_path, heartbeat)
    record = read_wfdb(path)
    np.testing.assert_allclose(record.signal, stored / 1000, atol=1e-6)
    assert not record.calibrated
    assert record.findings == ("scaled leads: the header scales each to a range of 1; all have one gain here",)


def test_other_gains_of_leads_are_believed(tmp_path: Path, heartbeat) -> None:
    stored, path = rescaled(tmp_path, heartbeat)
    stored[2] += np.arange(5000) % 7 == 0  # within rounding, and then not
    header = path.with_suffix(".hea").read_text()
    path.with_suffix(".hea").write_text(header.replace(f" {np.ptp(stored[6])}(", f" {np.ptp(stored[6]) + 50}("))
    assert read_wfdb(path).calibrated  # V1 has another range
    stored, path = rescaled(tmp_path, heartbeat)
    stored[2, :100] += 5
    stored.T.astype("<i2").tofile(path.with_suffix(".dat"))
    record = read_wfdb(path)
    assert record.calibrated  # the integers do not obey the law
    assert record.findings == ()
    assert np.ptp(record.signal[0]) == pytest.approx(1)


@pytest.mark.slow
def test_ludb_has_one_gain_a_record(ecg_data: Path) -> None:
    for header in sorted((ecg_data / "ludb" / "data").glob("*.hea"))[:40]:
        record = read_wfdb(header)
        one, two, three = (record.signal[record.leads.index(lead)] for lead in ("I", "II", "III"))
        np.testing.assert_allclose(three, two - one, atol=1e-6)
        assert not record.calibrated
        assert 0.2 < np.median(np.ptp(record.signal, axis=1)) < 5
