"""Recordings in the states in which people bring them: the table of ``make cases``, and what it cannot tell."""

from __future__ import annotations

from pathlib import Path

import pytest
import table

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
