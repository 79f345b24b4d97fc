"""CHARGE-AF against worked examples."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.labels import charge_af

PERSON = {
    "age": 65,
    "white": 1,
    "height_cm": 170,
    "weight_kg": 80,
    "systolic_mmhg": 130,
    "diastolic_mmhg": 80,
    "smoker": 0,
    "antihypertensives": 1,
    "diabetes": 0,
    "heart_failure": 0,
    "myocardial_infarction": 0,
}


def test_risks_are_those_of_worked_examples() -> None:
    young = dict(PERSON, age=45, white=0, height_cm=175, weight_kg=70, systolic_mmhg=120, diastolic_mmhg=75)
    found = charge_af(pd.DataFrame([PERSON, {**young, "antihypertensives": 0}, {**PERSON, "diabetes": np.nan}]))
    # 13 x .508 + .465 + 17 x .248 + 80 / 15 x .115 + 6.5 x .197 - 8 x .101 + .349
    assert found["score"][0] == pytest.approx(6.604 + 0.465 + 4.216 + 0.613333 + 1.2805 - 0.808 + 0.349, abs=1e-6)
    # Percent, as other implementations publish them with two decimals.
    np.testing.assert_allclose(found["risk"][:2] * 100, [3.23, 0.19], atol=0.005)
    assert found.iloc[2].isna().all()


def test_what_cannot_be_is_named() -> None:
    with pytest.raises(ValueError, match="charge_af: the table has no column smoker"):
        charge_af(pd.DataFrame([PERSON]).drop(columns="smoker"))
    with pytest.raises(ValueError, match="column 'smoker' must be 1, 0 or blank, got '2'"):
        charge_af(pd.DataFrame([{**PERSON, "smoker": 2}]))
    with pytest.raises(ValueError, match="column 'height_cm' must hold numbers above 0, got 'tall'"):
        charge_af(pd.DataFrame([{**PERSON, "height_cm": "tall"}]))
