"""GE CardioSoft XML."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import vendor_files as make

from ssl_ecg.records import LEADS, RecordError, read_records


def test_the_strip_is_read_and_not_the_median(tmp_path: Path) -> None:
    signals = make.integers(1000)
    (tmp_path / "ecg.xml").write_bytes(make.cardiosoft(signals))
    [record] = read_records(tmp_path / "ecg.xml")
    assert np.allclose(record.select(LEADS), np.stack([signals[lead] for lead in LEADS]) * 0.005, atol=1e-6)
    assert (record.sampling_rate, record.age, record.sex, record.patient_id) == (500, 61, "male", "C-1")
    assert str(record.recorded_at) == "2015-04-03 09:01:02"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (make.cardiosoft(make.integers(100), unit="mmPerLsb"), "unknown unit"),
        (make.cardiosoft(make.integers(100), promised=5000), "truncated signal: lead I has 100 of 5000"),
        (make.cardiosoft(make.integers(100)).replace(b"\n\t", b"\n\tfoul,"), "unreadable: lead I is not a list"),
        (make.cardiosoft({"Resp": np.arange(100)}), "missing lead"),
        (b"<CardiologyXML></CardiologyXML>", "no waveform"),
    ],
)
def test_what_cannot_be_read_is_refused(tmp_path: Path, content, reason) -> None:
    (tmp_path / "ecg.xml").write_bytes(content)
    with pytest.raises(RecordError, match=reason):
        list(read_records(tmp_path / "ecg.xml"))
