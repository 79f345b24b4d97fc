"""Does pretraining pay here? Arms x label fractions x seeds on one label table, with intervals; resumable.

The rules (docs/evaluation.md): patients never cross splits and test patients are refused where the encoder has seen
them; label fractions are nested and drawn by patient; regularisation, learning rate, augmentation and epoch are chosen
on validation; the test records are scored once per run, after those choices. Every arm uses the same network, but for
that of the simulated hearts, and all arms that train use the same number of steps and of candidate settings.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.comparison.arms import BLENDS, PRETRAINED_PRIOR, PRIORS, SYNTHETIC, ZERO_SHOT, FeatureCache, members
from ssl_ecg.comparison.compare_settings import CompareSettings
from ssl_ecg.comparison.experiment import Experiment, run, simulated_hearts
from ssl_ecg.comparison.external import External
from ssl_ecg.comparison.folder import data_identity, declaration
from ssl_ecg.comparison.fractions import check_fractions
from ssl_ecg.comparison.models import keep_best_models
from ssl_ecg.comparison.rounds import Round
from ssl_ecg.comparison.seen_patients import check_unseen
from ssl_ecg.comparison.summary import Part, summarise
from ssl_ecg.labels.splits import check_no_leakage
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.runs import claim, locked
from ssl_ecg.tasks import Task, create_task
from ssl_ecg.tasks.simulated_probe import known_meanings, knows_simulated_hearts
from ssl_ecg.tasks.static_inputs import static_identity
from ssl_ecg.training.loggers import finish, log_rows, make_loggers
from ssl_ecg.training.progress import bar

# Each pretrained arm against the baselines that it must beat.
PAIRS = (
    ("pretrained_blend", "scratch"),
    ("pretrained_blend", "scratch_blend"),
    ("pretrained_prior_probe", "scratch"),
    ("pretrained_probe", "random_probe"),
    ("pretrained_probe", "scratch"),
    ("pretrained_finetune", "scratch"),
    ("pretrained_finetune", "pretrained_probe"),
    ("pretrained_finetune", "pretrained_prior_probe"),
    ("pretrained_probe", "pretrained_boost"),
    ("pretrained_blend", "scratch_ensemble"),
    ("scratch_blend", "scratch"),
    ("synthetic_zero_shot", "scratch"),
    ("synthetic_prior_probe", "scratch"),
    ("synthetic_prior_probe", "synthetic_zero_shot"),
    ("synthetic_prior_probe", "synthetic_probe"),
    ("pretrained_prior_probe", "pretrained_probe"),
    ("pretrained_prior_probe", "synthetic_prior_probe"),
    ("pretrained_blend", "pretrained_finetune"),
    ("pretrained_blend", "pretrained_prior_probe"),
    ("synthetic_probe", "random_probe"),
    ("pretrained_probe", "synthetic_probe"),
    ("synthetic_finetune", "scratch"),
    ("pretrained_finetune", "synthetic_finetune"),
    ("pretrained_probe", "external_probe"),
    ("pretrained_finetune", "external_probe"),
    ("pretrained_probe", "external"),
    ("pretrained_finetune", "external"),
)

logger = logging.getLogger(__name__)


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
    settings, out = _fitting(settings, archive, task, [e for one in rounds for e in one.encoders]), Path(out)
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
                    outcome = run(experiment, cache, arm, fraction, seed)
                    scored = {"step": 0, f"validation_{task.selection}": outcome.validation}
                    log_rows(loggers, outcome.curve or [scored], f"{arm}-{fraction:g}-{seed}{experiment.tag}/")
                shown.advance(job)
    finish(loggers)
    keep_best_models(out / "models", [folder for part in folders for folder in part], task)
    parts = [Part(those, one.splits) for those, one in zip(folders, rounds)]
    return summarise(out, parts, [PAIRS], labels, settings.replicates, task)


def _fitting(settings: CompareSettings, archive: Archive, task: Task, encoders: Sequence[Encoder]) -> CompareSettings:
    """Leave out arms of simulated hearts where an encoder cannot read the archive, or knows none of the labels."""
    left: set[str] = set()
    if asked := SYNTHETIC.intersection(settings.arms):
        try:
            simulated_hearts().check(archive.settings)
        except ValueError as error:
            left |= asked
            logger.warning("%s left out: %s", ", ".join(sorted(asked)), error)
    meant = {ZERO_SHOT, *PRIORS}.intersection(settings.arms) - left
    known = known_meanings(task, settings.meanings)
    if meant and not known:
        left |= meant
        said = "no label has a meaning in simulated hearts; give one with meanings="
        logger.warning("%s left out: %s", ", ".join(sorted(meant)), said)
    elif PRETRAINED_PRIOR in meant and not all(map(knows_simulated_hearts, encoders)):
        left.add(PRETRAINED_PRIOR)
        said = "the encoder has not learned from simulated hearts; pretrain it with start=synthetic"
        logger.warning("%s left out: %s", PRETRAINED_PRIOR, said)
    kept = [arm for arm in settings.arms if arm not in left]
    for arm in BLENDS.intersection(kept):
        if missing := sorted(set(members(arm, kept)) - set(kept)):
            left.add(arm)
            logger.warning("%s left out: it is made of %s too", arm, ", ".join(missing))
    return settings.replace(arms=tuple(arm for arm in settings.arms if arm not in left))


def _check(experiment: Experiment) -> None:
    """Refuse what would not be fair or cannot be run."""
    settings, labels, splits = experiment.settings, experiment.labels, experiment.splits
    outside = [] if experiment.external is None else filter(None, [experiment.external.encoder])
    for encoder in (*experiment.round.encoders, *outside):
        encoder.check(experiment.archive.settings)
        check_unseen(encoder, experiment.archive, labels.rows[splits.test], settings.seen_patients)
    check_no_leakage(labels, splits)
    check_fractions(labels, splits, settings.fractions, settings.seeds, settings.validation == "nested")


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
    arms = first.settings.arms
    if blends := {arm: list(members(arm, arms)) for arm in sorted(BLENDS.intersection(arms))}:
        about["blends"] = blends
    if len(origins) == len(origins[0]) == 1:
        return {"settings": first.settings.identity(), **data[0], **static, "encoder": {**about, **origins[0][0]}}
    warnings = list(dict.fromkeys(line for one in data for line in one["warnings"]))
    shared = {"archive": data[0]["archive"], "warnings": warnings}
    rounds = [{**{k: v for k, v in one.items() if k not in shared}, "encoders": of} for one, of in zip(data, origins)]
    return {"settings": first.settings.identity(), **shared, **static, "encoder": about, "rounds": rounds}
