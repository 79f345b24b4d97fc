"""What the comments of a WFDB header say of the patient, as publishers write it: age, sex and a number for the person.

Names, dates of birth and free text are not looked at.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import NamedTuple

# All are matched from the begin of one line, whose length the header bounds, so that none takes longer than the line.
_AGE = re.compile(r"[\s#<]*age\s*>?[\s:=]+[<>]?\s*(\d{1,3}(?:[.,]\d{1,6})?)(\s*)\+?\s*([a-z]*)", re.IGNORECASE)
_SEX = re.compile(r"(?:^|[\s#<])(?:sex|gender)\s*>?[\s:=]+(female|male|f|m)\b", re.IGNORECASE)
_HOLTER = re.compile(r"[\s#]*(-?\d{1,3})\s+([MF])(?:\s|$)")  # MIT-BIH: "69 M 1085 1629 x1"
_PERSON = re.compile(r"[\s#<]*(?:patient|subject)[ _-]?(?:id|number|no)\.?\s*>?\s*[:=]\s*(\S{1,64})\s*$", re.IGNORECASE)
_ID = re.compile(r"[\w.-]*\d[\w.-]*", re.ASCII)

_YEARS = {"": 1.0, "y": 1.0, "yr": 1.0, "yrs": 1.0, "yo": 1.0, "year": 1.0, "years": 1.0}
_YEARS |= dict.fromkeys(("m", "mo", "mos", "month", "months"), 1 / 12)
_YEARS |= dict.fromkeys(("w", "wk", "wks", "week", "weeks"), 7 / 365.25)
_YEARS |= dict.fromkeys(("d", "day", "days"), 1 / 365.25)


class Person(NamedTuple):
    """Age in years, sex, and the patient's id; None where not stated."""

    age: float | None
    sex: str | None
    patient_id: str | None


def person_of(comments: Iterable[str]) -> Person:
    """Return what the first comments that say so say."""
    age = sex = patient_id = None
    for number, line in enumerate(comments):
        if age is None and (match := _AGE.match(line)):
            age = _years(match[1], match[3], apart=bool(match[2]))
        if sex is None and (match := _SEX.search(line)):
            sex = _sex(match[1])
        if patient_id is None and (match := _PERSON.match(line)) and _ID.fullmatch(match[1]):
            patient_id = match[1]
        if not number and (match := _HOLTER.match(line)):
            age, sex = _years(match[1]), _sex(match[2])
    return Person(age, sex, patient_id)


def _sex(word: str) -> str:
    return {"m": "male", "f": "female"}[word[0].lower()]


def _years(number: str, unit: str = "", apart: bool = False) -> float | None:
    # "18M" is 18 months; "69 M" may as well be a man of 69.
    factor = None if apart and unit.lower() == "m" else _YEARS.get(unit.lower(), 1.0 if apart else None)
    if factor is None:
        return None
    years = round(float(number.replace(",", ".")) * factor, 2)
    return years if 0 <= years <= 120 else None
