from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from matplotlib.image import imread

from ssl_ecg.evaluation import (
    AUPRC,
    AUROC,
    MACRO_AUROC,
    calibration_at,
    decision_curve,
    describe,
    kaplan_meier_by_group,
    reliability,
    risk_groups,
)
from ssl_ecg.report import draw_task
from ssl_ecg.report.survival_figures import kaplan_meier_figure
from ssl_ecg.report.task_figures import calibration_figure, subgroups_figure

BREAKS = np.linspace(0, 1825, 26)


def words(path: Path) -> list[str]:
    """The texts of a figure, in the order in which they were drawn."""
    return re.findall(r"<text[^>]*>([^<]+)</text>", path.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def followed() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    risk = rng.uniform(0.02, 0.6, 400)
    time = rng.exponential(-1825 / np.log1p(-risk))
    end = rng.uniform(300, 3000, 400)
    return np.minimum(time, end), (time <= end).astype(float), risk


@pytest.fixture(scope="module")
def survival(tmp_path_factory: pytest.TempPathFactory, followed: tuple[np.ndarray, ...]) -> Path:
    folder = tmp_path_factory.mktemp("survival")
    time, event, risk = followed
    curve = {f"survival_{day:g}": (1 - risk) ** (day / 1825) for day in BREAKS[1:]}
    pd.DataFrame({"record_id": np.arange(400), "risk_at_horizon": risk, **curve}).to_csv(folder / "predictions.csv")
    calibration_at(time, event, risk, 1825).to_csv(folder / "calibration.csv", index=False)
    quarters = kaplan_meier_by_group(time, event, risk_groups(risk), BREAKS)
    quarters.to_csv(folder / "kaplan_meier.csv", index=False)
    assert draw_task(folder) == ["calibration.svg", "kaplan_meier.svg", "survival_curves.svg"]
    return folder


def test_kaplan_meier_curves_stand_over_their_numbers_at_risk(survival: Path) -> None:
    table, drawn = pd.read_csv(survival / "kaplan_meier.csv"), words(survival / "kaplan_meier.svg")
    years = table[table["time"].isin([0, 365, 730, 1095, 1460, 1825])]
    for group, name in enumerate(
        ("lowest quarter of risk", "second quarter", "third quarter", "highest quarter of risk")
    ):
        assert drawn.count(name) == 2  # beside the curve and beside the row
        row = years.loc[years["group"] == group, "at_risk"].astype(str).tolist()
        first = next(i for i in range(len(drawn)) if drawn[i : i + 6] == row)
        assert drawn[first + 6] == name
    assert drawn[:7] == ["0", "1", "2", "3", "4", "5", "Years after the ECG"]


def test_other_groups_and_short_follow_up_are_named_for_what_they_are(tmp_path: Path, followed) -> None:
    time, event, risk = followed
    table = kaplan_meier_by_group(time, event, risk_groups(risk, 3), np.linspace(0, 100, 6))
    kaplan_meier_figure(table, tmp_path / "three.svg")
    drawn = words(tmp_path / "three.svg")
    assert {"risk group 1 of 3", "risk group 3 of 3", "Days after the ECG", "100"} <= set(drawn)


def test_predicted_curves_are_of_records_spread_by_risk(survival: Path) -> None:
    drawn = words(survival / "survival_curves.svg")
    assert "mean of 400 records" in drawn
    assert [text for text in drawn if "lower risk" in text] == [
        f"{quantile}\N{NO-BREAK SPACE}% have a lower risk" for quantile in (95, 75, 50, 25, 5)
    ]


@pytest.fixture(scope="module")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fourteen classes, of which the last has no positive; a decision curve and subgroups."""
    folder, rng = tmp_path_factory.mktemp("labelled"), np.random.default_rng(1)
    classes = [f"class_{c}" for c in range(14)]
    labels = (rng.random((500, 14)) < np.linspace(0.5, 0.05, 14)).astype(np.float32)
    labels[:, 13] = 0
    scores = np.clip(0.3 * labels + rng.uniform(0, 0.6, labels.shape), 0, 1)
    reliability(labels, scores, classes).to_csv(folder / "calibration.csv", index=False)
    per_class = pd.DataFrame({"class": classes, "positives_test": labels.sum(axis=0).astype(int), "auroc": 0.8})
    per_class["auprc"] = np.where(per_class["positives_test"] > 0, 0.5, np.nan)
    per_class.to_csv(folder / "per_class.csv", index=False)
    decision_curve(labels[:, 0], scores[:, 0]).to_csv(folder / "decision_curve.csv", index=False)
    groups = pd.DataFrame(
        [
            ("sex", "female", 300, 120, 33, "macro_auroc", 0.81, 0.7, 0.9),
            ("sex", "female", 300, 120, 33, "macro_auprc", 0.41, 0.3, 0.5),
            ("sex", "unknown", 2, 1, 0, "macro_auroc", np.nan, np.nan, np.nan),
            ("sex", "unknown", 2, 1, 0, "macro_auprc", np.nan, np.nan, np.nan),
            ("a_long_name_of_a_device", "the second of them", 9, 3, 1, "macro_auroc", 0.66, np.nan, np.nan),
        ],
        columns=["column", "group", "records", "patients", "positives_AF", "metric", "mean", "low", "high"],
    )
    groups.to_csv(folder / "subgroups.csv", index=False)
    metrics = {"macro_auroc": 0.8, "macro_auroc_low": 0.75, "macro_auroc_high": 0.86}
    (folder / "metrics.json").write_text(json.dumps(metrics), encoding="utf-8")
    (folder / "meanings.json").write_text(json.dumps(describe((MACRO_AUROC,), (AUROC, AUPRC))), encoding="utf-8")
    assert draw_task(folder) == ["per_class.svg", "calibration.svg", "decision_curve.svg", "subgroups.svg"]
    return folder


def test_classes_are_drawn_by_frequency_and_calibration_for_twelve(labelled: Path) -> None:
    per_class = pd.read_csv(labelled / "per_class.csv").sort_values("positives_test", ascending=False)
    shown = [f"{name.replace('_', ' ')}  {count}" for name, count in per_class.iloc[:, :2].itertuples(index=False)]
    assert [text for text in words(labelled / "per_class.svg") if text.startswith("class")] == shown
    assert {"AUROC, test records", "AUPRC, test records"} <= set(words(labelled / "per_class.svg"))
    drawn = words(labelled / "calibration.svg")
    titles = [text for text in drawn if text.startswith("class")]
    assert titles == [name.replace("_", " ") for name in per_class["class"][:12]]
    assert any("12 most frequent of 14" in text for text in drawn)
    assert "Share of positive records, 95 % interval" in drawn


def test_calibration_of_a_rare_class_fills_its_panel(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    chance = rng.beta(1, 60, (4000, 1))
    table = reliability(rng.random((4000, 1)) < chance, chance, ["low_lvef"])
    calibration_figure(table, tmp_path / "calibration.svg")
    assert table["high"].max() <= 0.1
    drawn = words(tmp_path / "calibration.svg")
    assert [text for text in drawn if text.endswith("%")][:3] == [f"{x}\N{NO-BREAK SPACE}%" for x in ("0", "5", "10")]


def test_subgroups_show_what_they_do_not_define(labelled: Path) -> None:
    drawn = words(labelled / "subgroups.svg")
    for text in ("all", "0.800 (0.750 to 0.860)", "0.810 (0.700 to 0.900)", "0.660", "not defined", "120 (33)"):
        assert text in drawn
    assert "a long name of a device" in drawn
    assert "macro AUROC, 95 % interval" in drawn
    assert "0.410 (0.300 to 0.500)" not in drawn  # only the first metric


def test_decisions_are_named(labelled: Path) -> None:
    drawn = words(labelled / "decision_curve.svg")
    assert {"on those whom the model names", "on everyone", "on no one", "Net benefit of acting"} <= set(drawn)


def test_text_beside_a_forest_is_not_cut_off(labelled: Path, tmp_path: Path) -> None:
    subgroups_figure(pd.read_csv(labelled / "subgroups.csv"), tmp_path / "forest.png", MACRO_AUROC)
    pixels = imread(tmp_path / "forest.png")[..., :3].mean(axis=2)
    assert (pixels[:, [0, 1, -2, -1]] > 0.9).all()
    assert pixels.min() < 0.3


def test_a_folder_without_tables_has_no_figures(tmp_path: Path) -> None:
    assert draw_task(tmp_path) == []
