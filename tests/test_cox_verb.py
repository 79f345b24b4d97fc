"""Hazard ratios of a table against the partial likelihood as Efron's paper writes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.optimize import minimize

import ssl_ecg
from ssl_ecg.archive import Archive, open_archive
from ssl_ecg.cli import main
from ssl_ecg.synthetic import synthesize

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return open_archive(synthesize(tmp_path_factory.mktemp("archive"), records=150, seed=3, duration=5, workers=1))


@pytest.fixture
def table(archive: Archive) -> pd.DataFrame:
    rng = np.random.default_rng(0)
    burden = rng.uniform(0, 40, len(archive))
    onset = rng.exponential(400 * np.exp(-0.05 * burden))
    end = rng.uniform(50, 500, len(archive))
    return pd.DataFrame(
        {
            "record_id": archive.manifest["record_id"],
            "time_days": np.ceil(np.minimum(onset, end)),
            "event": (onset <= end).astype(int),
            "pvc_burden": burden,
        }
    )


def test_hazard_ratios_of_pvc_burden(
    archive: Archive, table: pd.DataFrame, efron: Callable[..., float], tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    table.loc[3, "pvc_burden"] = np.nan
    table.to_csv(tmp_path / "t.csv", index=False)
    words = [str(archive.folder), str(tmp_path / "t.csv"), str(tmp_path / "out"), "covariates=[pvc_burden,age]"]
    assert main(["cox", *words]) == 0
    assert "pvc_burden" in capsys.readouterr().out
    found = pd.read_csv(tmp_path / "out" / "cox.csv")
    assert found["model"].tolist() == ["alone", "alone", "together", "together"]

    manifest = archive.manifest.assign(order=range(len(archive)))
    dated = manifest.sort_values(["recorded_at", "order"], na_position="first", kind="stable")
    rows = dated.groupby("patient_id")["order"].last().to_numpy()
    x = np.column_stack([table["pvc_burden"], manifest["age"]]).astype(np.float32).astype(float)[rows]
    time, event = table["time_days"].to_numpy()[rows], table["event"].to_numpy()[rows] == 1
    known = ~np.isnan(x).any(axis=1)
    x, time, event = x[known], time[known], event[known]
    assert found["records"].unique().tolist() == [len(x)]
    assert found["events"].unique().tolist() == [event.sum()]
    middle, unit = x.mean(0), x.std(0)
    best = minimize(efron, [0.0, 0.0], args=((x - middle) / unit, time, event), method="Nelder-Mead", tol=1e-9).x / unit
    together = found[found["model"] == "together"]
    np.testing.assert_allclose(together["coefficient"], best, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(together["hazard_ratio"], np.exp(best), rtol=1e-3)
    np.testing.assert_allclose(together["hazard_ratio_sd"], np.exp(best * unit), rtol=1e-3)
    ends = np.exp(together["coefficient"] + 1.959964 * together["standard_error"])
    np.testing.assert_allclose(together["hazard_ratio_high"], ends, rtol=1e-4)
    alone = minimize(efron, [0.0], args=(((x - middle) / unit)[:, :1], time, event), method="Nelder-Mead", tol=1e-9).x
    np.testing.assert_allclose(found["coefficient"][0], alone / unit[0], rtol=1e-3)
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"| events | {event.sum()} |" in card


def test_prevalent_disease_and_impossible_columns(archive: Archive, table: pd.DataFrame, tmp_path: Path) -> None:
    table["prevalent"] = (np.arange(len(table)) % 2).astype(int)
    found = ssl_ecg.cox(archive, table, tmp_path / "out", covariates=["pvc_burden"])
    free = archive.manifest["patient_id"][table["prevalent"] == 0].nunique()
    assert found["records"].unique().tolist() == [free]
    with pytest.raises(ValueError, match=r"covariates=\(\): there is nothing to regress on"):
        ssl_ecg.cox(archive, table, tmp_path / "b")
    with pytest.raises(ValueError, match="has no column burden"):
        ssl_ecg.cox(archive, table, tmp_path / "b", covariates=["burden"])
    with pytest.raises(ValueError, match="must be days from 0 on, and 1 or 0"):
        ssl_ecg.cox(archive, table.assign(event=2), tmp_path / "b", covariates=["pvc_burden"])
