"""The tables and the figure of this page, from the runs of ``run.py``: ``python collect.py ARCHIVE OUT FOLDER``.

Latencies are of one ECG on one thread, the median of 200; exports, and scores in 8 bits, are those of seed 0. The
control is the network of the distilled student, and takes as long.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import matplotlib
import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssl_ecg import load_model, open_archive
from ssl_ecg.archive import Archive
from ssl_ecg.deploy.program import export_onnx, export_program, latency, quantise, run_eager, run_onnx
from ssl_ecg.evaluation import bootstrap_metrics, paired_difference
from ssl_ecg.explain.style import STYLE, save_figure
from ssl_ecg.signals import Signals

METRIC = "macro_auroc"
LOOKS = {
    "distilled": ("#2c6fbb", "o", "taught by the teacher"),
    "labels": ("#d9822b", "s", "the same network, labels alone"),
    "channels": ("#3a9a5b", "^", "the teacher's strongest channels"),
    "weights": ("#8a5ab5", "v", "the teacher's largest 5 % of weights"),
}


def scores_of(folder: Path) -> tuple[NDArray[np.float64], NDArray[np.float64], list[str]]:
    """Return labels and scores [n, C] of a model's test records, and their ids."""
    table = pd.read_csv(folder / "predictions.csv")
    classes = [name.removesuffix("_score") for name in table if name.endswith("_score")]
    scores = table[[f"{name}_score" for name in classes]].to_numpy()
    return table[classes].to_numpy(float), scores, table["record_id"].tolist()


def scored(run: Callable[[Signals], NDArray[np.float32]], archive: Archive, ids: list[str]) -> NDArray[np.float64]:
    """Return the scores that a program gives records, one after the other."""
    return np.concatenate([run(archive.read([row])) for row in archive.rows(ids)]).astype(float)


def costs(folder: Path, archive: Archive) -> dict[str, float]:
    """Return how long a model takes in milliseconds, and what its scores in 8 bits lose; measured once."""
    kept = folder / "costs.json"
    if kept.is_file():
        return dict(json.loads(kept.read_text()))
    model = load_model(folder)
    labels, scores, ids = scores_of(folder)
    exact = export_onnx(model, export_program(model))
    small = quantise(exact)
    runs = {"eager": run_eager(model), "onnx": run_onnx(exact), "int8": run_onnx(small)}
    found = {f"{name}_ms": latency(model, run, repeats=200) for name, run in runs.items()}
    eight = scored(runs["int8"], archive.of_leads(model.encoder.leads), ids)
    lost = model.task.evaluate(labels, eight)[METRIC] - model.task.evaluate(labels, scores)[METRIC]
    found |= {"onnx_mb": len(exact) / 1e6, "int8_mb": len(small) / 1e6, "int8_above_float": lost}
    kept.write_text(json.dumps(found))
    return found


