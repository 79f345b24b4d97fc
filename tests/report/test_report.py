import json
import re
from base64 import b64decode
from html.parser import HTMLParser

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.evaluation import AUPRC, AUROC, MACRO_AUPRC, MACRO_AUROC, Metric, describe
from ssl_ecg.report import write_report

DECLARED = describe((MACRO_AUROC, MACRO_AUPRC), (AUROC, AUPRC))

ARMS = {"random_probe": 0.6123, "pretrained_probe": 0.7345, "scratch": 0.7012, "pretrained_finetune": 0.8276}
FRACTIONS = {0.01: 13, 0.1: 1280}


@pytest.fixture
def folder(tmp_path):
    results, summary, per_class = [], [], []
    for arm, value in ARMS.items():
        for fraction, records in FRACTIONS.items():
            run = {"task": "superdiagnostic", "arm": arm, "fraction": fraction}
            results += [{**run, "seed": s, "records": records, "patients": records, "seconds": 1.5} for s in range(3)]
            for metric, shift in (("macro_auroc", 0.0), ("macro_auprc", -0.3)):
                mean = value + shift + fraction
                interval = {"metric": metric, "mean": mean, "low": mean - 0.0411, "high": mean + 0.0322}
                summary.append({**run, "seeds": 3, **interval})
            for name, auroc in (("NORM", value), ("HYP", np.nan)):
                per_class.append({**run, "class": name, "positives_test": 41, "auroc": auroc, "auprc": auroc / 2})
    for fraction, low in zip(FRACTIONS, (0.0614, -0.0123)):
        row = {"task": "superdiagnostic", "arm": "pretrained_finetune - scratch", "fraction": fraction, "seeds": 3}
        summary.append({**row, "metric": "macro_auroc", "mean": 0.1264, "low": low, "high": 0.1717})
    for name, rows in (("results", results), ("summary", summary), ("per_class", per_class)):
        pd.DataFrame(rows).to_csv(tmp_path / f"{name}.csv", index=False)
    say(tmp_path)
    return tmp_path


def say(folder, **said):
    (folder / "comparison.json").write_text(json.dumps({**said, **DECLARED}))


def edit(path, **columns):
    pd.read_csv(path).assign(**columns).to_csv(path, index=False)


class Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_data(self, data):
        self.text += data


def test_numbers_of_the_tables_are_on_the_page(folder):
    page = Page(write_report(folder).read_text())
    assert "Pretraining pays here with 1\N{NO-BREAK SPACE}% of the labels" in page.text
    for value in ARMS.values():
        for fraction in FRACTIONS:
            assert f"{value + fraction:.3f}" in page.text
            assert f"({value + fraction - 0.0411:.3f} to {value + fraction + 0.0322:.3f})" in page.text
    assert "+0.126" in page.text
    assert "\N{MINUS SIGN}0.012 to +0.172" in page.text
    assert re.search(r"1,280\s+ECGs", page.text)
    assert "All 24 runs" in page.text
    assert page.text.count("no clear difference") >= 2


def test_labels_meanings_and_direction_come_from_the_declaration(folder):
    page = Page(write_report(folder).read_text())
    assert "Macro AUROC for each number of labels" in page.text
    assert f"Macro AUPRC{MACRO_AUPRC.meaning}" in page.text
    assert "AUROC with AUPRC below it" in " ".join(page.text.split())
    assert "Above 0 the first of the pair is better" in page.text
    error = Metric("mae", "mean absolute error", "Mean distance from the age, in years.", lower_is_better=True)
    (folder / "comparison.json").write_text(json.dumps(describe((error,))))
    (folder / "per_class.csv").unlink()
    summary = pd.read_csv(folder / "summary.csv")
    summary = summary[summary["metric"] == "macro_auroc"].assign(metric="mae")
    summary.to_csv(folder / "summary.csv", index=False)
    text = Page(write_report(folder).read_text()).text
    assert "Pretraining does not pay here: it is worse with 1\N{NO-BREAK SPACE}% of the labels" in text
    assert "Below 0 the first of the pair is better" in text
    assert "Mean absolute errorMean distance from the age, in years." in text
    assert "By class" not in text


