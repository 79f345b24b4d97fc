"""No reason why a file cannot be read quotes it: an invented person in every field of every format is never told."""

from __future__ import annotations

import logging
import re
import traceback
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import vendor_files as make

from ssl_ecg.records import LEADS, RecordError, read_records

PERSON = "Zwiebelhuber^Xaver 24.12.1931 ACC77316"
MARKS = re.compile("zwiebel|xaver|24.12.1931|19311224|acc77", re.IGNORECASE)
FORMATS = {
    "muse.xml": lambda: make.muse(make.integers(5000)),
    "aecg.xml": lambda: make.aecg(make.integers(5000)),
    "philips.xml": lambda: make.philips(make.integers(5000), packed=False, residuals=False),
    "cardiosoft.xml": lambda: make.cardiosoft(make.integers(5000)),
}


def with_person(text: str) -> Iterator[str]:
    """Yield an XML text with the person in one field, for all elements and attributes of one name at a time."""
    for name in sorted({*re.findall(r"<(\w+)[^<>]*>[^<>]+</", text)}):
        yield re.sub(rf"(<{name}\b[^<>]*>)[^<>]+(?=</)", rf"\g<1>{PERSON}", text)
    for name in sorted({*re.findall(r"\b(\w+)=\"[^\"]*\"", text)} - {"xmlns", "version", "encoding"}):
        yield re.sub(rf"\b{name}=\"[^\"]*\"", f'{name}="{PERSON}"', text)
    for name in sorted({*re.findall(r"<(\w+)", text)}):
        yield re.sub(rf"(</?){name}\b", r"\g<1>Zwiebelhuber", text)


def told(path: Path, caplog: pytest.LogCaptureFixture) -> str:
    """Return all that is said when a file is read."""
    caplog.clear()
    with caplog.at_level(logging.INFO), warnings.catch_warnings(record=True) as warned:
        try:
            for _ in read_records(path):
                pass
            said = ""
        except RecordError as error:
            said = str(error)
        except Exception as error:  # ingest tells the type alone
            said = type(error).__name__
            traceback.clear_frames(error.__traceback__)
    return " ".join([said, caplog.text, *(str(each.message) for each in warned)])


@pytest.mark.parametrize("name", FORMATS)
def test_xml(name: str, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    text = FORMATS[name]().decode("latin-1").replace('encoding="ISO-8859-1"', 'encoding="utf-8"')
    assert told(write(tmp_path / name, text), caplog).strip() == ""
    said = [told(write(tmp_path / name, changed), caplog) for changed in with_person(text)]
    assert len([each for each in said if each.strip()]) >= 5
    assert [each for each in said if MARKS.search(each)] == []


def write(path: Path, text: str) -> Path:
    path.write_text(text, "utf-8")
    return path


def test_wfdb(tmp_path: Path, heartbeat, write_wfdb, caplog: pytest.LogCaptureFixture) -> None:
    header = write_wfdb(tmp_path, "a", heartbeat(100), 100, comments=f"#Age: 50\n# {PERSON}\n").with_suffix(".hea")
    lines = header.read_text().splitlines()
    said = []
    for number in (0, 1, len(LEADS)):
        for place in range(len(lines[number].split())):
            for mark in ("Zwiebelhuber", "24.12.1931", "ACC77316", PERSON):
                fields = lines[number].split()
                fields[place] = mark
                header.write_text("\n".join([*lines[:number], " ".join(fields), *lines[number + 1 :]]) + "\n")
                said.append(told(header, caplog))
    for number in range(len(lines)):
        header.write_text("\n".join([*lines[:number], PERSON, *lines[number:]]) + "\n")
        said.append(told(header, caplog))
    for comment in (f"#Age: {PERSON}", f"#Sex: {PERSON}", f"#Dx: {PERSON}", "#Zwiebelhuber: 24.12.1931"):
        header.write_text("\n".join([*lines, comment]) + "\n")
        said.append(told(header, caplog))
    assert len([each for each in said if each.strip()]) >= 20
    assert [each for each in said if MARKS.search(each)] == []


def test_edf(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    content = make.edf(make.integers(5000))
    said = []
    for place in (*range(8, 256, 8), *range(256, 256 * 13, 80)):
        for mark in (b"Zwiebelh", b"24.12.1931"[:8]):
            (tmp_path / "a.edf").write_bytes(content[:place] + mark + content[place + 8 :])
            said.append(told(tmp_path / "a.edf", caplog))
    assert len([each for each in said if each.strip()]) >= 10
    assert [each for each in said if MARKS.search(each)] == []


def test_dicom(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pydicom = pytest.importorskip("pydicom")
    make.dicom([{"signals": make.integers(5000)}], tmp_path / "a.dcm")
    whole = pydicom.dcmread(tmp_path / "a.dcm")
    texts = {"LO", "PN", "AS", "CS", "DT", "SH", "DS", "UI", "US", "UL"}
    tags = sorted({element.tag for element in whole.iterall() if element.VR in texts})
    said = []
    for tag in tags:
        data = pydicom.dcmread(tmp_path / "a.dcm")
        for element in data.iterall():
            if element.tag == tag and element.VR not in ("US", "UL"):
                element._value = "Zwiebelhuber^Xaver"
        try:
            data.save_as(tmp_path / "b.dcm")
        except Exception:  # pydicom refuses to write it
            continue
        said.append(told(tmp_path / "b.dcm", caplog))
    assert len([each for each in said if each.strip()]) >= 2
    assert [each for each in said if MARKS.search(each)] == []


def test_tables_beside_arrays(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    lines = ["; ".join(LEADS), *(["; ".join("0,1" for _ in LEADS)] * 600)]
    for number in (0, 5):
        changed = [*lines[:number], PERSON, *lines[number + 1 :]]
        (tmp_path / "a.csv").write_text("\n".join(changed), "utf-8")
        (tmp_path / "a.yaml").write_text(f"rate: 100\nunit: mV\n{PERSON}: {PERSON}\n", "utf-8")
        assert not MARKS.search(told(tmp_path / "a.csv", caplog))
        (tmp_path / "a.yaml").write_text("rate: 100\nunit: mV\n", "utf-8")
        assert not MARKS.search(told(tmp_path / "a.csv", caplog))
