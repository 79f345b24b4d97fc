"""Does pretraining pay here? Arms x label fractions x seeds on one label table, with intervals; resumable.

The rules (docs/evaluation.md): patients never cross splits and test patients are refused where the encoder has seen
them; label fractions are nested and drawn by patient; regularisation, learning rate, augmentation and epoch are chosen
on validation; the test records are scored once per run, after those choices. Every arm uses the same network, and the
two arms that train use the same number of steps and of candidate settings.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, Self

import numpy as np
import pandas as pd
from annotated_types import Gt, MinLen
from numpy.typing import NDArray
from pydantic import model_validator
from rich.progress import Progress

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.comparison.arms import (
    ARMS,
    BLENDS,
    TRAINED,
    Arm,
    FeatureCache,
    Fraction,
    Outcome,
    Seeds,
    candidate_settings,
    random_encoder,
    run_probe,
    run_trained,
    undetermined,
)
from ssl_ecg.comparison.blend import WEIGHTS, blend
from ssl_ecg.comparison.folder import data_identity, declaration, result_of, write_run
from ssl_ecg.comparison.models import MODEL, keep_best_models, write_run_model
from ssl_ecg.comparison.seen_patients import check_unseen
from ssl_ecg.comparison.summary import summarise
from ssl_ecg.evaluation import undefined_classes
from ssl_ecg.labels.splits import Splits, check_no_leakage, nested_fractions
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.runs import claim, locked
from ssl_ecg.settings import Settings, chosen, recipe
from ssl_ecg.tasks import Task, create_task
from ssl_ecg.tasks.registry import TASKS
from ssl_ecg.training.finetune_settings import FinetuneSettings

AUGMENTED: dict[str, Any] = {"learning_rate": 1e-3, "augment": {"lead_masking": 0.3, "gaussian_noise": 0.1}}

# Each pretrained arm against the baselines that it must beat.
PAIRS = (
    ("pretrained_probe", "random_probe"),
    ("pretrained_probe", "scratch"),
    ("pretrained_finetune", "scratch"),
    ("pretrained_finetune", "pretrained_probe"),
    ("pretrained_blend", "scratch"),
    ("pretrained_blend", "scratch_ensemble"),
    ("pretrained_blend", "pretrained_finetune"),
)

OTHER = 1000
"""added to the seed of an ensemble's second network"""

logger = logging.getLogger(__name__)