def gather(archive: Archive, out: Path) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return one row per run, and one per arm and lead set, over its seeds."""
    runs = []
    for folder in sorted(out.glob("*-*-*")):
        if not (folder / "config.json").is_file():
            continue
        arm, leads, seed = folder.name.split("-")
        held = json.loads((folder / "metrics.json").read_text())
        kept = ("macro_auroc", "macro_auprc", "validation_macro_auroc", "step", "parameters", "multiplications")
        runs.append({"arm": arm, "leads": int(leads), "seed": int(seed), **{name: held[name] for name in kept}})
    results = pd.DataFrame(runs)
    labels, theirs, ids = scores_of(out / "teacher")
    patient = archive.manifest["patient_id"].iloc[archive.rows(ids)].to_numpy()
    held = json.loads((out / "teacher" / "metrics.json").read_text())
    first = json.loads((out / "distilled-12-0" / "metrics.json").read_text())
    whole = {"arm": "teacher", "leads": 12, "seeds": 1, "mean": held[METRIC], "low": held[f"{METRIC}_low"]}
    whole |= {"high": held[f"{METRIC}_high"], "parameters": first["teacher_parameters"]}
    rows = [{**whole, "multiplications": first["teacher_multiplications"], **costs(out / "teacher", archive)}]
    for (arm, leads), those in results.groupby(["arm", "leads"], sort=False):
        every = np.stack([scores_of(out / f"{arm}-{leads}-{seed}")[1] for seed in those["seed"]])
        own = bootstrap_metrics(labels, every, patient)[METRIC]
        row = {"arm": arm, "leads": leads, "seeds": len(those), "mean": own.mean, "low": own.low, "high": own.high}
        control = [out / f"labels-{leads}-{seed}" for seed in those["seed"]]
        others = {"teacher": np.stack([theirs] * len(every))}
        if arm != "labels" and all((folder / "config.json").is_file() for folder in control):
            others["labels"] = np.stack([scores_of(folder)[1] for folder in control])
        for name, scores in others.items():
            above = paired_difference(labels, every, scores, patient)[METRIC]
            row |= {f"above_{name}": above.mean, f"above_{name}_low": above.low, f"above_{name}_high": above.high}
        row |= {"above_labels": np.nan, **row, **those.iloc[0][["parameters", "multiplications"]].to_dict()}
        same = "distilled" if arm == "labels" else arm  # the same network
        cost = costs(out / f"{same}-{leads}-{those['seed'].min()}", archive)
        rows.append({**row, **cost, **({"int8_above_float": np.nan} if arm == "labels" else {})})
    summary = (
        pd.DataFrame(rows)
        .sort_values(["leads", "arm"], ascending=False)
        .assign(task="arrhythmia", fraction=1.0, metric=METRIC)
    )
    front = ["task", "arm", "leads", "fraction", "seeds", "metric", "mean", "low", "high"]
    return results, summary[[*front, *summary.columns.difference(front, sort=False)]]


def draw(summary: pd.DataFrame, path: Path) -> None:
    """Draw the score against leads, multiplications, parameters and latency; a line where the teacher is."""
    teacher = summary[summary["arm"] == "teacher"].iloc[0]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(11, 7), layout="constrained")
        leads, *others = figure.subplots(2, 2).flat
        for place, (arm, (colour, marker, label)) in enumerate(LOOKS.items()):
            rows = summary[summary["arm"] == arm].sort_values("leads")
            if rows.empty:
                continue
            at = np.log2(rows["leads"]) + 0.05 * (place - 1.5)
            spread = [rows["mean"] - rows["low"], rows["high"] - rows["mean"]]
            leads.errorbar(at, rows["mean"], spread, color=colour, marker=marker, linestyle="none", label=label)
        leads.set_xticks(np.log2([1, 2, 3, 4, 6, 12]), ["1", "2", "3", "4", "6", "12"])
        leads.set_xlabel("leads of the student")
        panels = (
            ("multiplications", "multiplications of one ECG"),
            ("parameters", "parameters"),
            ("onnx_ms", "one ECG, one thread, ms: filled ONNX float32, hollow PyTorch, grey 8 bits"),
        )
        for axes, (column, title) in zip(others, panels, strict=True):
            rows = summary[summary["leads"] == 12]
            for row in rows.itertuples():
                colour, marker, _ = LOOKS.get(row.arm, ("#20262e", "D", ""))
                axes.plot(getattr(row, column), row.mean, marker, color=colour)
                if column == "onnx_ms":
                    axes.plot(row.eager_ms, row.mean, marker, color=colour, markerfacecolor="none")
                    axes.plot(row.int8_ms, row.mean + row.int8_above_float, marker, color="#9aa5b1")
            axes.set_xscale("log")
            axes.xaxis.set_major_formatter(lambda value, _: f"{value:,g}" if value < 1e5 else f"{value / 1e6:g} M")
            axes.xaxis.set_minor_formatter(lambda value, _: "")
            axes.set_xlabel(title)
        others[0].axvline(teacher["multiplications"] / 20, color="#7d8794", linewidth=1.0, linestyle=":")
        others[2].axvline(2, color="#7d8794", linewidth=1.0, linestyle=":")
        for axes in (leads, *others):
            axes.axhline(teacher["mean"], color="#20262e", linewidth=1.0)
            axes.axhline(teacher["mean"] - 0.01, color="#7d8794", linewidth=1.0, linestyle=":")
            axes.set_ylabel("macro AUROC")
        leads.legend(loc="lower right")
        save_figure(figure, path)


def as_text(summary: pd.DataFrame) -> str:
    """Return the table of the page, as Markdown."""

    def told(row: pd.Series, name: str, sign: str = "") -> str:
        if pd.isna(row[name]):
            return ""
        return f"{row[name]:{sign}.3f} ({row[f'{name}_low']:{sign}.3f} to {row[f'{name}_high']:{sign}.3f})"

    lines = [
        "| student | leads | seeds | macro AUROC | above the teacher | above labels alone | million MACs "
        "| PyTorch | ONNX | 8 bits |",
        "|---|---:|---:|---|---|---|---:|---:|---:|---:|",
    ]
    for _, row in summary.rename(columns={"low": "mean_low", "high": "mean_high"}).iterrows():
        times = " | ".join(f"{row[f'{name}_ms']:.2f} ms" for name in ("eager", "onnx", "int8"))
        above = f"{told(row, 'above_teacher', '+')} | {told(row, 'above_labels', '+')}"
        lines.append(
            f"| {row['arm']} | {row['leads']} | {row['seeds']} | {told(row, 'mean')} | {above} "
            f"| {row['multiplications'] / 1e6:.1f} | {times} |"
        )
    return "\n".join(lines)


def main(archive: Path, out: Path, folder: Path) -> None:
    """Write ``results.csv``, ``summary.csv`` and ``small.png``."""
    results, summary = gather(open_archive(archive), out)
    results.to_csv(folder / "results.csv", index=False, float_format="%.6g")
    summary.to_csv(folder / "summary.csv", index=False, float_format="%.5g")
    draw(summary, folder / "small.png")
    print(as_text(summary))


if __name__ == "__main__":
    main(*map(Path, sys.argv[1:]))
