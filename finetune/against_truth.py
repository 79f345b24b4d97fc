"""Hold a comparison against true risks: ``python finetune/against_truth.py OUT ARCHIVE LABELS [--test-folds 10 ...]``.

Tables of synthetic and of simulated outcomes have the true risk of every record as a column. Writes ``truth.csv`` and
``truth.png`` into the folder of the comparison.
"""

from __future__ import annotations

import argparse
import json
import logging
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from scipy.stats import spearmanr

import ssl_ecg
from ssl_ecg.comparison.folder import data_identity
from ssl_ecg.explain.style import LINE, STYLE, save_figure
from ssl_ecg.report.figures import ARM_STYLES
from ssl_ecg.tasks import Task, read_task

TRUE_RISKS = ("true_risk_5y", "risk_5y", "true_probability", "low_lvef_probability")

FIVE_YEARS = 1825.0

parser = argparse.ArgumentParser(description=__doc__)
parser.add_argument("out", help="folder of a finished comparison, of af_survival over five years or of cardiomyopathy")
parser.add_argument("archive", help="archive of the labelled records")
parser.add_argument("labels", help=f"its label table, with the true risk in one of {', '.join(TRUE_RISKS)}")
parser.add_argument("--validation-folds", type=int, nargs="*", default=[], help="as the comparison had them")
parser.add_argument("--test-folds", type=int, nargs="*", default=[], help="likewise; without: patients drawn")


def predicted_risk(task: Task, scores: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the risk [n] that scores mean: at the horizon for survival."""
    return 1 - scores[:, -1] if task.name == "af_survival" else scores[:, 0]


def describe(task: Task, targets: NDArray[np.float32], risk: NDArray[np.float64], scores: NDArray) -> dict[str, float]:
    """Say how scores rank the outcomes, and how near their risk is to the true one."""
    predicted = predicted_risk(task, scores)
    return {
        task.selection.name: task.evaluate(targets, scores)[task.selection.name],
        "rank_correlation": spearmanr(predicted, risk).statistic,
        "mean_predicted": predicted.mean(),
        "mean_true": risk.mean(),
        "rmse": np.sqrt(np.mean((predicted - risk) ** 2)),
    }


def main() -> None:
    """Write the table and the figure."""
    options = parser.parse_args()
    out, archive = Path(options.out), ssl_ecg.open_archive(options.archive)
    comparison = json.loads((out / "comparison.json").read_text(encoding="utf-8"))
    chosen = comparison["settings"]["task"]
    name = chosen.pop("name")
    if (horizon := chosen.get("horizon_days", FIVE_YEARS)) != FIVE_YEARS:
        parser.error(f"horizon_days={horizon:g}: the true risks are those of {FIVE_YEARS:g} days")
    labels, task = read_task(name, options.labels, archive, options=chosen)
    split = ssl_ecg.SplitSettings(validation_folds=options.validation_folds, test_folds=options.test_folds)
    splits = split.split(labels)
    if data_identity(archive, labels, splits)["labels"] != comparison["labels"]:
        parser.error("labels, --validation-folds, --test-folds: not those of the comparison")
    table = pd.read_csv(options.labels).set_index("record_id")
    if (column := next((name for name in TRUE_RISKS if name in table), None)) is None:
        parser.error(f"labels={options.labels!r}: has no column of {', '.join(TRUE_RISKS)}")
    risk = table.loc[archive.manifest["record_id"].iloc[labels.rows[splits.test]], column].to_numpy()
    targets = labels.targets[splits.test]
    survival = task.name == "af_survival"
    tested = targets[:, 2] == 0 if survival else np.ones(len(risk), dtype=bool)  # prevalent AF is not predicted
    risk, targets = risk[tested], targets[tested]

    # What the truth itself would score: equal survival probabilities, since only the last one ranks.
    truth = np.repeat(1 - risk[:, None], task.options["bins"], axis=1) if survival else risk[:, None]
    rows = [{"arm": "truth", "fraction": 1.0, **describe(task, targets, risk, truth)}]
    risks: dict[tuple[str, float], list[NDArray[np.float32]]] = {}
    for path in sorted(out.glob("runs/*/result.json")):
        run = json.loads(path.read_text(encoding="utf-8"))
        scores = np.load(path.with_name("test_scores.npy"))[tested]
        key = run["arm"], run["fraction"]
        rows.append({"arm": key[0], "fraction": key[1], **describe(task, targets, risk, scores)})
        risks.setdefault(key, []).append(predicted_risk(task, scores))
    found = pd.DataFrame(rows).groupby(["fraction", "arm"], sort=True).mean().reset_index()
    found.to_csv(out / "truth.csv", index=False, float_format="%.4f")
    logging.info(
        "%s, %s of the truth %.3f\n%s",
        out,
        task.selection.label,
        rows[0][task.selection.name],
        found.round(3).to_string(),
    )
    full = max(fraction for _, fraction in risks)
    draw(risk, {arm: each for (arm, fraction), each in risks.items() if fraction == full}, out / "truth.png")


def by_tenth(predicted: NDArray[np.float32], risk: NDArray[np.float64]) -> list[tuple[float, float]]:
    """Return mean predicted and mean true risk of ten groups of records, from low to high predicted risk."""
    return [(predicted[tenth].mean(), risk[tenth].mean()) for tenth in np.array_split(np.argsort(predicted), 10)]


def draw(risk: NDArray[np.float64], predicted: dict[str, list[NDArray[np.float32]]], path: Path) -> None:
    """Draw the true risk against the predicted one, by tenth of the predicted, mean over the seeds."""
    with matplotlib.rc_context({**STYLE, "axes.grid.axis": "both"}):
        figure = Figure(figsize=(4.8, 4.6), layout="constrained")
        axes = figure.subplots()
        axes.axline((0, 0), slope=1, color=LINE, linewidth=1.6, zorder=1)
        for arm, each_seed in predicted.items():
            style = ARM_STYLES[arm]
            x, y = np.mean([by_tenth(each, risk) for each in each_seed], axis=0).T
            axes.plot(x, y, color=style.colour, linestyle=style.dash, marker=style.marker, label=style.label)
        axes.set(xlabel="Predicted risk, mean of a tenth", ylabel="True risk")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_formatter(PercentFormatter(1, symbol="\N{NO-BREAK SPACE}%"))
        axes.legend()
        save_figure(figure, path)


if __name__ == "__main__":
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    main()