class CompareSettings(Settings):
    """What to compare."""

    task: chosen("task", TASKS) = "arrhythmia"  # type: ignore[valid-type]
    """what is learned"""
    arms: tuple[Arm, ...] = ARMS
    """what is compared: linear probes of frozen features; networks trained from random and from pretrained weights; and
    means of two models, of which ``scratch_ensemble`` is what ``pretrained_blend`` must beat"""
    fractions: Annotated[tuple[Fraction, ...], MinLen(1)] = (0.01, 0.05, 0.1, 0.25, 1.0)
    """shares of the training patients whose labels are used"""
    seeds: Seeds = (0, 1, 2, 3, 4)
    """each draws its own label fractions, initialisation and batches"""
    pretrained_finetune: recipe("training", FinetuneSettings) = "pretrained"  # type: ignore[valid-type]
    """how the pretrained encoder is trained"""
    scratch: recipe("training", FinetuneSettings) = "scratch"  # type: ignore[valid-type]
    """how random weights are trained; for as long"""
    pretrained_candidates: tuple[dict[str, Any], ...] = (
        {"learning_rate": 3e-4},
        {"learning_rate": 1e-4},
        {**AUGMENTED, "head": "zero", "layer_decay": 1.0},
    )
    """changes to ``pretrained_finetune`` that validation chooses from, at each fraction with the first seed; the other
    seeds use the chosen one. The last one trains as ``scratch`` does, from the pretrained weights"""
    scratch_candidates: tuple[dict[str, Any], ...] = ({"learning_rate": 1e-3}, {"learning_rate": 3e-3}, AUGMENTED)
    """the same for ``scratch``; as many"""
    replicates: Annotated[int, Gt(0)] = 2000
    """bootstrap draws of patients, of which standard errors are made: 2000 give them to 2 %"""
    seen_patients: Literal["refuse", "test"] = "refuse"
    """what to do where pretraining has seen test patients: "refuse", or "test" on them, since they are other people of
    the same ids. Where they are not, the result is not an honest one"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if len(self.pretrained_candidates) != len(self.scratch_candidates):
            raise ValueError(
                f"scratch_candidates={list(self.scratch_candidates)}: {len(self.scratch_candidates)} against "
                f"{len(self.pretrained_candidates)} pretrained_candidates; give both arms the same number of tries"
            )
        for arm in self.arms:
            if missing := sorted(set(BLENDS.get(arm, ())) - set(self.arms)):
                raise ValueError(f"arms={list(self.arms)}: {arm} is made of {', '.join(missing)}; name that arm too")
        if self.pretrained_finetune.budget != self.scratch.budget:
            raise ValueError(
                f"scratch.{self.scratch.budget}: give both arms the same budget, that of "
                f"pretrained_finetune.{self.pretrained_finetune.budget}"
            )
        return self


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


def check_fractions(labels: LabelTable, splits: Splits, fractions: Sequence[float], seeds: Sequence[int]) -> None:
    """Refuse label fractions that no arm can learn from, before anything is run.

    Classes that all training records teach, but those of a fraction do not, are named in the log, once for all runs.

    Raises:
        ValueError: a fraction whose records hold both outcomes of no class that validation can score.
    """
    judged = ~undefined_classes(labels.outcome[splits.validation])
    taught = ~undefined_classes(labels.outcome[splits.train])
    lost: dict[float, set[str]] = {}
    for seed in seeds:
        for fraction, train in nested_fractions(labels, splits.train, fractions, seed).items():
            unknown = undefined_classes(labels.outcome[train])
            lost.setdefault(fraction, set()).update(np.array(labels.outcomes)[unknown & taught])
            if not (judged & ~unknown).any():
                raise ValueError(
                    f"fractions={fraction:g}: with seed {seed} its {len(train)} labelled records hold both outcomes of "
                    "no class that validation can score; choose a larger fraction"
                )
    if any(lost.values()):
        told = (f"{100 * part:g} %: {', '.join(sorted(names))}" for part, names in sorted(lost.items()) if names)
        logger.warning("with some seed these fractions cannot teach all classes: %s", "; ".join(told))


@locked("out")
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

    Writes into ``out``: ``results.csv`` (one row per run), ``summary.csv`` (means, intervals, paired differences),
    ``per_class.csv``, ``curves.csv``, ``comparison.json``, ``models/``: of each arm that is one model the one with the
    best validation score at the largest fraction, and ``runs/``: one folder per finished run, which a second call does
    not run again.

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
        The summary, with columns task, arm, fraction, seeds, metric, mean, low, high, positives, negatives, p_value,
            detectable; see ``summarise``.

    Raises:
        ValueError: leakage, data that the encoder refuses, a label fraction that teaches nothing, or ``out`` holds a
            comparison of something else.
        FolderInUseError: another process compares into ``out``.
    """
    encoder.check(archive.settings)
    check_no_leakage(labels, splits)
    check_fractions(labels, splits, settings.fractions, settings.seeds)
    check_unseen(encoder, archive, labels.rows[splits.test], settings.seen_patients)
    task = create_task(settings.task.name, labels.classes, **settings.task.options)
    experiment = Experiment(encoder, archive, labels, splits, task, settings)
    out = Path(out)
    claim(out / "comparison.json", _identity(experiment), {"command": command, **declaration(labels, task)})
    keys = [
        (arm, fraction, seed)
        for fraction in settings.fractions
        for arm in sorted(settings.arms, key=lambda arm: arm in BLENDS)  # after what they are made of
        for seed in settings.seeds
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
    folders = [run_folder(out, *key) for key in keys]
    keep_best_models(out / "models", [run_folder(out, *key) for key in keys if key[1] == max(settings.fractions)], task)
    return summarise(out, folders, [PAIRS], labels, splits, settings.replicates, task)


def run_folder(out: Path, arm: str, fraction: float, seed: int) -> Path:
    """Return where a run's result lies."""
    return out / "runs" / f"{arm}-{fraction:g}-{seed}"


def _run(experiment: Experiment, cache: FeatureCache, out: Path, arm: str, fraction: float, seed: int) -> None:
    """Run one arm at one fraction with one seed, and write its folder; the result file comes last and marks it done."""
    started = time.perf_counter()
    settings, splits, labels, archive = experiment.settings, experiment.splits, experiment.labels, experiment.archive
    train = nested_fractions(labels, splits.train, settings.fractions, seed)[fraction]
    pretrained = arm.startswith("pretrained")
    encoder = experiment.encoder if pretrained else random_encoder(experiment.encoder, seed)
    if arm in BLENDS:
        outcome = _blended(experiment, out, arm, fraction, seed, train)
    elif arm in TRAINED:
        outcome = _train(experiment, encoder, out, arm, fraction, seed, train)
    else:
        features = cache.get("pretrained" if pretrained else f"random {seed}", encoder)
        outcome = run_probe(features, labels.targets, train, splits.validation, splits.test, experiment.task)
    result = {
        "arm": arm,
        "fraction": fraction,
        "seed": seed,
        **result_of(outcome, experiment.task, labels, splits, train),
        "seconds": round(time.perf_counter() - started, 1),
    }
    folder = run_folder(out, arm, fraction, seed)
    if fraction == max(settings.fractions) and arm not in BLENDS:
        write_run_model(folder / MODEL, outcome, encoder, experiment.task, archive, labels, splits, train, result)
    write_run(folder, outcome, result)


def _blended(
    experiment: Experiment, out: Path, arm: str, fraction: float, seed: int, train: NDArray[np.int64]
) -> Outcome:
    """Blend two finished runs; the second network of an ensemble is trained here, with the same labels."""
    names = BLENDS[arm]
    weights: tuple[float, ...] = WEIGHTS
    parts = [_read_scores(run_folder(out, name, fraction, seed)) for name in dict.fromkeys(names)]
    if len(parts) < len(names):
        weights = (0.5,)
        other = random_encoder(experiment.encoder, seed + OTHER)
        second = _train(experiment, other, out, names[1], fraction, seed, train, seed + OTHER)
        parts.append((second.validation_scores, second.scores))
    targets = experiment.labels.targets[experiment.splits.validation]
    validation, test = zip(*parts)
    found, score, weight = blend(validation, test, targets, experiment.task, weights)
    return Outcome(
        scores=found[1],
        validation_scores=found[0],
        validation=score,
        chosen={"weight": weight},
        curve=[],
        undetermined=undetermined(experiment.task, experiment.labels.targets[train]),
    )


def _read_scores(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the scores of validation and test of a finished run."""
    validation, test = (np.load(folder / f"{part}_scores.npy", allow_pickle=False) for part in ("validation", "test"))
    return validation, test


def _train(
    experiment: Experiment,
    encoder: Encoder,
    out: Path,
    arm: str,
    fraction: float,
    seed: int,
    train: NDArray[np.int64],
    batches: int | None = None,
) -> Outcome:
    """Train one arm: the first seed tries every candidate, the others use what it chose.

    ``batches`` is another seed for all but the labels, of a second network, which uses what was chosen too.
    """
    settings = experiment.settings
    base = settings.scratch if arm == "scratch" else settings.pretrained_finetune
    candidates = settings.scratch_candidates if arm == "scratch" else settings.pretrained_candidates
    choices = candidate_settings(base, candidates, seed if batches is None else batches)
    first = run_folder(out, arm, fraction, settings.seeds[0]) / "result.json"
    chosen = None
    if seed != settings.seeds[0] or batches is not None:
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


def _identity(experiment: Experiment) -> dict[str, Any]:
    """Return what a folder's runs are about: another comparison must not continue them."""
    encoder = experiment.encoder
    return {
        "settings": experiment.settings.to_dict(),
        **data_identity(experiment.archive, experiment.labels, experiment.splits),
        "encoder": {
            "backbone": encoder.name,
            "options": encoder.options,
            "width": encoder.width,
            **{name: value for name, value in encoder.origin.items() if name != "signal"},
        },
    }
