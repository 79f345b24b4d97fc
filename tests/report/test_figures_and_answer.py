import re

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.evaluation import BRIER_AT_HORIZON, C_INDEX, MACRO_AUPRC, MACRO_AUROC, Metric
from ssl_ecg.report import (
    Finding,
    collapse_figure,
    difference_figure,
    findings,
    headline,
    label_efficiency_figure,
    learning_curves_figure,
)
from ssl_ecg.report.answer import sentences
from ssl_ecg.report.figures import ARM_STYLES, arm_label

FRACTIONS = (0.01, 0.05, 0.1, 1.0)


def summary(differences=("pretrained_finetune - scratch",), intervals=((0.02, 0.1),) * 4):
    arms = [
        {"arm": arm, "fraction": f, "metric": "macro_auroc", "mean": 0.7 + f / 10, "low": 0.6, "high": 0.9}
        for arm in ARM_STYLES
        for f in FRACTIONS
    ]
    pairs = [
        {"arm": arm, "fraction": f, "metric": "macro_auroc", "mean": (low + high) / 2, "low": low, "high": high}
        for arm in differences
        for f, (low, high) in zip(FRACTIONS, intervals)
    ]
    return pd.DataFrame(arms + pairs).assign(task="superdiagnostic", seeds=3)


def drawn_text(path):
    return re.findall(r"<text[^>]*>([^<]*)</text>|<tspan[^>]*>([^<]*)</tspan>", path.read_text())


def test_curves_name_arms_fractions_and_records(tmp_path):
    label_efficiency_figure(summary(), MACRO_AUROC, tmp_path / "a.svg", dict(zip(FRACTIONS, (13, 64, 128, 1282))))
    text = " ".join("".join(pair) for pair in drawn_text(tmp_path / "a.svg"))
    for expected in (*(style.label for style in ARM_STYLES.values()), "100\N{NO-BREAK SPACE}%", "1,282", "Macro AUROC"):
        assert expected in text
    assert "\N{MINUS SIGN} supervised" not in text  # differences are not curves


def test_each_arm_has_its_colour_and_labels_do_not_overlap(tmp_path):
    label_efficiency_figure(summary(), MACRO_AUROC, tmp_path / "a.svg")  # all four curves end at the same value
    svg = (tmp_path / "a.svg").read_text()
    heights = []
    for style in ARM_STYLES.values():
        assert svg.count(style.colour) > 5
        heights.append(float(re.search(rf'y="([\d.]+)"[^>]*>{style.label}<', svg)[1]))
    assert np.diff(sorted(heights)).min() > 9.5  # points, the size of the letters


def test_difference_is_filled_only_where_clear(tmp_path):
    def faces(intervals):
        table = summary(intervals=intervals)
        difference_figure(table, MACRO_AUROC, tmp_path / "d.svg")
        return (tmp_path / "d.svg").read_text().count("fill: #fefefe; stroke: #1273c4")

    assert faces(((0.02, 0.1),) * 4) == 0
    assert faces(((0.02, 0.1), (-0.1, -0.02), (-0.1, 0.1), (0.0, 0.1))) == 2


def test_same_table_same_file(tmp_path):
    for name in ("a.svg", "b.svg"):
        (tmp_path / name[0]).mkdir()
        label_efficiency_figure(summary(), MACRO_AUROC, tmp_path / name[0] / "figure.svg")
    assert (tmp_path / "a/figure.svg").read_bytes() == (tmp_path / "b/figure.svg").read_bytes()


def test_raster_for_a_readme(tmp_path):
    label_efficiency_figure(summary(), MACRO_AUROC, tmp_path / "new" / "a.png")
    assert (tmp_path / "new" / "a.png").read_bytes().startswith(b"\x89PNG")


def test_unknown_arms_are_drawn_under_their_own_name(tmp_path):
    table = summary().replace({"arm": {"scratch": "xgboost $x$"}})
    label_efficiency_figure(table, MACRO_AUROC, tmp_path / "a.svg")
    assert "xgboost $x$" in (tmp_path / "a.svg").read_text()


