"""What files of all makers call leads, sexes and ages, in the terms of a record."""

from __future__ import annotations

import math
from contextlib import suppress
from datetime import date, datetime, timedelta

from ssl_ecg.records.record import RecordError, canonical_lead

_YEARS = {"y": 1.0, "a": 1.0, "m": 1 / 12, "w": 7 / 365.25, "d": 1 / 365.25, "h": 1 / 8766}
_SEXES = {"m": "male", "male": "male", "man": "male", "f": "female", "female": "female", "w": "female"}


def lead_of(name: str) -> str | None:
    """Return the lead that a name means, None for other signals; see :func:`canonical_lead`."""
    try:
        return canonical_lead(name)
    except RecordError:
        return None


def sex_of(word: object) -> str | None:
    """Return ``"female"``, ``"male"`` or None for what a file says."""
    return _SEXES.get(str(word).strip().lower())


def age_of(value: float | str | None, unit: str = "years") -> float | None:
    """Return an age in years to one decimal (two below two years), or None where it is not one."""
    try:
        number = float(str(value).replace(",", "."))
        years = number * _YEARS[unit.strip().lower()[:1] or "y"]
    except (KeyError, ValueError):
        return None
    if not (math.isfinite(years) and 0 <= years <= 120):
        return None
    return round(years, 1 if years >= 2 else 2)


def age_between(birth: date | datetime | None, at: date | datetime | None) -> float | None:
    """Return the age in years at a date; the date of birth itself is kept nowhere."""
    if birth is None or at is None:
        return None
    return age_of((date(at.year, at.month, at.day) - date(birth.year, birth.month, birth.day)).days, "days")


def date_of(text: str) -> date | None:
    """Return the day of ``20130305``, ``2013-03-05`` or ``05-MAR-2013``; the middle of a year or month alone."""
    text = text.strip()
    form, middle = {4: ("%Y", 181), 6: ("%Y%m", 14), 8: ("%Y%m%d", 0), 10: ("%Y-%m-%d", 0)}.get(
        len(text), ("%d-%b-%Y", 0)
    )
    with suppress(ValueError):
        return datetime.strptime(text, form).date() + timedelta(days=middle)
    return None
