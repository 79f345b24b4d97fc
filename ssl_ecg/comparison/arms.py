"""The arms of the comparison: what is trained, from where, and what validation chooses."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import numpy as np
from annotated_types import Gt, Le, MinLen
from numpy.typing import NDArray
from pydantic import AfterValidator

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.backbones.foreign import reset
from ssl_ecg.evaluation import undefined_classes
from ssl_ecg.tasks import Classifier, Probe, Task
from ssl_ecg.tasks.boosted import Boosted
from ssl_ecg.tasks.linear_probe import LinearProbe
from ssl_ecg.tasks.simulated_probe import fit_from, simulated_prior
from ssl_ecg.training.engine import seed_step
from ssl_ecg.training.finetune_settings import FinetuneSettings
from ssl_ecg.training.finetuning import finetune
from ssl_ecg.training.frozen import Features, extract_features, predict_scores

Arm = Literal[
    "random_probe",
    "synthetic_zero_shot",
    "synthetic_probe",
    "synthetic_prior_probe",
    "pretrained_probe",
    "pretrained_prior_probe",
    "pretrained_boost",
    "scratch",
    "scratch_ensemble",
    "scratch_blend",
    "synthetic_finetune",
    "pretrained_finetune",
    "pretrained_blend",
]
ARMS: tuple[Arm, ...] = (
    "random_probe",
    "synthetic_zero_shot",
    "synthetic_probe",
    "synthetic_prior_probe",
    "pretrained_probe",
    "pretrained_prior_probe",
    "scratch",
    "scratch_blend",
    "pretrained_finetune",
    "pretrained_blend",
)
EXTERNAL, EXTERNAL_PROBE = "external", "external_probe"
"""arms of what ``external=`` names: a function that needs no labels, or the linear probe of an encoder"""
BOOSTED = "pretrained_boost"
"""trees on frozen features: deep features, classical model"""
ZERO_SHOT = "synthetic_zero_shot"
"""a probe that learns the classes from simulated hearts, and from no label"""
SYNTHETIC_PRIOR, PRETRAINED_PRIOR = PRIORS = ("synthetic_prior_probe", "pretrained_prior_probe")
"""probes that are pulled to what their encoder says without labels, instead of to zero"""
UNTAUGHT = frozenset({ZERO_SHOT, EXTERNAL})
"""arms that learn nothing from labels"""
PROBES = frozenset({"random_probe", ZERO_SHOT, "synthetic_probe", "pretrained_probe", *PRIORS, BOOSTED, EXTERNAL_PROBE})
TRAINED = frozenset({"scratch", "synthetic_finetune", "pretrained_finetune"})
SYNTHETIC = frozenset({ZERO_SHOT, "synthetic_probe", SYNTHETIC_PRIOR, "synthetic_finetune"})
"""arms that start from the encoder of simulated hearts that ships"""
BLENDS = frozenset({"scratch_ensemble", "scratch_blend", "pretrained_blend"})


def members(blend: str, arms: Collection[str]) -> tuple[str, ...]:
    """Return what a blended arm is made of, where these arms are run; two of the same name are of different seeds.

    Models that err in other ways gain most by their mean (docs/results/few_labels): probes of two encoders that have
    the prior of simulated hearts, a network that was pretrained and one that was not. Without these probes it is a
    probe, that of simulated hearts where it is run, and the pretrained network.
    """
    if blend == "scratch_ensemble":
        return "scratch", "scratch"
    if blend == "scratch_blend":
        return SYNTHETIC_PRIOR, "scratch"
    if PRETRAINED_PRIOR in arms:
        return (*(arm for arm in PRIORS if arm in arms), "pretrained_finetune", "scratch")
    return "synthetic_probe" if "synthetic_probe" in arms else "pretrained_probe", "pretrained_finetune"


def _all_different(seeds: tuple[int, ...]) -> tuple[int, ...]:
    if len(set(seeds)) < len(seeds):
        raise ValueError(f"seeds={list(seeds)}: name each once")
    return seeds


Fraction = Annotated[float, Gt(0), Le(1)]
Seeds = Annotated[tuple[int, ...], MinLen(1), AfterValidator(_all_different)]

Rows = NDArray[np.int64]
Labelled = tuple[Rows, NDArray[np.float32]]


@dataclass(frozen=True)
class Outcome:
    """One finished run.

    Attributes:
        scores: float32 [n, C] on the test records, computed once, after every choice.
        validation_scores: float32 [m, C] on the validation records, of what was chosen.
        validation: the task's selection metric on validation, of what was chosen.
        chosen: what validation chose (regularisation, candidate settings, step).
        curve: one row per evaluation during training, of the chosen candidate.
        undetermined: indices of outcomes that the labels of this run cannot teach.
        model: the trained classifier; None for a probe.
        probe: the fitted probe; None for a trained classifier.
    """

    scores: NDArray[np.float32]
    validation_scores: NDArray[np.float32]
    validation: float
    chosen: dict[str, Any]
    curve: list[dict[str, float]]
    undetermined: list[int]
    model: Classifier | None = None
    probe: Probe | None = None


def random_encoder(encoder: Encoder, seed: int) -> Encoder:
    """Return the same network with the weights that pretraining would have started from.

    A network of one's own gets them from the ``reset_parameters`` of its modules.

    Raises:
        ValueError: a network of one's own with a parameter that nothing resets.
    """
    seed_step(seed, 0, stream=2)
    if encoder.foreign:
        return Encoder(reset(encoder.backbone), {}, encoder.signal)
    return Encoder(encoder.name, encoder.options, encoder.signal)


class FeatureCache:
    """Frozen features of every record of the label table, once per encoder."""

    def __init__(self, archive: Archive, rows: Rows) -> None:
        self.archive, self.rows = archive, rows
        self._features: dict[str, NDArray[np.float32]] = {}
        self._priors: dict[str, LinearProbe | None] = {}

    def get(self, name: str, encoder: Encoder) -> NDArray[np.float32]:
        """Return float32 [records, D], computed at the first call for ``name``."""
        if name not in self._features:
            self._features[name] = extract_features(encoder, self.archive, self.rows)
        return self._features[name]

    def of(self, name: str, encoder: Encoder) -> Features:
        """Return what gives the features of archive rows that the label table has, computed where first asked."""
        order = np.argsort(self.rows)
        return lambda rows: self.get(name, encoder)[order[np.searchsorted(self.rows, rows, sorter=order)]]

    def prior(
        self, name: str, encoder: Encoder, task: Task, meanings: Mapping[str, Sequence[str]] | None
    ) -> LinearProbe | None:
        """Return ``simulated_prior``, made at the first call for ``name``."""
        if name not in self._priors:
            self._priors[name] = simulated_prior(task, encoder, meanings)
        return self._priors[name]


def run_zero_shot(
    probe: LinearProbe,
    features: NDArray[np.float32],
    targets: NDArray[np.float32],
    validation: Rows,
    test: Rows,
) -> Outcome:
    """Score rows ``test`` of features [n, D] by a probe that learned from no label; targets [n, C] judge validation."""
    scores = np.asarray(probe.scores(features[validation]), np.float32)
    found = probe.task.evaluate(targets[validation], scores)
    return Outcome(
        scores=np.asarray(probe.scores(features[test]), np.float32),
        validation_scores=scores,
        validation=found[probe.task.selection.name],
        chosen={},
        curve=[],
        undetermined=_untold(probe),
        probe=probe,
    )


def run_probe(
    features: NDArray[np.float32],
    targets: NDArray[np.float32],
    train: Rows,
    validation: Rows,
    test: Rows,
    task: Task,
    prior: LinearProbe | None = None,
) -> Outcome:
    """Fit the task's probe on rows ``train`` of features [n, D] and targets [n, C]; score rows ``test`` once.

    ``prior`` is the probe of these features that needs no label, to which this one is pulled.
    """
    parts = features[train], targets[train], features[validation], targets[validation]
    probe = fit_from(prior, task, *parts)
    return Outcome(
        scores=np.asarray(probe.scores(features[test]), np.float32),
        validation_scores=np.asarray(probe.scores(features[validation]), np.float32),
        validation=probe.validation_score,
        chosen={"C": probe.C},
        curve=[],
        undetermined=_untold(probe) if isinstance(probe, LinearProbe) else undetermined(task, targets[train]),
        probe=probe,
    )


def run_boosted(
    features: NDArray[np.float32],
    targets: NDArray[np.float32],
    train: Rows,
    validation: Rows,
    test: Rows,
    task: Task,
) -> Outcome:
    """Fit gradient-boosted trees in place of the probe of ``run_probe``; validation chooses how many of each class.

    Raises:
        ValueError: a task without labels.
    """
    if not task.of_labels:
        raise ValueError(f"arms: {BOOSTED} classifies, and task {task.name!r} has no labels; leave it out")
    boosted = Boosted()
    boosted.fit(features[train], targets[train], features[validation], targets[validation])
    scores, validated = (boosted.scores(features[part]).astype(np.float32) for part in (test, validation))
    return Outcome(
        scores=scores,
        validation_scores=validated,
        validation=task.evaluate(targets[validation], validated)[task.selection.name],
        chosen={"trees": boosted.chosen},
        curve=[],
        undetermined=undetermined(task, targets[train]),
    )


def run_trained(
    encoder: Encoder,
    task: Task,
    archive: Archive,
    train: Labelled,
    validation: Labelled,
    test_rows: Rows,
    candidates: Sequence[FinetuneSettings],
    frozen: Features | None = None,
    prior: LinearProbe | None = None,
) -> tuple[Outcome, int]:
    """Train every candidate, keep the best on validation, score test once with that one.

    ``frozen`` and ``prior`` are those of ``finetune``.

    Returns:
        The outcome, and the index of the chosen candidate.
    """
    best, index = None, 0
    tried = []
    for number, settings in enumerate(candidates):
        run = finetune(encoder, task, archive, train, validation, settings, frozen=frozen, prior=prior)
        tried.append(run.best[f"validation_{task.selection}"])
        if best is None or task.selection.better(tried[number], tried[index]):
            best, index = run, number
    assert best is not None
    settings = candidates[index]
    outcome = Outcome(
        scores=predict_scores(best.model, archive, test_rows),
        validation_scores=predict_scores(best.model, archive, validation[0]),
        validation=tried[index],
        chosen={
            "learning_rate": settings.learning_rate,
            "candidate": index,
            "step": int(best.best["step"]),
            "candidate_validation": tried,
        },
        curve=best.curve,
        undetermined=undetermined(task, train[1]),
        model=best.model,
    )
    return outcome, index


def _untold(probe: LinearProbe) -> list[int]:
    """Return the indices of labels that neither training nor, where the probe has one, its prior tells."""
    return [probe.task.classes.index(name) for name in probe.undetermined]


def undetermined(task: Task, targets: NDArray[np.float32]) -> list[int]:
    """Return the indices of outcomes that these targets cannot teach."""
    return np.flatnonzero(undefined_classes(task.outcome(targets))).tolist()


def candidate_settings(
    base: FinetuneSettings, candidates: Sequence[Mapping[str, Any]], seed: int
) -> list[FinetuneSettings]:
    """Return ``base`` changed by each candidate.

    Raises:
        SettingsError: a candidate names a setting that does not exist.
    """
    return [base.replace(**{**candidate, "seed": seed}) for candidate in (candidates or [{}])]