@pytest.mark.parametrize("figure", [label_efficiency_figure, difference_figure])
def test_several_tasks_or_no_row_are_refused(tmp_path, figure):
    with pytest.raises(ValueError, match="one task"):
        figure(pd.concat([summary(), summary().assign(task="rhythm")]), MACRO_AUROC, tmp_path / "a.svg")
    with pytest.raises(ValueError, match="'macro_auprc'"):
        figure(summary(), MACRO_AUPRC, tmp_path / "a.svg")


def test_training_figures(tmp_path):
    curves = pd.DataFrame(
        {"arm": "scratch", "fraction": f, "seed": s, "step": e, "train_loss": 1, "validation_loss": 1}
        for f in FRACTIONS
        for s in range(2)
        for e in range(3)
    ).assign(validation_macro_auroc=0.7)
    learning_curves_figure(curves, MACRO_AUROC, tmp_path / "curves.svg")
    svg = (tmp_path / "curves.svg").read_text()
    assert svg.count(f"stroke: {ARM_STYLES['scratch'].colour}") == len(FRACTIONS) * 2 * 3 + 1  # and the legend
    assert "Validation macro AUROC" in svg
    curves = curves.rename(columns={"validation_macro_auroc": "validation_c_index"}).assign(validation_other=0.1)
    learning_curves_figure(curves, C_INDEX, tmp_path / "curves.svg")
    assert "Validation C-index" in (tmp_path / "curves.svg").read_text()
    collapse_figure(pd.DataFrame({"epoch": [0, 1], "effective_rank": [3, 4]}), tmp_path / "collapse.svg")
    assert "Effective rank" in (tmp_path / "collapse.svg").read_text()
    with pytest.raises(ValueError, match="has none of"):
        collapse_figure(pd.DataFrame({"epoch": [0]}), tmp_path / "collapse.svg")


def test_labels():
    assert arm_label("pretrained_finetune - scratch") == "Pretrained, fine-tuned \N{MINUS SIGN} supervised from scratch"
    assert arm_label("mystery") == "mystery"


def test_verdict_follows_the_interval():
    found = findings(summary(intervals=((0.001, 0.1), (-0.1, -0.001), (-0.1, 0.1), (0.0, 0.0))), MACRO_AUROC)
    assert [f.verdict for f in found] == ["better", "worse", "no clear difference", "no clear difference"]
    assert [f.fraction for f in found] == list(FRACTIONS)


def test_verdict_needs_the_corrected_p_value_too():
    table = summary(intervals=((0.001, 0.1), (0.001, 0.1), (-0.1, -0.001), (-0.1, 0.1)))
    table.loc[table["arm"].str.contains(" - "), "p_value"] = [0.049, 0.05, 0.2, 0.001]
    found = findings(table, MACRO_AUROC)
    assert [f.verdict for f in found] == ["better", *["no clear difference"] * 3]


def test_too_few_patients_are_not_judged_and_said_to_be_too_few():
    table = summary(intervals=((0.02, 0.1),) * 4)
    difference = table["arm"].str.contains(" - ")
    table.loc[difference, "p_value"] = [np.nan, 0.01, 0.3, np.nan]
    found = findings(table, MACRO_AUROC)
    assert [f.verdict for f in found] == ["too few to judge", "better", "no clear difference", "too few to judge"]
    told = headline(found).replace("\N{NO-BREAK SPACE}", " ")
    assert "at 1 and 100 % there are too few patients to judge" in told
    table.loc[difference, "p_value"] = np.nan
    told = headline(findings(table, MACRO_AUROC)).replace("\N{NO-BREAK SPACE}", " ")
    assert told == "Too few test patients to judge whether pretraining pays, with 1, 5, 10 and 100 % of the labels."


def test_sentence_tells_what_could_have_been_found():
    table = summary()
    table.loc[table["arm"].str.contains(" - "), "detectable"] = [0.08, 0.05, 0.04, 0.031]
    (told,) = sentences(findings(table, MACRO_AUROC), MACRO_AUROC)
    assert told.endswith(
        "True differences of 0.031 to 0.080, by fraction, would be found with 80\N{NO-BREAK SPACE}% power."
    )


