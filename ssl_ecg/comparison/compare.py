"""Does pretraining pay here? Arms x label fractions x seeds on one label table, with intervals; resumable.

The rules (docs/evaluation.md): patients never cross splits and test patients are refused where the encoder has seen
them; label fractions are nested and drawn by patient; regularisation, learning rate, augmentation and epoch are chosen
on validation; the test records are scored once per run, after those choices. Every arm uses the same network, but for
that of the simulated hearts, and all arms that train use the same number of steps and of candidate settings.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder, load_encoder
from ssl_ecg.comparison.arms import (
    BLENDS,
    BOOSTED,
    EXTERNAL,
    SYNTHETIC,
    TRAINED,
    FeatureCache,
    Outcome,
    candidate_settings,
    members,
    random_encoder,
    run_boosted,
    run_probe,
    run_trained,
    undetermined,
)
from ssl_ecg.comparison.blend import WEIGHTS, blend, blended_model
from ssl_ecg.comparison.compare_settings import CompareSettings
from ssl_ecg.comparison.external import External
from ssl_ecg.comparison.folder import data_identity, declaration, result_of, write_run
from ssl_ecg.comparison.fractions import check_fractions
from ssl_ecg.comparison.models import MODEL, keep_best_models, write_run_model
from ssl_ecg.comparison.rounds import Round
from ssl_ecg.comparison.seen_patients import check_unseen
from ssl_ecg.comparison.summary import Part, summarise
from ssl_ecg.labels.splits import Splits, check_no_leakage, nested_fractions
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.runs import claim, locked
from ssl_ecg.tasks import Task, create_task
from ssl_ecg.tasks.static_inputs import static_identity
from ssl_ecg.training.frozen import Features
from ssl_ecg.training.loggers import finish, log_rows, make_loggers
from ssl_ecg.training.progress import bar

# Each pretrained arm against the baselines that it must beat.
PAIRS = (
    ("pretrained_probe", "random_probe"),
    ("pretrained_probe", "scratch"),
    ("pretrained_finetune", "scratch"),
    ("pretrained_finetune", "pretrained_probe"),
    ("pretrained_probe", "pretrained_boost"),
    ("pretrained_blend", "scratch"),
    ("pretrained_blend", "scratch_ensemble"),
    ("pretrained_blend", "pretrained_finetune"),
    ("synthetic_probe", "random_probe"),
    ("pretrained_probe", "synthetic_probe"),
    ("synthetic_finetune", "scratch"),
    ("pretrained_finetune", "synthetic_finetune"),
    ("pretrained_probe", "external_probe"),
    ("pretrained_finetune", "external_probe"),
    ("pretrained_probe", "external"),
    ("pretrained_finetune", "external"),
)

OTHER = 1000
"""added to the seed of an ensemble's second network"""

logger = logging.getLogger(__name__)


@lru_cache(maxsize=1)
def _simulated_hearts() -> Encoder:
    """Load the encoder that ships once, for all runs that start from it; they train copies."""
    return load_encoder("synthetic")


