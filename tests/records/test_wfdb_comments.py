"""Age, sex and the patient's number in the comments of headers, as publishers write them."""

from __future__ import annotations

import pytest

from ssl_ecg.records.wfdb_comments import person_of


@pytest.mark.parametrize(
    ("comment", "age"),
    [
        ("Age: 74", 74),
        ("<age>: 51", 51),
        ("  AGE :  3.5", 3.5),
        ("age=0,5", 0.5),
        ("Age: 6 months", 0.5),
        ("Age: 18M", 1.5),
        ("Age: 056Y", 56),
        ("Age: 056 years", 56),
        ("Age: 89+", 89),
        ("Age: 3 weeks", 0.06),
        ("Age: 10D", 0.03),
        ("Age: 69 M", None),  # months or a man
        ("Age: 300", None),
        ("Age: NaN", None),
        ("Age: 12abc", None),
        ("Dosage: 12", None),
        ("69 M 1085 1629 x1", 69),
        ("-1 F 2 3 x1", None),
    ],
)
def test_age(comment: str, age: float | None) -> None:
    assert person_of([comment]).age == age


@pytest.mark.parametrize(
    ("comment", "sex"),
    [
        ("Sex: Male", "male"),
        ("<sex>: F", "female"),
        ("Gender=female", "female"),
        ("Age: 62  Sex: M", "male"),
        ("24 F 9 9 x2", "female"),
        ("Sex: Mixed", None),
        ("Sx: M", None),
        ("Sex: Unknown", None),
    ],
)
def test_sex(comment: str, sex: str | None) -> None:
    assert person_of([comment]).sex == sex


@pytest.mark.parametrize(
    ("comment", "patient"),
    [
        ("<subject_id>: 10001217", "10001217"),
        ("Patient ID: A-17", "A-17"),
        ("patient: Erika Mustermann", None),
        ("Patient ID: Erika Mustermann 17", None),
        ("Patient ID: unknown", None),
    ],
)
def test_only_numbers_stand_for_patients(comment: str, patient: str | None) -> None:
    assert person_of(["a line before", comment]).patient_id == patient