def test_a_lower_error_is_better():
    table = summary(intervals=((0.001, 0.1), (-0.1, -0.001), (-0.1, 0.1), (0.0, 0.0)))
    found = findings(table.assign(metric="brier_at_horizon"), BRIER_AT_HORIZON)
    assert [f.verdict for f in found] == ["worse", "better", "no clear difference", "no clear difference"]


def test_figures_and_sentences_take_label_and_direction_from_the_metric(tmp_path):
    error = Metric("mae", "mean absolute error", "Mean distance from the age, in years.", lower_is_better=True)
    table = summary(intervals=((1.0, 3.0), (-3.0, -1.0), (-1.0, 2.0), (0.0, 0.0))).assign(metric="mae")
    found = findings(table, error)
    assert [f.verdict for f in found] == ["worse", "better", "no clear difference", "no clear difference"]
    (told,) = sentences(found, error)
    assert "worse at 1\N{NO-BREAK SPACE}%" in told
    assert "in mean absolute error, of which less is better, is +2.000" in told
    difference_figure(table, error, tmp_path / "d.svg")
    label_efficiency_figure(table, error, tmp_path / "a.svg")
    assert "Difference in mean absolute error, lower is better" in (tmp_path / "d.svg").read_text()
    assert "Mean absolute error, test patients" in (tmp_path / "a.svg").read_text()


def test_main_difference_comes_first():
    found = findings(summary(("pretrained_probe - random_probe", "pretrained_finetune - scratch")), MACRO_AUROC)
    assert found[0].difference == "pretrained_finetune - scratch"
    assert len(found) == 8


@pytest.mark.parametrize(
    ("verdicts", "expected"),
    [
        (("better", "better"), "Pretraining pays here with 1 and 5 % of the labels."),
        (
            ("better", "no clear difference"),
            "Pretraining pays here with 1 % of the labels; at 5 % there is no clear difference.",
        ),
        (("worse", "worse"), "Pretraining does not pay here: it is worse with 1 and 5 % of the labels."),
        (("better", "worse"), "It depends: with 1 % of the labels pretraining pays, with 5 % it is worse."),
        (("no clear difference",), "Pretraining makes no clear difference here, with 1 % of the labels."),
        ((), "This comparison holds no pair of arms to tell whether pretraining pays."),
    ],
)
def test_headline(verdicts, expected):
    found = [Finding("a - b", f, 0, 0, 0, v) for f, v in zip(FRACTIONS, verdicts)]
    assert headline(found).replace("\N{NO-BREAK SPACE}", " ") == expected


def test_headline_doubts_a_gain_that_random_weights_share():
    found = [Finding("pretrained_finetune - scratch", f, 0.1, 0.05, 0.2, "better") for f in (0.01, 0.1)]
    control = "pretrained_probe - random_probe"
    proven = [Finding(control, f, 0.1, 0.05, 0.2, "better") for f in (0.01, 0.1)]
    assert headline(found + proven) == headline(found)
    shared = [proven[0], Finding(control, 0.1, 0.0, -0.1, 0.1, "no clear difference")]
    told = headline(found + shared).replace("\N{NO-BREAK SPACE}", " ")
    assert told.endswith(
        "At 10 % a linear probe is not clearly better on the pretrained encoder than on random weights."
    )


def test_sentence_tells_by_how_much():
    found = findings(summary(intervals=((0.061, 0.191), (-0.1, 0.15), (-0.1, 0.1), (-0.05, -0.01))), MACRO_AUROC)
    told = sentences(found, MACRO_AUROC)
    assert [t.replace("\N{NO-BREAK SPACE}", " ") for t in told] == [
        "Pretrained, fine-tuned against supervised from scratch: better at 1 %; worse at 100 %; no clear difference "
        "at 5 and 10 %. The largest difference in macro AUROC is +0.126 (95 % interval +0.061 to +0.191), at 1 %."
    ]
