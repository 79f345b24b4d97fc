"""Finished models become one model."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce
from pathlib import Path
from typing import Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.backbones.joined import joined_encoder
from ssl_ecg.comparison import check_unseen, remember
from ssl_ecg.labels.splits import Splits, SplitSettings
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.runs import Run, locked
from ssl_ecg.settings import Settings
from ssl_ecg.tasks import Classifier, Thresholds, fit_combination, join, load_model, read_task
from ssl_ecg.tasks.ensemble import Rule
from ssl_ecg.tasks.joining import check_alike, undecided
from ssl_ecg.training import predict_scores
from ssl_ecg.training.batches import count_incomplete
from ssl_ecg.verbs._folder import identity, weights_of
from ssl_ecg.verbs._given import ArchiveLike, TableLike, opened_for
from ssl_ecg.verbs._learning import Fitted, print_metrics
from ssl_ecg.verbs._model import found, write_model
from ssl_ecg.verbs.results import tested
from ssl_ecg.verbs.verb import console, verb

Models = str | Path | Sequence[str | Path | Classifier]


class VerbSettings(Settings):
    """How models are joined."""

    rule: Rule = "mean"
    """mean: of their standardised logits, with thresholds tuned on validation; any: positive if any of them is positive
    by its own threshold"""
    subgroups: tuple[str, ...] = ()
    """columns of the label table, or of the archive's manifest, for ``subgroups.csv``"""
    seen_patients: Literal["refuse", "test"] = "refuse"
    """where a member has learned from test patients of the same id: refuse, or test on them, since they are other
    people"""


def show(joined: Fitted, models: str, archive: str, labels: str, out: str) -> None:
    """Print the metrics, and where the model lies."""
    print_metrics(joined.metrics)
    console.print(f"the model lies in {out}, its members' scores in members.csv")


@verb(VerbSettings, show)
@locked("out")
def ensemble(
    models: Models, archive: ArchiveLike, labels: TableLike, out: str | Path, settings: VerbSettings
) -> Fitted:
    """Join finished models of one task into one model, on validation; test is scored once.

    Args:
        models: folders that ``finetune``, ``probe`` or ``compare`` wrote, separated by commas, or the folder of all of
            them; in Python a list of folders or models. They have the same task, classes, signals and windows, and may
            differ in network, pretraining, seed and split: folds, seeds, candidates.
        archive: the archive, or its folder.
        labels: label table of their classes. How each member split it is kept in its folder; records that validated a
            member fit the ensemble, by the members that have not learned from them, and those that tested all test.
        out: folder of the model, as ``finetune`` writes it, with ``members.csv``; the same call on a finished one
            returns it. Like any other it is loaded, scored and exported.
        settings: all settings at once, in place of single ones by name.

    Returns:
        Test metrics with patient-level bootstrap intervals, and the model.

    Raises:
        FileNotFoundError: no finished model.
        ValueError: a single model, models that differ, or no record that tests all of them.
    """
    members, names = _members(models, Path(out))
    check_alike(members)
    archive, task = opened_for(members[0].encoder, archive), undecided(members[0].task)
    table, task = read_task(task.name, labels, archive, task.classes, task.options, settings.subgroups)
    count_incomplete(archive, table.rows)
    splits, seen = _splits(members, names, table)
    test = tested(archive, labels, table, splits.test, settings.subgroups)
    for member in members:
        check_unseen(member.encoder, archive, test.rows, settings.seen_patients)
    encoder, run = joined_encoder([member.encoder for member in members]), Run(Path(out))
    about = identity("ensemble", encoder, archive, table, splits.parts, settings)
    about["heads"] = [weights_of(member.head, member.task.name) for member in members]
    if (earlier := found(run, about, encoder)) is not None:
        return earlier
    judges, targets = table.rows[splits.validation], table.targets[splits.validation]
    own = [
        np.where(known[:, None], np.nan, predict_scores(member, archive, judges))
        for member, known in zip(members, seen)
    ]
    combination = fit_combination(task, own, targets, None, settings.rule, _thresholds(members, names, settings.rule))
    model = join(members, combination)
    task = model.task = combination.decided(task, targets, predict_scores(model, archive, judges))
    remember(model, archive, table, splits)
    scores = predict_scores(model, archive, test.rows)
    of_members = [predict_scores(member, archive, test.rows) for member in members]
    name = str(task.selection)
    told = [task.evaluate(table.targets[splits.test], each)[name] for each in of_members]
    further = {"members": pd.DataFrame({"model": names, "weight": combination.weight, f"test_{name}": told})}
    metrics, asked = test.metrics(task, scores), {**settings.to_dict(), "models": names}
    start = f"of {len(members)} finished models"
    write_model(run.folder, model, test, scores, metrics, splits, asked, start, further, verb="ensemble")
    return Fitted(metrics, model)


def _members(given: Models, out: Path) -> tuple[list[Classifier], list[str]]:
    """Return the models, and what to call them.

    Raises:
        ValueError: fewer than two, or one that the ensemble would replace.
    """
    if isinstance(given, str | Path):
        inner = sorted(path.parent for path in Path(given).glob("*/task.json"))
        given = inner if inner and not (Path(given) / "task.json").exists() else str(given).split(",")
    if len(given) < 2:
        raise ValueError(f"models={str(given[0]) if given else ''!r}: an ensemble has two members or more; name others")
    if any(isinstance(one, str | Path) and Path(one).resolve() == out.resolve() for one in given):
        raise ValueError(f"out={str(out)!r}: a member lies there, and would be replaced; choose another folder")
    names = [
        Path(one).resolve().name if isinstance(one, str | Path) else f"model {n}" for n, one in enumerate(given, 1)
    ]
    return [load_model(one) if isinstance(one, str | Path) else one for one in given], names


def _splits(
    members: Sequence[Classifier], names: Sequence[str], labels: LabelTable
) -> tuple[Splits, NDArray[np.bool_]]:
    """Return who taught a member, who validated one and who tests all; and bool [M, n], which of the second taught it.

    Raises:
        ValueError: a member that does not know its split, or nobody tests all.
    """
    each = []
    for member, name in zip(members, names):
        if (how := member.encoder.origin.get("split")) is None:
            raise ValueError(f"models: {name} does not know who trained and tested it; train it again")
        each.append(SplitSettings(**how).split(labels))
    test = reduce(np.intersect1d, [one.test for one in each])
    if not len(test):
        raise ValueError("models: no record tests all of them; train them with splits that have test records in common")
    train, validation = (
        np.unique(np.concatenate(part)) for part in ([s.train for s in each], [s.validation for s in each])
    )
    alike = all(one.how == each[0].how for one in each)
    validation = np.setdiff1d(validation, test)
    seen = np.stack([np.isin(validation, one.train) for one in each])
    return Splits(np.setdiff1d(train, test), validation, test, each[0].how if alike else {}), seen


def _thresholds(members: Sequence[Classifier], names: Sequence[str], rule: Rule) -> list[NDArray[np.float64]]:
    """Return the members' thresholds, where they are asked for.

    Raises:
        ValueError: a member that decides nothing.
    """
    known = []
    for member, name in zip(members, names) if rule == "any" else ():
        if not isinstance(member.task, Thresholds) or member.task.thresholds is None:
            raise ValueError(f"rule={rule!r}: {name} decides nothing; choose mean")
        known.append(member.task.thresholds)
    return known