def test_a_metric_that_nobody_declared_is_refused(folder):
    (folder / "comparison.json").write_text(json.dumps(describe((MACRO_AUROC,))))
    with pytest.raises(ValueError, match=r"comparison\.json does not say under metrics what macro_auprc is"):
        write_report(folder)
    (folder / "comparison.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"comparison\.json is missing"):
        write_report(folder)


def test_undefined_classes_are_a_dash_not_a_number(folder):
    text = write_report(folder).read_text()
    row = text[text.index("<td>HYP</td>") :]
    assert "\N{EN DASH}" in row[: row.index("</tr>")]
    assert "nan" not in Page(text).text.lower()


def test_missing_intervals_are_dashes_with_a_reason(folder):
    assert "in place of an interval" not in write_report(folder).read_text()
    edit(folder / "summary.csv", low=np.nan, high=np.nan)
    page = Page(write_report(folder).read_text())
    assert "nan" not in page.text
    assert f"{ARMS['scratch'] + 0.1:.3f}" in page.text
    assert "(–)" in page.text
    assert "A dash in place of an interval: too few patients" in page.text
    assert "+0.126 (no interval: too few patients)" in page.text


def test_simulated_outcomes_are_declared_before_the_answer(folder):
    say(folder, command="ssl-ecg compare")
    assert "simulated" not in write_report(folder).read_text(), "neither outcomes nor hearts are"
    say(folder, command="ssl-ecg compare", simulated=True)
    text = Page(write_report(folder).read_text()).text
    assert text.index("The outcomes are simulated: these numbers say nothing of patients") < text.index(
        "Pretraining pays"
    )


def test_page_is_self_contained(folder):
    pretraining = {"epoch": range(5), "train_loss": 1.0, "feature_deviation": 0.1, "effective_rank": 9.0}
    pd.DataFrame(pretraining).to_csv(folder / "pretraining.csv", index=False)
    curves = {"arm": "scratch", "fraction": 0.01, "seed": 0, "step": range(5)}
    curves |= {"train_loss": 1.0, "validation_loss": 1.0, "validation_macro_auroc": 0.5}
    pd.DataFrame(curves).to_csv(folder / "curves.csv", index=False)
    text = write_report(folder).read_text()
    page = Page(text)
    assert page.tags.count("svg") == 5  # two metrics, one difference, learning curves, pretraining
    assert not {"script", "link", "iframe", "img", "object"} & set(page.tags)
    loaded = [value for name, value in page.attributes if name in ("src", "href", "xlink:href", "srcset")]
    assert all(value.startswith("#") for value in loaded)
    assert not re.search(r"url\((?!#)|@import", text)
    ids = [value for name, value in page.attributes if name == "id"]
    assert len(ids) == len(set(ids))
    assert {value[1:] for value in loaded} <= set(ids)
    assert len(list((folder / "figures").glob("*.svg"))) == 5


def test_hostile_names_are_text(folder):
    attack = "<script>alert('x')</script>"
    edit(folder / "per_class.csv", **{"class": attack}, fraction=np.arange(16) / 16)
    for name in ("results", "summary", "per_class"):
        edit(folder / f"{name}.csv", task=f"../{attack} $x_1$")
    summary = pd.read_csv(folder / "summary.csv")
    summary["arm"] = summary["arm"].replace("random_probe", f"{attack} $y^2$")
    summary.to_csv(folder / "summary.csv", index=False)
    said = {"warnings": [attack], "command": attack, attack: {attack: [attack]}, "classes": [{attack: attack}]}
    say(folder, **said)
    page = Page(write_report(folder).read_text())
    assert "script" not in page.tags
    assert page.text.count(attack) > 15
    assert "$x_1$" in page.text
    assert {path.parent for path in folder.rglob("*.svg")} == {folder / "figures"}


def test_what_was_run_is_shown(folder):
    said = {
        "command": "ssl-ecg compare encoder archive",
        "warnings": ["HYP has no positive at 1 %"],
        "splits": {"train": {"folds": [1, 2, 3], "records": 12345}},
        "classes": [{"class": "NORM", "train": 543}, {"class": "MI", "train": 287}],
        "versions": {"torch": "2.13.0"},
        "candidates": [{"learning_rate": 0.00031}, {"learning_rate": 0.00032, "layer_decay": 0.65}],
        "encoder": {"NORM": {"train": 611}, "MI": {"train": 612}},
        "settings": {"resumed": False, "learning_rate": 0.00025},
    }
    say(folder, **said)
    text = Page(write_report(folder, out="page.html").read_text()).text
    assert (folder / "page.html").exists()
    for part in (
        said["command"],
        *said["warnings"],
        "1, 2, 3",
        "12,345",
        "543",
        "287",
        "2.13.0",
        "0.00025",
        "0.00032",
        "0.65",
        "612",
    ):
        assert part in text
    assert text.index("HYP has no positive") < text.index("Paired differences")


def test_each_task_has_its_answer(folder):
    for name in ("results", "summary", "per_class"):
        table = pd.read_csv(folder / f"{name}.csv")
        other = table.assign(task="rhythm")
        if name == "summary":
            difference = other["arm"].str.contains(" - ")
            other.loc[difference, ["mean", "low", "high"]] = [-0.1, -0.2, -0.05]
        pd.concat([table, other]).to_csv(folder / f"{name}.csv", index=False)
    text = Page(write_report(folder).read_text()).text
    assert "Pretraining pays here with 1" in text
    assert "Pretraining does not pay here: it is worse with 1 and 10" in text
    assert text.index("Task: superdiagnostic") < text.index("Task: rhythm")


def test_corrected_p_values_are_shown_where_given(folder):
    assert "p, corrected" not in write_report(folder).read_text()
    edit(folder / "summary.csv", p_value=lambda table: np.where(table["arm"].str.contains(" - "), 0.0372, np.nan))
    text = Page(write_report(folder).read_text()).text
    assert "p, corrected" in text
    assert text.count("0.037") == 3  # two rows, and the sentence of the larger difference


def test_counts_and_detectable_differences_stand_beside_intervals(folder):
    assert "Detectable" not in write_report(folder).read_text()
    edit(folder / "summary.csv", positives=8, negatives=175, detectable=0.0456, p_value=np.nan)
    edit(folder / "per_class.csv", negatives_test=142)
    text = " ".join(Page(write_report(folder).read_text()).text.split())
    assert text.count("8 / 175") == 2 * 2 * len(ARMS) + 2  # two metrics, two fractions, and two differences
    assert text.count("0.046") == 3
    assert "too few to judge" in text
    assert "Too few test patients to judge whether pretraining pays" in text
    assert "Negativesin test" in text
    assert "NORM41142" in text.replace(" ", "")
    edit(folder / "summary.csv", p_value=0.00003)
    assert "< 0.001" in Page(write_report(folder).read_text()).text


def test_the_same_tables_give_the_same_page(folder):
    assert write_report(folder).read_bytes() == write_report(folder, "again.html").read_bytes()


def test_folder_without_tables_is_refused(folder):
    (folder / "summary.csv").unlink()
    with pytest.raises(FileNotFoundError, match=r"summary\.csv is missing"):
        write_report(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda table: table.drop(columns=["low", "high"]), r"lacks the columns \['low', 'high'\]"),
        (lambda table: table.iloc[:0], "no row"),
        (lambda table: pd.concat([table, table.iloc[[3]]]), "repeats"),
    ],
)
def test_broken_table_is_named(folder, change, message):
    change(pd.read_csv(folder / "summary.csv")).to_csv(folder / "summary.csv", index=False)
    with pytest.raises(ValueError, match=rf"summary\.csv.*{message}"):
        write_report(folder)


def test_the_flow_of_the_cohort_is_an_image(folder):
    assert "The cohort" not in write_report(folder).read_text("utf-8")
    (folder / "cohort.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>")
    page = Page(write_report(folder).read_text("utf-8"))
    assert "The cohort" in page.text
    images = [value for name, value in page.attributes if name == "src"]
    assert [b64decode(value.partition("base64,")[2]) for value in images] == [(folder / "cohort.svg").read_bytes()]
    assert "script" not in page.tags
