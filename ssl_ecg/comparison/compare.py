"""Does pretraining pay here? Arms x label fractions x seeds on one label table, with intervals; resumable.

The rules (docs/evaluation.md): patients never cross splits and test patients are refused where the encoder has seen
them; label fractions are nested and drawn by patient; regularisation, learning rate, augmentation and epoch are chosen
on validation; the test records are scored once per run, after those choices. Every arm uses the same network, and the
two arms that train use the same number of steps and of candidate settings.
"""

from __future__ import annotations

import hashlib
import json
import logging
import platform
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.progress import Progress

from ssl_ecg.archive import Archive
from ssl_ecg.archive.labels import LabelTable
from ssl_ecg.archive.splits import Splits, check_no_leakage, nested_fractions, require_positives
from ssl_ecg.backbones import Encoder
from ssl_ecg.comparison.arms import (
    ARMS,
    TRAINED,
    FeatureCache,
    Outcome,
    candidate_settings,
    random_encoder,
    run_probe,
    run_trained,
)
from ssl_ecg.comparison.summary import summarise
from ssl_ecg.evaluation import undefined_classes
from ssl_ecg.tasks import Task, create_task
from ssl_ecg.training.finetune import FinetuneSettings
from ssl_ecg.training.pretrain import patient_hash

AUGMENTED: dict[str, Any] = {"learning_rate": 1e-3, "augment": {"lead_masking": 0.3, "gaussian_noise": 0.1}}

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class CompareSettings:
    """What to compare.

    Attributes:
        task: name, see ``list_tasks()``.
        arms: of ``ARMS``.
        fractions: shares of the training patients whose labels are used.
        seeds: each draws its own label fractions, initialisation and batches.
        pretrained_finetune: settings of that arm.
        scratch: settings of the arm that starts from random weights.
        pretrained_candidates: changes to ``pretrained_finetune`` that validation chooses from, at each fraction with
            the first seed; the other seeds use the chosen one.
        scratch_candidates: the same for ``scratch``; as many.
        replicates: bootstrap draws of patients.
        allow_seen_patients: score test patients that pretraining has seen. The result is then not an honest one.
    """

    task: str = "arrhythmia"
    arms: tuple[str, ...] = ARMS
    fractions: tuple[float, ...] = (0.01, 0.05, 0.1, 0.25, 1.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    pretrained_finetune: FinetuneSettings = field(default_factory=FinetuneSettings)
    scratch: FinetuneSettings = field(default_factory=lambda: FinetuneSettings(layer_decay=1.0, head="zero"))
    pretrained_candidates: tuple[dict[str, Any], ...] = (
        {"learning_rate": 3e-4},
        AUGMENTED,
        {**AUGMENTED, "head": "zero", "layer_decay": 1.0},
    )
    scratch_candidates: tuple[dict[str, Any], ...] = ({"learning_rate": 1e-3}, {"learning_rate": 3e-3}, AUGMENTED)
    replicates: int = 1000
    allow_seen_patients: bool = False

    def __post_init__(self) -> None:
        if unknown := sorted(set(self.arms) - set(ARMS)):
            raise ValueError(f"arms={unknown}: unknown; choose from {', '.join(ARMS)}")
        if not self.fractions or not all(0 < fraction <= 1 for fraction in self.fractions):
            raise ValueError(f"fractions={self.fractions}: choose shares above 0 and at most 1")
        if not self.seeds or len(set(self.seeds)) < len(self.seeds):
            raise ValueError(f"seeds={self.seeds}: choose at least one, all different")
        if len(self.pretrained_candidates) != len(self.scratch_candidates):
            raise ValueError(
                f"{len(self.pretrained_candidates)} pretrained_candidates against {len(self.scratch_candidates)} "
                "scratch_candidates: both arms get the same number of tries"
            )
        if self.pretrained_finetune.steps != self.scratch.steps:
            raise ValueError(
                f"pretrained_finetune.steps={self.pretrained_finetune.steps}, scratch.steps={self.scratch.steps}: "
                "both arms get the same budget"
            )


@dataclass(frozen=True)
class Experiment:
    """Everything a run needs, checked once."""

    encoder: Encoder
    archive: Archive
    labels: LabelTable
    splits: Splits
    task: Task
    settings: CompareSettings

    def labelled(self, index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return archive rows and targets of label-table indices."""
        return self.labels.rows[index], self.labels.targets[index]


def check_unseen(encoder: Encoder, archive: Archive, rows: NDArray[np.int64], allow: bool = False) -> None:
    """Refuse to test on patients that pretraining, or finetuning, has seen.

    Args:
        encoder: knows hashes of the patients it learned from.
        archive: knows the patient of every row.
        rows: archive rows of the test records.
        allow: log instead of refusing.

    Raises:
        ValueError: with hashes of some of the patients.
    """
    hashes = {patient_hash(patient) for patient in archive.manifest["patient_id"].iloc[rows].unique()}
    if seen := sorted(hashes & encoder.patients):
        message = (
            f"{len(seen)} of {len(hashes)} test patients are among those the encoder learned from "
            f"(hashes {', '.join(seen[:3])}); pretrain with this label table and split as holdout"
        )
        if not allow:
            raise ValueError(message)
        logger.warning("%s", message)


def check_fractions(labels: LabelTable, splits: Splits, settings: CompareSettings) -> None:
    """Refuse label fractions that no arm can learn from, before anything is run.

    Raises:
        ValueError: a fraction whose records hold both outcomes of no class that validation can score.
    """
    judged = ~undefined_classes(labels.targets[splits.validation])
    for seed in settings.seeds:
        for fraction, train in nested_fractions(labels, splits.train, settings.fractions, seed).items():
            if not (judged & ~undefined_classes(labels.targets[train])).any():
                raise ValueError(
                    f"fractions={fraction:g}: with seed {seed} its {len(train)} labelled records hold both outcomes of "
                    "no class that validation can score; choose a larger fraction"
                )


def compare(
    encoder: Encoder,
    archive: Archive,
    labels: LabelTable,
    splits: Splits,
    out: str | Path,
    settings: CompareSettings,
    progress: bool = True,
    command: str = "",
) -> pd.DataFrame:
    """Run every arm at every label fraction with every seed, and write what came out.

    Writes into ``out``: ``results.csv`` (a row a run), ``summary.csv`` (means, intervals, paired differences),
    ``per_class.csv``, ``curves.csv``, ``comparison.json``, and ``runs/``: one folder a finished run, which a second
    call does not run again.

    Args:
        encoder: the pretrained encoder.
        archive: signals.
        labels: label table.
        splits: indices into ``labels``.
        out: folder.
        settings: what to compare.
        progress: show a progress bar.
        command: recorded as how this was made.

    Returns:
        The summary, with columns task, arm, fraction, seeds, metric, mean, low, high.

    Raises:
        ValueError: leakage, data that the encoder refuses, a label fraction that teaches nothing, or ``out`` holds a
            comparison of something else.
    """
    encoder.check(archive.settings)
    check_no_leakage(labels, splits)
    check_fractions(labels, splits, settings)
    check_unseen(encoder, archive, labels.rows[splits.test], settings.allow_seen_patients)
    experiment = Experiment(encoder, archive, labels, splits, create_task(settings.task, labels.classes), settings)
    out = Path(out)
    _claim(out, experiment, command)
    keys = [
        (arm, fraction, seed) for fraction in settings.fractions for arm in settings.arms for seed in settings.seeds
    ]
    cache = FeatureCache(archive, labels.rows)
    with Progress(disable=not progress) as bar:
        job = bar.add_task("comparing", total=len(keys))
        for arm, fraction, seed in keys:
            bar.update(job, description=f"{arm} {100 * fraction:g} % seed {seed}")
            folder = run_folder(out, arm, fraction, seed)
            if not (folder / "result.json").is_file():
                _run(experiment, cache, out, arm, fraction, seed)
            bar.advance(job)
    return summarise(out, experiment.labels, experiment.splits, experiment.settings.replicates, settings.task)


def run_folder(out: Path, arm: str, fraction: float, seed: int) -> Path:
    """Return where a run's result lies."""
    return out / "runs" / f"{arm}-{fraction:g}-{seed}"


def _run(experiment: Experiment, cache: FeatureCache, out: Path, arm: str, fraction: float, seed: int) -> None:
    """Run one arm at one fraction with one seed, and write its folder; the result file comes last and marks it done."""
    started = time.perf_counter()
    settings, splits, labels = experiment.settings, experiment.splits, experiment.labels
    train = nested_fractions(labels, splits.train, settings.fractions, seed)[fraction]
    pretrained = arm.startswith("pretrained")
    encoder = experiment.encoder if pretrained else random_encoder(experiment.encoder, seed)
    if arm in TRAINED:
        outcome = _train(experiment, encoder, out, arm, fraction, seed, train)
    else:
        features = cache.get("pretrained" if pretrained else f"random {seed}", encoder)
        outcome = run_probe(features, labels.targets, train, splits.validation, splits.test)
    _write_run(
        run_folder(out, arm, fraction, seed),
        outcome,
        {
            "arm": arm,
            "fraction": fraction,
            "seed": seed,
            "records": len(train),
            "patients": len(np.unique(labels.patient[train])),
            f"validation_{experiment.task.selection}": outcome.validation,
            **experiment.task.metrics(labels.targets[splits.test], outcome.scores),
            **outcome.chosen,
            "undetermined": [labels.classes[c] for c in outcome.undetermined],
            "seconds": round(time.perf_counter() - started, 1),
        },
    )


def _train(
    experiment: Experiment, encoder: Encoder, out: Path, arm: str, fraction: float, seed: int, train: NDArray[np.int64]
) -> Outcome:
    """Train one arm: the first seed tries every candidate, the others use what it chose."""
    settings = experiment.settings
    base = settings.scratch if arm == "scratch" else settings.pretrained_finetune
    candidates = settings.scratch_candidates if arm == "scratch" else settings.pretrained_candidates
    choices = candidate_settings(base, candidates, seed)
    first = run_folder(out, arm, fraction, settings.seeds[0]) / "result.json"
    chosen = None
    if seed != settings.seeds[0]:
        chosen = int(json.loads(first.read_text(encoding="utf-8"))["candidate"])
        choices = [choices[chosen]]
    outcome, index = run_trained(
        encoder,
        experiment.task,
        experiment.archive,
        experiment.labelled(train),
        experiment.labelled(experiment.splits.validation),
        experiment.labels.rows[experiment.splits.test],
        choices,
    )
    return replace(outcome, chosen={**outcome.chosen, "candidate": index if chosen is None else chosen})


def _write_run(folder: Path, outcome: Outcome, result: Mapping[str, Any]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "test_scores.npy", outcome.scores)
    pd.DataFrame(outcome.curve).to_csv(folder / "curve.csv", index=False)
    _write_json(folder / "result.json", result)


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file that is there whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.rename(path)


def _digest(labels: LabelTable, parts: Mapping[str, NDArray[np.int64]]) -> str:
    """Return what tells label tables and splits apart where all counts agree."""
    digest = hashlib.sha256()
    for array in (labels.targets, labels.rows, labels.patient, *parts.values()):
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:16]


def _claim(out: Path, experiment: Experiment, command: str) -> None:
    """Write what will be run, or refuse a folder that holds a comparison of something else."""
    labels, splits, encoder = experiment.labels, experiment.splits, experiment.encoder
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    identity: dict[str, Any] = {
        "settings": asdict(experiment.settings),
        "classes": {
            name: {part: int(np.nansum(labels.targets[index, c])) for part, index in parts.items()}
            for c, name in enumerate(labels.classes)
        },
        "splits": {
            part: {"records": len(index), "patients": len(np.unique(labels.patient[index]))}
            for part, index in parts.items()
        },
        "labels": {"sha256": _digest(labels, parts)},
        "archive": {"records": len(experiment.archive), **experiment.archive.settings.to_dict()},
        "encoder": {
            "backbone": encoder.name,
            "options": encoder.options,
            "width": encoder.width,
            **{name: value for name, value in encoder.origin.items() if name != "signal"},
        },
    }
    identity["warnings"] = require_positives(labels, splits)
    identity = json.loads(json.dumps(identity, default=str))
    path = out / "comparison.json"
    if path.is_file():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if changed := [name for name in identity if earlier.get(name) != identity[name]]:
            raise ValueError(
                f"out={str(out)!r}: holds a comparison that differs in {', '.join(changed)}; choose another folder"
            )
        return
    out.mkdir(parents=True, exist_ok=True)
    made = {
        "command": command,
        "versions": {
            name: version(name) for name in ("ssl_ecg", "torch", "pytorch-lightning", "scikit-learn", "numpy")
        },
        "python": platform.python_version(),
    }
    _write_json(path, {**identity, **made})