@dataclass(frozen=True)
class Experiment:
    """Everything that the runs of one round need, checked once.

    ``tag`` ends the names of its folders, where there are several rounds.
    """

    round: Round
    archive: Archive
    labels: LabelTable
    task: Task
    settings: CompareSettings
    out: Path
    tag: str = ""
    external: External | None = None

    @property
    def splits(self) -> Splits:
        """Of the round."""
        return self.round.splits

    def runs(self) -> Iterator[tuple[str, float, int]]:
        """Yield arm, fraction and seed of each run; blends come after what they are made of."""
        for fraction in self.settings.fractions:
            further = [] if self.external is None else [self.external.arm]
            for arm in [*sorted(self.settings.arms, key=lambda arm: arm in BLENDS), *further]:
                for seed in self.settings.seeds_of(arm):
                    yield arm, fraction, seed

    def folder(self, arm: str, fraction: float, seed: int) -> Path:
        """Return where a run's result lies."""
        return self.out / "runs" / f"{arm}-{fraction:g}-{seed}{self.tag}"

    def labelled(self, index: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Return archive rows and targets of label-table indices."""
        return self.labels.rows[index], self.labels.targets[index]

    def given(self, fraction: float, seed: int) -> Splits:
        """Return the split with the training, and perhaps the validation, records of a fraction of the labels."""
        splits, labels, fractions = self.splits, self.labels, self.settings.fractions
        train = nested_fractions(labels, splits.train, fractions, seed)[fraction]
        if self.settings.validation == "full":
            return replace(splits, train=train)
        judges = nested_fractions(labels, splits.validation, fractions, seed)[fraction]
        return replace(splits, train=train, validation=judges)

    def start(self, arm: str, seed: int) -> tuple[str, Encoder]:
        """Return what an arm starts from, with its name."""
        if arm in SYNTHETIC:
            return "synthetic", _simulated_hearts()
        if self.external is not None and self.external.encoder is not None and arm == self.external.arm:
            return "external", self.external.encoder
        encoders = self.round.encoders
        if not arm.startswith("pretrained"):
            return f"random {seed}", random_encoder(encoders[0], seed)
        number = seed % len(encoders)
        return f"pretrained {number}", encoders[number]


@locked("out")
def compare(
    rounds: Sequence[Round],
    archive: Archive,
    labels: LabelTable,
    out: str | Path,
    settings: CompareSettings,
    progress: bool = True,
    command: str = "",
) -> pd.DataFrame:
    """Run every arm at every label fraction with every seed in every round, and write what came out.

    Writes into ``out``: ``results.csv`` (one row per run), ``summary.csv`` (means, intervals, paired differences),
    ``per_class.csv``, ``curves.csv``, ``comparison.json``, ``models/``: of each arm that has models the one with the
    best validation score at the largest fraction, and ``runs/``: one folder per finished run, which a second call does
    not run again.

    Args:
        rounds: pretrained encoders, and who tests them; see ``rounds_of``.
        archive: signals.
        labels: label table.
        out: folder.
        settings: what to compare.
        progress: show a progress bar.
        command: recorded as how this was made.

    Returns:
        The summary, with columns task, arm, fraction, seeds, metric, mean, low, high, positives, negatives, p_value,
            detectable; see ``summarise``.

    Raises:
        ValueError: leakage, data that an encoder refuses, a label fraction that teaches nothing, or ``out`` holds a
            comparison of something else.
        FolderInUseError: another process compares into ``out``.
    """
    task = create_task(settings.task.name, labels.classes, **settings.task.options)
    settings, out = _fitting(settings, archive), Path(out)
    tags = [f"-round{number}" if len(rounds) > 1 else "" for number in range(1, len(rounds) + 1)]
    external = None if settings.external is None else External(settings.external)
    every = [Experiment(one, archive, labels, task, settings, out, tag, external) for one, tag in zip(rounds, tags)]
    for experiment in every:
        _check(experiment)
    claim(out / "comparison.json", _identity(every), {"command": command, **declaration(labels, task)})
    folders = [[experiment.folder(*run) for run in experiment.runs()] for experiment in every]
    loggers = make_loggers(settings.loggers, out, settings.identity())
    with bar(progress) as shown:
        job = shown.add_task("comparing", total=sum(map(len, folders)), numbers="")
        for experiment in every:
            cache = FeatureCache(archive, labels.rows)
            for arm, fraction, seed in experiment.runs():
                shown.update(job, numbers=f"{arm} {100 * fraction:g} % seed {seed}{experiment.tag}")
                if not (experiment.folder(arm, fraction, seed) / "result.json").is_file():
                    outcome = _run(experiment, cache, arm, fraction, seed)
                    scored = {"step": 0, f"validation_{task.selection}": outcome.validation}
                    log_rows(loggers, outcome.curve or [scored], f"{arm}-{fraction:g}-{seed}{experiment.tag}/")
                shown.advance(job)
    finish(loggers)
    keep_best_models(out / "models", [folder for part in folders for folder in part], task)
    parts = [Part(those, one.splits) for those, one in zip(folders, rounds)]
    return summarise(out, parts, [PAIRS], labels, settings.replicates, task)


def _fitting(settings: CompareSettings, archive: Archive) -> CompareSettings:
    """Leave out the arms of simulated hearts where their encoder cannot read the archive."""
    if not SYNTHETIC & set(settings.arms):
        return settings
    try:
        _simulated_hearts().check(archive.settings)
    except ValueError as error:
        left = tuple(arm for arm in settings.arms if arm not in SYNTHETIC)
        logger.warning("%s left out: %s", ", ".join(sorted(SYNTHETIC & set(settings.arms))), error)
        return settings.replace(arms=left)
    return settings


def _check(experiment: Experiment) -> None:
    """Refuse what would not be fair or cannot be run."""
    settings, labels, splits = experiment.settings, experiment.labels, experiment.splits
    outside = [] if experiment.external is None else filter(None, [experiment.external.encoder])
    for encoder in (*experiment.round.encoders, *outside):
        encoder.check(experiment.archive.settings)
        check_unseen(encoder, experiment.archive, labels.rows[splits.test], settings.seen_patients)
    check_no_leakage(labels, splits)
    check_fractions(labels, splits, settings.fractions, settings.seeds, settings.validation == "nested")


def _run(experiment: Experiment, cache: FeatureCache, arm: str, fraction: float, seed: int) -> Outcome:
    """Run one arm at one fraction with one seed, and write its folder; the result file comes last and marks it done."""
    started = time.perf_counter()
    labels, archive, task = experiment.labels, experiment.archive, experiment.task
    splits = experiment.given(fraction, seed)
    name, encoder = experiment.start(arm, seed)
    if experiment.external is not None and arm == EXTERNAL:
        outcome = experiment.external.scored(archive, labels, splits, task)
    elif arm in BLENDS:
        outcome = _blended(experiment, arm, fraction, seed, splits)
    elif arm in TRAINED:
        outcome = _train(experiment, encoder, arm, fraction, seed, splits, cache.of(name, encoder))
    else:
        features, learn = cache.get(name, encoder), run_boosted if arm == BOOSTED else run_probe
        outcome = learn(features, labels.targets, splits.train, splits.validation, splits.test, task)
    result = {
        "arm": arm,
        "fraction": fraction,
        "seed": seed,
        **({"round": experiment.tag.removeprefix("-round")} if experiment.tag else {}),
        **result_of(outcome, task, labels, splits, splits.train),
        "seconds": round(time.perf_counter() - started, 1),
    }
    folder = experiment.folder(arm, fraction, seed)
    of_one_model = outcome.model is not None or outcome.probe is not None
    if fraction == max(experiment.settings.fractions) and of_one_model:
        write_run_model(folder / MODEL, outcome, encoder, task, archive, labels, splits, splits.train, result)
    write_run(folder, outcome, result)
    return outcome


def _blended(experiment: Experiment, arm: str, fraction: float, seed: int, splits: Splits) -> Outcome:
    """Blend two finished runs; the second network of an ensemble is trained here, with the same labels."""
    names = members(arm, experiment.settings.arms)
    weights: tuple[float, ...] = WEIGHTS
    folders = [experiment.folder(name, fraction, seed) for name in dict.fromkeys(names)]
    parts = [_read_scores(folder) for folder in folders]
    second: Outcome | None = None
    if len(parts) < len(names):
        weights = (0.5,)
        other = random_encoder(experiment.round.encoders[0], seed + OTHER)
        second = _train(experiment, other, names[1], fraction, seed, splits, batches=seed + OTHER)
        parts.append((second.validation_scores, second.scores))
    task, targets = experiment.task, experiment.labels.targets
    validation, test = zip(*parts)
    combination, score = blend(validation, targets[splits.validation], task, weights)
    return Outcome(
        scores=combination.scores(test, task),
        validation_scores=combination.scores(validation, task),
        validation=score,
        chosen={"weight": float(combination.weight[1])},
        curve=[],
        undetermined=undetermined(task, targets[splits.train]),
        model=blended_model([folder / MODEL for folder in folders], second, combination),
    )


def _read_scores(folder: Path) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return the scores of validation and test of a finished run."""
    validation, test = (np.load(folder / f"{part}_scores.npy", allow_pickle=False) for part in ("validation", "test"))
    return validation, test


def _train(
    experiment: Experiment,
    encoder: Encoder,
    arm: str,
    fraction: float,
    seed: int,
    splits: Splits,
    frozen: Features | None = None,
    batches: int | None = None,
) -> Outcome:
    """Train one arm: the first seed tries every candidate, the others use what it chose.

    ``frozen`` gives the features of the encoder, for the heads that start as its probe. ``batches`` is another seed for
    all but the labels, of a second network, which uses what was chosen too.
    """
    settings = experiment.settings
    base = settings.scratch if arm == "scratch" else settings.pretrained_finetune
    candidates = settings.scratch_candidates if arm == "scratch" else settings.pretrained_candidates
    choices = candidate_settings(base, candidates, seed if batches is None else batches)
    first = experiment.folder(arm, fraction, settings.seeds[0]) / "result.json"
    chosen = None
    if seed != settings.seeds[0] or batches is not None:
        chosen = int(json.loads(first.read_text(encoding="utf-8"))["candidate"])
        choices = [choices[chosen]]
    outcome, index = run_trained(
        encoder,
        experiment.task,
        experiment.archive,
        experiment.labelled(splits.train),
        experiment.labelled(splits.validation),
        experiment.labels.rows[splits.test],
        choices,
        frozen,
    )
    return replace(outcome, chosen={**outcome.chosen, "candidate": index if chosen is None else chosen})


def _identity(every: Sequence[Experiment]) -> dict[str, Any]:
    """Return what a folder's runs are about: another comparison must not continue them."""
    first = every[0]
    data = [data_identity(first.archive, first.labels, one.splits) for one in every]
    origins = [
        [{name: value for name, value in encoder.origin.items() if name != "signal"} for encoder in one.round.encoders]
        for one in every
    ]
    static = static_identity(first.settings.static, first.archive, first.labels.rows)
    network = first.round.encoders[0]
    about = {"backbone": network.name, "options": network.options, "width": network.width}
    about |= {} if first.external is None else first.external.about
    if len(origins) == len(origins[0]) == 1:
        return {"settings": first.settings.identity(), **data[0], **static, "encoder": {**about, **origins[0][0]}}
    warnings = list(dict.fromkeys(line for one in data for line in one["warnings"]))
    shared = {"archive": data[0]["archive"], "warnings": warnings}
    rounds = [{**{k: v for k, v in one.items() if k not in shared}, "encoders": of} for one, of in zip(data, origins)]
    return {"settings": first.settings.identity(), **shared, **static, "encoder": about, "rounds": rounds}
