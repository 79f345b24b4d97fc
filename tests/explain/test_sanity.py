"""Maps lie where the truth is: the synthetic archive hides AF risk in the P wave and low LVEF in QRS, ST and T."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pandas as pd
import pytest

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def measured() -> pd.DataFrame:
    """Shares of the maps of a network trained for both; see the script for what they are."""
    script = Path(__file__).parents[2] / "benchmarks" / "explanations.py"
    specification = importlib.util.spec_from_file_location("explanations", script)
    explanations = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(explanations)
    model = explanations.trained(explanations.Cohort(1200, seed=1))
    return explanations.measure(model, explanations.Cohort(300, seed=2))


def test_the_map_of_af_risk_lies_on_the_p_wave(measured: pd.DataFrame) -> None:
    shares = measured.loc["high_af_risk"]
    assert shares["trained"] > shares["chance"] + 0.08  # measured 0.31 against 0.14


def test_the_map_of_low_lvef_lies_on_qrs_and_st(measured: pd.DataFrame) -> None:
    shares = measured.loc["low_lvef"]
    assert shares["trained"] > shares["chance"] + 0.05  # measured 0.33 against 0.23


def test_one_network_looks_elsewhere_for_another_outcome(measured: pd.DataFrame) -> None:
    # Measured 0.24 and, by the processor, 0.10 to 0.20 more.
    assert (measured["trained"] > measured["other_class"] + 0.05).all()


def test_random_weights_destroy_the_maps(measured: pd.DataFrame) -> None:
    assert (measured["correlation"] < 0.3).all()
    shares = measured.loc["high_af_risk"]
    assert shares["random"] < shares["chance"] + 0.08
