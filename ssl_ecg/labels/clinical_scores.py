"""CHARGE-AF: the risk of atrial fibrillation within five years from what a clinic knows without an ECG.

The simple model of Alonso et al. ("Simple Risk Model Predicts Incidence of Atrial Fibrillation in a Racially and
Geographically Diverse Population", J Am Heart Assoc 2013;2:e000102), for people of 46 to 94 years without AF:

    score = sum of coefficient x value,    risk = 1 - 0.9718412736 ^ exp(score - 12.58156)

The paper itself was not at hand: coefficients, baseline and mean are those on which independent public implementations
that cite it agree, among them the acribis_scores package and the analysis code of the ECG-AI group (Khurshid et al.).
"""

from __future__ import annotations

import numpy as np
import pandas as pd

BASELINE, MEAN = 0.9718412736, 12.58156

COEFFICIENTS = {
    "age": 0.508 / 5,
    "white": 0.465,
    "height_cm": 0.248 / 10,
    "weight_kg": 0.115 / 15,
    "systolic_mmhg": 0.197 / 20,
    "diastolic_mmhg": -0.101 / 10,
    "smoker": 0.359,
    "antihypertensives": 0.349,
    "diabetes": 0.237,
    "heart_failure": 0.701,
    "myocardial_infarction": 0.496,
}
"""of a year, a centimetre, a kilogram, a millimetre of mercury; of a yes, 1, against a no, 0"""
CHARGE_AF = "charge_af"
CHARGE_AF_COLUMNS = tuple(COEFFICIENTS)
MEASURED = ("age", "height_cm", "weight_kg", "systolic_mmhg", "diastolic_mmhg")


def charge_af(table: pd.DataFrame) -> pd.DataFrame:
    """Compute CHARGE-AF of each row.

    Args:
        table: columns ``CHARGE_AF_COLUMNS``: age in years, height in centimetres, weight in kilograms, pressures in
            millimetres of mercury; and 1, 0 or blank for white, current smoker, antihypertensive medication, diabetes,
            heart failure and myocardial infarction.

    Returns:
        ``score``, the linear predictor, which Cox regression takes, and ``risk`` within five years, between 0 and 1;
        blank where a value is.

    Raises:
        ValueError: a column is missing, or holds what is no number or no yes or no.
    """
    if missing := [name for name in CHARGE_AF_COLUMNS if name not in table]:
        raise ValueError(f"charge_af: the table has no column {', '.join(missing)}")
    score = pd.Series(0.0, table.index)
    for name, coefficient in COEFFICIENTS.items():
        values = pd.to_numeric(table[name], errors="coerce")
        fine = values > 0 if name in MEASURED else values.isin((0, 1))
        if len(wrong := table[name][table[name].notna() & ~fine]):
            wanted = "hold numbers above 0" if name in MEASURED else "be 1, 0 or blank"
            raise ValueError(f"charge_af: column {name!r} must {wanted}, got {str(wrong.iloc[0])!r}")
        score += coefficient * values
    return pd.DataFrame({"score": score, "risk": 1 - BASELINE ** np.exp(score - MEAN)})
