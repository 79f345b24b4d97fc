"""The models that a comparison leaves: of each arm the best on validation at the largest label fraction."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.comparison.arms import Outcome
from ssl_ecg.comparison.seen_patients import remember
from ssl_ecg.labels.splits import Splits
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.runs import whole_folder
from ssl_ecg.tasks import Classifier, Task, save_classifier
from ssl_ecg.training.card import classifier_card
from ssl_ecg.training.frozen import Features, fit_typicality

MODEL = "model"
LAST = "config.json"


def write_run_model(
    folder: Path,
    outcome: Outcome,
    encoder: Encoder,
    task: Task,
    archive: Archive,
    labels: LabelTable,
    splits: Splits,
    train: Any,
    result: Mapping[str, Any],
    frozen: Features | None = None,
) -> None:
    """Write the model of a run, with decisions tuned on validation and a card.

    Args:
        folder: of the model.
        outcome: of the run.
        encoder: that a probe reads features from.
        task: without decisions.
        archive: signals.
        labels: label table.
        splits: of it; ``train`` stands for its training records.
        train: indices into ``labels`` that the run learned from.
        result: numbers of the run, for the card.
        frozen: what a probe sees of archive rows; None: it is computed.
    """
    model = outcome.model
    if model is None:
        assert outcome.probe is not None
        model = Classifier(copy.deepcopy(encoder), task).eval()
        model.head = outcome.probe.as_layer()
    model.task = task.tuned(labels.targets[splits.validation], outcome.validation_scores)
    learned = Splits(train, splits.validation, splits.test, splits.how)
    remember(model, archive, labels, learned)
    pretrained = str(result["arm"]).startswith(("pretrained", "synthetic", "external"))
    start = "from a pretrained encoder" if pretrained else "from random weights"
    metrics = {name: value for name, value in result.items() if isinstance(value, int | float)}
    chosen = {name: result[name] for name in ("arm", "fraction", "seed", *outcome.chosen)}
    fit_typicality(model, archive, labels.rows[train], labels.rows[splits.validation], frozen)
    save_classifier(model, folder, classifier_card(model, chosen, metrics, labels, learned, start))


def keep_best_models(out: Path, runs: Sequence[Path], task: Task) -> None:
    """Keep the model of each arm's best run, by its validation score, in ``out/ARM``; the earliest of equals."""
    best: dict[str, tuple[float, Path]] = {}
    for run in runs:
        if not (run / MODEL).is_dir():
            continue
        result = json.loads((run / "result.json").read_text(encoding="utf-8"))
        score = float(result[f"validation_{task.selection}"])
        arm = str(result["arm"])
        if arm not in best or task.selection.better(score, best[arm][0]):
            best[arm] = score, run / MODEL
    for arm, (_, model) in best.items():
        with whole_folder(out / arm, last=LAST) as part:
            for file in model.iterdir():
                shutil.copyfile(file, part / file.name)
    for run in runs:
        shutil.rmtree(run / MODEL, ignore_errors=True)
