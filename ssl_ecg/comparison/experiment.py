"""One round of a comparison: which runs it has, and each of them, from its labels to its folder."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache, partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder, load_encoder
from ssl_ecg.comparison.arms import (
    BLENDS,
    BOOSTED,
    EXTERNAL,
    PRIORS,
    SYNTHETIC,
    TRAINED,
    ZERO_SHOT,
    FeatureCache,
    Outcome,
    candidate_settings,
    members,
    random_encoder,
    run_boosted,
    run_probe,
    run_trained,
    run_zero_shot,
    undetermined,
)
from ssl_ecg.comparison.blend import blend, blended_model
from ssl_ecg.comparison.compare_settings import CompareSettings
from ssl_ecg.comparison.external import External
from ssl_ecg.comparison.folder import result_of, write_run
from ssl_ecg.comparison.models import MODEL, write_run_model
from ssl_ecg.comparison.rounds import Round
from ssl_ecg.labels.splits import Splits, nested_fractions
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.tasks import LinearProbe, Task
from ssl_ecg.training.frozen import Features

OTHER = 1000
"""added to the seed of an ensemble's second network"""


@lru_cache(maxsize=1)
def simulated_hearts() -> Encoder:
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

    def prior(self, cache: FeatureCache, name: str, encoder: Encoder) -> LinearProbe | None:
        """Return what simulated hearts say of the labels, read by an encoder; None where that is nothing."""
        return cache.prior(name, encoder, self.task, self.settings.meanings)

    def start(self, arm: str, seed: int) -> tuple[str, Encoder]:
        """Return what an arm starts from, with its name."""
        if arm in SYNTHETIC:
            return "synthetic", simulated_hearts()
        if self.external is not None and self.external.encoder is not None and arm == self.external.arm:
            return "external", self.external.encoder
        encoders = self.round.encoders
        if not arm.startswith("pretrained"):
            return f"random {seed}", random_encoder(encoders[0], seed)
        number = seed % len(encoders)
        return f"pretrained {number}", encoders[number]


def run(experiment: Experiment, cache: FeatureCache, arm: str, fraction: float, seed: int) -> Outcome:
    """Run one arm at one fraction with one seed, and write its folder; the result file comes last and marks it done."""
    started = time.perf_counter()
    labels, archive, task = experiment.labels, experiment.archive, experiment.task
    splits = experiment.given(fraction, seed)
    name, encoder = experiment.start(arm, seed)
    if experiment.external is not None and arm == EXTERNAL:
        outcome = experiment.external.scored(archive, labels, splits, task)
    elif arm in BLENDS:
        outcome = _blended(experiment, arm, fraction, seed, splits)
    elif arm == ZERO_SHOT:
        probe, features = experiment.prior(cache, name, encoder), cache.get(name, encoder)
        assert probe is not None, "compare leaves the arm out"
        outcome = run_zero_shot(probe, features, labels.targets, splits.validation, splits.test)
    elif arm in TRAINED:
        frozen, informed = cache.of(name, encoder), partial(experiment.prior, cache, name, encoder)
        outcome = _train(experiment, encoder, arm, fraction, seed, splits, frozen, informed)
    elif arm == BOOSTED:
        features = cache.get(name, encoder)
        outcome = run_boosted(features, labels.targets, splits.train, splits.validation, splits.test, task)
    else:
        features, prior = cache.get(name, encoder), experiment.prior(cache, name, encoder) if arm in PRIORS else None
        outcome = run_probe(features, labels.targets, splits.train, splits.validation, splits.test, task, prior)
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
        seen = None if outcome.probe is None else cache.of(name, encoder)
        write_run_model(folder / MODEL, outcome, encoder, task, archive, labels, splits, splits.train, result, seen)
    write_run(folder, outcome, result)
    return outcome


def _blended(experiment: Experiment, arm: str, fraction: float, seed: int, splits: Splits) -> Outcome:
    """Blend finished runs; the second network of an ensemble is trained here, with the same labels."""
    names = members(arm, experiment.settings.arms)
    weights: list[tuple[float, ...]] | None = None
    folders = [experiment.folder(name, fraction, seed) for name in dict.fromkeys(names)]
    parts = [_read_scores(folder) for folder in folders]
    second: Outcome | None = None
    if len(parts) < len(names):
        weights = [(0.5, 0.5)]
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
        chosen={"weights": " ".join(f"{weight:.2f}" for weight in combination.weight)},
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
    prior: Callable[[], LinearProbe | None] | None = None,
    batches: int | None = None,
) -> Outcome:
    """Train one arm: the first seed tries every candidate, the others use what it chose.

    ``frozen`` gives the features of the encoder, for the heads that start as its probe, ``prior`` makes what that probe
    is pulled to. ``batches`` is another seed for all but the labels, of a second network, which uses what was chosen
    too.
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
        prior() if prior is not None and any(choice.head == "probe" for choice in choices) else None,
    )
    return replace(outcome, chosen={**outcome.chosen, "candidate": index if chosen is None else chosen})
