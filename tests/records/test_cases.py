"""Recordings in the states in which people bring them: the table of ``make cases``, and what it cannot tell."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import table
import vendor_files as make

CASES = Path(table.__file__).parent

# What the manifest or rejected.csv must say.
SAID = {
    "philips_xli_1_03": "calibration pulse cut: 0.40 s at the end",
    "wfdb_b12_gain_4880_true_1000": "gain=4.88",
    "wfdb_b14_gain_2000000": "gain=2000",
    "wfdb_c01_gap_16": "gap: aVR 1.00 s",
    "wfdb_c02_three_missing_samples": "gap filled: V2 3 samples",
    "wfdb_e05_mat_v5_says_offset24": "MATLAB file",
    "wfdb_e06_mat_v73_says_offset24": "MATLAB file",
    "wfdb_e10_mitbih_MLII_V5": "missing lead",
    "wfdb_e16_arms_swapped_III_kept": "einthoven",
    "wfdb_f09_zero_padded_both_ends": "padding trimmed: 1.50 s at the begin; padding trimmed: 1.50 s at the end",
    "wfdb_f14_calibration_pulse_at_end": "calibration pulse cut: 0.40 s at the end",
}


@pytest.mark.process
@pytest.mark.parametrize("name", sorted(path.parent.name for path in CASES.glob("*/expect.json")))
def test_a_case_becomes_what_is_right(name: str) -> None:
    settings = {"leads": ["I", "II"]} if name == "wfdb_c03_unused_lead_missing" else {}
    got = table.run(CASES / name, **settings)
    assert table.mistakes(CASES / name, got) in ([], None), str(got)
    assert SAID.get(name, "") in str(got)
    assert len(got.reasons) + got.accepted >= 1
    if name not in SAID and name != "wfdb_c03_unused_lead_missing":
        assert not got.findings


@pytest.mark.process
def test_the_user_says_what_a_file_cannot() -> None:
    case = CASES / "wfdb_e10_mitbih_MLII_V5"
    got = table.run(case, leads=["II", "V5"], lead_names={"mlii": "II"})
    assert (got.accepted, got.manifest["age"][0], got.manifest["sex"][0]) == (1, 69, "male")
    right = table.run(CASES / "wfdb_b14_gain_2000000", gain=2000)
    assert (right.accepted, right.findings) == (1, "")


@pytest.mark.process
def test_a_file_of_many_is_judged_record_by_record(tmp_path: Path) -> None:
    h5py = pytest.importorskip("h5py")
    leads = list(make.integers(1000).values())
    signals = {
        name: np.pad(np.stack(leads) * 0.005 * factor, [(0, 0), (60, 60)]) for name, factor in (("7", 1), ("12", 2))
    }
    with h5py.File(tmp_path / "exams_part0.hdf5", "w") as file:
        file["exam_id"] = [7, 12]
        file["tracings"] = np.stack([*signals.values()]).transpose(0, 2, 1).astype(np.float32)
    (tmp_path / "exams.csv").write_text(
        "exam_id,age,is_male,1dAVb,RBBB,LBBB,SB,ST,AF,patient_id,trace_file\n"
        "12,41,False,False,False,False,False,False,True,1,exams_part0.hdf5\n"
        "7,40,True,False,False,False,False,False,False,2,exams_part0.hdf5\n"
    )
    for name, signal in signals.items():
        np.save(tmp_path / f"truth_{name}_mV.npy", signal)
    records = {name: {"samples": 1000} for name in signals}
    expect = {"rate": 400, "records": records, "labels": {"AF": [12]}, "expect": "the user states the unit"}

    def mistakes(**other) -> list[str] | None:
        (tmp_path / "expect.json").write_text(json.dumps(expect | other))
        return table.mistakes(tmp_path, got)

    (tmp_path / "expect.json").write_text(json.dumps(expect | {"expect": "2 records"}))
    assert "no description" in str(table.run(tmp_path))
    (tmp_path / "expect.json").write_text(json.dumps(expect | {"expect": "user states"}))
    got = table.run(tmp_path)
    assert mistakes() == []
    assert mistakes(labels={"AF": [7]}) == ["AF: [7]"]
    assert mistakes(records=records | {"7": {"samples": 999}}) == ["7: 400 Hz, 999 samples"]
    np.save(tmp_path / "truth_12_mV.npy", signals["7"])
    assert [wrong.partition(" mV")[0][:3] for wrong in mistakes() or []] == ["12:"]
