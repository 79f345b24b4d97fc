"""Hazard ratios of a table against the partial likelihood as Efron's paper writes it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from scipy.optimize import minimize
from scipy.special import logit

import ssl_ecg
from ssl_ecg.archive import Archive, open_archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.cli import main
from ssl_ecg.synthetic import synthesize
from ssl_ecg.tasks import Classifier, create_task, save_classifier
from ssl_ecg.training import patient_hash
from ssl_ecg.verbs.cox import regressions

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


def test_what_a_network_adds_to_pvc_burden(read_oracle: Callable[[str], dict[str, np.ndarray]]) -> None:
    oracle = read_oracle("cox")
    patients = pd.DataFrame(oracle["patients"].item())
    names = ("pvc_burden", "age", "sex", "network")
    found = regressions(names, patients[[*names]].to_numpy(float), patients["time_days"], patients["event"].to_numpy())
    assert found["model"].tolist() == ["alone"] * 4 + ["together"] * 4 + ["without_network"] * 3
    for model, fit in zip(("together", "without_network"), oracle["fits"][-2:]):
        rows = found[found["model"] == model]
        np.testing.assert_allclose(rows["hazard_ratio"], np.exp(fit["coefficient"]), rtol=1e-5)
        np.testing.assert_allclose(rows["hazard_ratio_high"], fit["high"], rtol=1e-5)
        np.testing.assert_allclose(rows["p_value"], fit["p_value"], rtol=1e-4)
        spread = patients[fit["covariates"]].std(ddof=0)
        np.testing.assert_allclose(rows["hazard_ratio_sd"], np.exp(fit["coefficient"] * spread), rtol=1e-5)
    index = found.drop_duplicates("model").set_index("model")["c_index"]
    # Of other folds, so lower than what lifelines finds of the same patients.
    assert oracle["c_index_of_together"] - 0.03 < index["together"] < oracle["c_index_of_together"]
    (row,) = found[found["model"] == "together"].drop_duplicates("gain").to_dict("records")
    assert row["gain"] == pytest.approx(index["together"] - index["without_network"])
    assert 0 < row["gain_low"] < row["gain"] < row["gain_high"]
    assert found["gain"].isna().sum() == 7


def test_the_risk_of_a_model_is_a_covariate(archive: Archive, table: pd.DataFrame, tmp_path: Path) -> None:
    def saved(task: str, patients: frozenset[str] = frozenset(), classes: tuple[str, ...] | None = None) -> Path:
        torch.manual_seed(0)
        encoder = Encoder("xresnet1d10", {"width": 4}, archive.settings, patients=patients)
        model = Classifier(encoder, create_task(task, classes)).eval()
        torch.nn.init.normal_(model.head.weight)
        return save_classifier(model, tmp_path / f"{task}{len(patients)}", "card")

    table.loc[[3, 7], "pvc_burden"] = np.nan
    folder = saved("cardiomyopathy")
    found = ssl_ecg.cox(archive, table, tmp_path / "out", model=folder, covariates=["pvc_burden", "age"])
    assert found["covariate"].tolist() == ["pvc_burden", "age", "network"] * 2 + ["pvc_burden", "age"]
    risk = ssl_ecg.predict(folder, archive, tmp_path / "predicted").set_index("record_id")["low_lvef_score"]
    given = table.assign(risk=logit(risk.loc[table["record_id"]].to_numpy(float)))
    by_hand = ssl_ecg.cox(archive, given, tmp_path / "hand", covariates=["pvc_burden", "age", "risk"])
    columns = ["hazard_ratio", "hazard_ratio_sd_low", "p_value", "c_index", "c_index_low"]
    together = (each[each["model"] == "together"][columns] for each in (found, by_hand))
    np.testing.assert_allclose(*together, rtol=1e-2)
    missing = dict(zip(found["covariate"], found["missing"]))
    assert missing["pvc_burden"] == 2 - table["record_id"].iloc[[3, 7]].isin(_not_last(archive)).sum()
    assert missing["network"] == 0
    card = (tmp_path / "out" / "README.md").read_text(encoding="utf-8")
    assert f"| patients without pvc_burden | {missing['pvc_burden']} |" in card
    assert "gain by the network" in card
    survival = ssl_ecg.cox(archive, table, tmp_path / "survival", model=saved("af_survival"))
    assert survival["model"].tolist() == ["alone", "together"]

    known = archive.manifest["patient_id"].iloc[:3]
    seen = saved("cardiomyopathy", frozenset(map(patient_hash, known)))
    with pytest.raises(ValueError, match=r"test patients are among those the encoder learned from"):
        ssl_ecg.cox(archive, table, tmp_path / "b", model=seen)
    left = ssl_ecg.cox(archive, table, tmp_path / "b", model=seen, seen_patients="leave_out")
    assert survival["records"][0] - left["records"][0] == known.nunique()
    with pytest.raises(ValueError, match="model: it tells 2 classes apart"):
        ssl_ecg.cox(archive, table, tmp_path / "c", model=saved("arrhythmia", classes=("a", "b")))
    with pytest.raises(ValueError, match="network is what model=FOLDER adds"):
        ssl_ecg.cox(archive, table, tmp_path / "c", covariates=["network"])


def _not_last(archive: Archive) -> set[str]:
    dated = archive.manifest.sort_values("recorded_at", kind="stable")
    return set(dated["record_id"]) - set(dated.groupby("patient_id")["record_id"].last())
