from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

from ssl_ecg.evaluation import bootstrap_metrics, group_by, macro_metrics, subgroup_metrics


def grouped(name: str, values: list) -> tuple[list[str], list[str]]:
    found = group_by(pd.Series(values, name=name, index=range(7, 7 + len(values))))
    return list(found), list(found.categories)


def test_ages_fall_into_bands_that_begin_at_50_65_and_80() -> None:
    members, order = grouped("age", [80, 17.5, 49.9, 50, 64.9, 65, 79.9, None, 101])
    assert members[:4] == ["80 and above", "below 50", "below 50", "50 to 64"]
    assert members[4:] == ["50 to 64", "65 to 79", "65 to 79", "unknown", "80 and above"]
    assert order == ["below 50", "50 to 64", "65 to 79", "80 and above", "unknown"]
    assert grouped("age", [70, 90])[1] == ["65 to 79", "80 and above"]


def test_values_are_groups_and_blanks_one_of_their_own() -> None:
    assert grouped("sex", ["male", "female", None, " "]) == (
        ["male", "female", "unknown", "unknown"],
        ["female", "male", "unknown"],
    )
    assert grouped("lead_off", [1, 0, np.nan, 1]) == (["1", "0", "unknown", "1"], ["0", "1", "unknown"])
    assert grouped("paced", [True, False, True]) == (["yes", "no", "yes"], ["no", "yes"])
    assert grouped("serial", [1234567, 1234568, np.nan])[1] == ["1234567", "1234568", "unknown"]
    assert grouped("device", ["new", 1, "1", None, 10])[1] == ["1", "10", "new", "unknown"]
    assert grouped("site", [None, None]) == (["unknown", "unknown"], ["unknown"])


def test_numbers_are_cut_into_quarters_with_borders_below() -> None:
    members, order = grouped("bmi", [*range(1, 9), None])
    borders = np.quantile(range(1, 9), (0.25, 0.5, 0.75))
    assert order == ["up to 2.75", "2.75 to 4.5", "4.5 to 6.25", "above 6.25", "unknown"]
    assert members[:-1] == [order[int((borders < value).sum())] for value in range(1, 9)]
    assert grouped("as_text", [str(value) for value in range(1, 9)])[1] == order[:-1]
    fine = [1000.01, 1000.02, 1000.03, 1000.04, 1000.05, 1000.06, 1000.07, 1000.08]
    members, order = grouped("fine", fine)  # borders keep the digits that tell them apart
    assert [members.count(name) for name in order] == [2, 2, 2, 2]
    members, order = grouped("mostly_one", [1] * 20 + [2, 3, 4, 5, 6])
    assert (order, members.count("up to 1"), members[-1]) == (["up to 1", "above 1"], 20, "above 1")


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("patient_id", ["a", "b"], "subgroups='patient_id': a table of single patients"),
        ("record_id", [1, 2], "subgroups='record_id'"),
        ("device", [f"number {i}" for i in range(21)], "subgroups='device': 21 different values"),
        ("age", [50, -3], "'age': '-3'"),
        ("age", ["old", 50], "'age': 'old'"),
    ],
)
def test_columns_that_make_no_groups_are_refused(name: str, values: list, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        grouped(name, values)


@pytest.fixture(scope="module")
def tested() -> dict[str, np.ndarray]:
    """300 records of 100 patients with two outcomes; group "weak" is scored worse, "tiny" has one patient."""
    rng = np.random.default_rng(0)
    patient = np.repeat(np.arange(100), 3)
    labels = (rng.random((300, 2)) < 0.4).astype(np.float32)
    labels[rng.random((300, 2)) < 0.05] = np.nan
    group = np.where(patient < 50, "strong", "weak").astype(object)
    noise = np.where(group == "weak", 3.0, 0.7)[:, None] * rng.standard_normal((300, 2))
    scores = 1 / (1 + np.exp(-(np.nan_to_num(labels, nan=0.5) + noise)))
    group[patient == 0] = "tiny"
    labels[patient == 0] = [[0, 1], [1, 0], [0, 0]]
    group[patient == 1] = "only negatives"
    labels[patient == 1] = 0
    return {"targets": labels, "scores": scores, "patient": patient, "group": group}


def test_each_group_is_measured_as_if_it_were_alone(tested: dict[str, np.ndarray]) -> None:
    order = ["weak", "strong", "tiny", "only negatives"]
    groups = {"quality": pd.Categorical(tested["group"], categories=order)}
    labels, scores = tested["targets"], tested["scores"]
    table = subgroup_metrics(
        labels, scores, tested["patient"], groups, macro_metrics, labels, ("AF", "LBBB"), replicates=200, seed=3
    )
    assert list(table) == [
        *("column", "group", "records", "patients", "positives_AF", "positives_LBBB", "negatives_AF", "negatives_LBBB"),
        *("metric", "mean", "low", "high"),
    ]
    assert table["group"].tolist() == [name for name in order for _ in range(2)]
    assert table["metric"].tolist() == ["macro_auroc", "macro_auprc"] * 4
    by = table.set_index(["group", "metric"])
    for name in ("weak", "strong"):
        here = tested["group"] == name
        for metric, reference in (("macro_auroc", roc_auc_score), ("macro_auprc", average_precision_score)):
            known = [here & ~np.isnan(labels[:, c]) for c in range(2)]
            expected = np.mean([reference(labels[k, c], scores[k, c]) for c, k in enumerate(known)])
            assert by.loc[(name, metric), "mean"] == pytest.approx(expected)
        alone = bootstrap_metrics(labels[here], scores[here], tested["patient"][here], 200, 3)["macro_auroc"]
        assert tuple(by.loc[(name, "macro_auroc"), ["mean", "low", "high"]]) == pytest.approx(alone[:3])
        row = by.loc[(name, "macro_auroc")]
        assert (row["records"], row["patients"]) == (here.sum(), len(np.unique(tested["patient"][here])))
        assert row["positives_AF"] == np.nansum(labels[here, 0])
        assert row["negatives_AF"] == (labels[here, 0] == 0).sum()
    assert by.loc[("weak", "macro_auroc"), "high"] < by.loc[("strong", "macro_auroc"), "low"]
    tiny = by.loc[("tiny", "macro_auroc")]
    assert 0 <= tiny["mean"] <= 1
    assert tiny[["low", "high"]].isna().all()
    silent = by.loc["only negatives"]
    assert silent[["mean", "low", "high"]].isna().all(axis=None)
    assert silent["records"].tolist() == [3, 3]
