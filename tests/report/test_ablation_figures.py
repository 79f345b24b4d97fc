from __future__ import annotations

import json
import re
from pathlib import Path

import pandas as pd

from ssl_ecg.evaluation import MACRO_AUROC, Metric, describe
from ssl_ecg.report import draw_ablation


def words(path: Path) -> list[str]:
    return re.findall(r"<text[^>]*>([^<]+)</text>", path.read_text(encoding="utf-8"))


def test_ablation_is_drawn_from_its_tables_with_the_best_variant_on_top(tmp_path: Path) -> None:
    scores = {"weak": 0.6, "strong": 0.8, "random-net": 0.5}
    arms = [(f"{name} {method}", mean) for name, mean in scores.items() for method in ("probe", "finetune")]
    rows = [
        {"arm": arm, "fraction": 0.1, "metric": metric, "mean": mean, "low": mean - 0.1, "high": mean + 0.1}
        for arm, mean in [*arms, ("strong probe - weak probe", 0.2)]
        for metric in ("macro_auroc", "macro_auprc")
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "summary.csv", index=False)
    epochs = [
        {"variant": name, "seed": seed, "epoch": epoch, "train_loss": 2.0 - epoch, "validation_loss": 2.0 - epoch}
        for name in ("weak", "strong")
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    pd.DataFrame(epochs).to_csv(tmp_path / "pretraining.csv", index=False)
    (tmp_path / "ablation.json").write_text(json.dumps(describe((MACRO_AUROC,))))
    assert draw_ablation(tmp_path) == ["ablation.svg", "pretraining.svg"]
    shown = words(tmp_path / "ablation.svg")
    assert [word for word in shown if word in scores] == ["strong", "weak", "random-net"]
    assert [word for word in shown if "10" in word] == [
        "Linear probe, 10\N{NO-BREAK SPACE}%",
        "Finetuned, 10\N{NO-BREAK SPACE}%",
    ]
    assert shown[-1] == "Test patients, macro AUROC"
    assert {"weak", "strong", "validation loss", "Epoch"} <= set(words(tmp_path / "pretraining.svg"))


def test_the_smallest_error_stands_on_top(tmp_path: Path) -> None:
    rows = [
        {"arm": f"{name} probe", "fraction": 0.1, "metric": "mae", "mean": mean, "low": mean - 1, "high": mean + 1}
        for name, mean in (("weak", 9.0), ("strong", 5.0), ("middling", 7.0))
    ]
    pd.DataFrame(rows).to_csv(tmp_path / "summary.csv", index=False)
    error = Metric("mae", "mean absolute error", "Mean distance from the age, in years.", lower_is_better=True)
    (tmp_path / "ablation.json").write_text(json.dumps(describe((error,))))
    draw_ablation(tmp_path)
    shown = words(tmp_path / "ablation.svg")
    assert [word for word in shown if word in ("weak", "strong", "middling")] == ["strong", "middling", "weak"]
    assert shown[-1] == "Test patients, mean absolute error"


def test_what_is_not_there_is_not_drawn(tmp_path: Path) -> None:
    assert draw_ablation(tmp_path) == []
