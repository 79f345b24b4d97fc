"""Gradient boosting on named numbers of the ECG, columns of a table and frozen features: the classical arm."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
from annotated_types import Ge, Gt
from numpy.typing import NDArray

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder, load_encoder
from ssl_ecg.comparison import check_unseen
from ssl_ecg.labels import LabelTable, read_columns, read_labels
from ssl_ecg.runs import lock, whole_folder, write_csv, write_json
from ssl_ecg.settings import SettingsError
from ssl_ecg.tasks import Task, create_task
from ssl_ecg.tasks.boosted import LEARNING_RATE, TREES, Boosted
from ssl_ecg.tasks.rhythm import FEATURES
from ssl_ecg.tasks.static_inputs import RHYTHM, numbers, static_of
from ssl_ecg.training import extract_features
from ssl_ecg.verbs._given import ArchiveLike, TableLike, opened
from ssl_ecg.verbs._learning import EncoderLike, LabelSettings, no_encoder, print_metrics
from ssl_ecg.verbs.results import tested
from ssl_ecg.verbs.verb import console, verb

DEEP = "deep features"
Groups = dict[str, list[int]]


class VerbSettings(LabelSettings):
    """What trees see, and how many there are."""

    rhythm: bool = True
    """named numbers of the ECG: rhythm, intervals and amplitudes (``ssl_ecg.tasks.rhythm.FEATURES``)"""
    columns: tuple[str, ...] = ()
    """columns of numbers, or sex, of the label table or of the manifest, such as age; they may have blanks, from which
    trees learn too, and are no classes"""
    trees: Annotated[int, Gt(0)] = TREES
    """most trees of a class; validation chooses how many"""
    learning_rate: Annotated[float, Gt(0)] = LEARNING_RATE
    """of the boosting"""
    repeats: Annotated[int, Ge(1)] = 5
    """permutations of each feature, for its importance"""
    seed: Annotated[int, Ge(0)] = 0
    """of trees and permutations"""


def show(metrics: dict[str, float], encoder: str, archive: str, labels: str, out: str) -> None:
    """Print the metrics."""
    print_metrics(metrics)
    console.print(f"predictions, features and their importances lie in {out}")


@verb(VerbSettings, show)
def boost(
    encoder: EncoderLike | None, archive: ArchiveLike, labels: TableLike, out: str | Path, settings: VerbSettings
) -> dict[str, float]:
    """Learn labels by gradient boosting (scikit-learn) on named features, with or without those of an encoder.

    Args:
        encoder: whose frozen features go beside the named ones, or its folder; none (None in Python): named ones alone.
        archive: the archive, or its folder.
        labels: label table.
        out: folder for ``metrics.json``, ``predictions.csv`` of the test records, ``features.csv`` of all labelled
            ones, and ``importances.csv``: by how much the macro AUROC of the validation records falls where the values
            of a feature, or of all features of the encoder together, are permuted among them.
        settings: all settings at once, in place of single ones by name.

    Returns:
        Test metrics with patient-level bootstrap intervals.

    Raises:
        ValueError: there are no features, a column that holds no numbers, or ``out`` holds something else.
    """
    archive, folder = opened(archive), Path(out)
    if other := [name for name in ("archive.json", "config.json") if (folder / name).exists()]:
        raise ValueError(f"out={str(out)!r}: holds {other[0]} of another command; choose another folder")
    loaded: Encoder | None = None
    if encoder is not None and not no_encoder(encoder):
        loaded = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
    table = read_labels(labels, archive, settings.classes, others=settings.columns)
    splits = settings.split.split(table, None if loaded is None else loaded.origin.get("split"))
    if loaded is not None:
        check_unseen(loaded, archive, table.rows[splits.test], "refuse")
    named = _named(archive, labels, table, settings)
    x, groups = named.to_numpy(np.float64), {str(name): [c] for c, name in enumerate(named)}
    if loaded is not None:
        deep = extract_features(loaded, archive, table.rows)
        groups[DEEP] = list(range(x.shape[1], x.shape[1] + deep.shape[1]))
        x = np.hstack([x, deep])
    if not x.shape[1]:
        raise SettingsError("rhythm=False, columns=(): there is nothing to learn from; name columns, or an encoder")
    task = create_task("arrhythmia", table.classes)
    boosted = Boosted(settings.trees, settings.learning_rate, settings.seed)
    boosted.fit(x[splits.train], table.targets[splits.train], x[splits.validation], table.targets[splits.validation])
    validated = boosted.scores(x[splits.validation])
    task = task.tuned(table.targets[splits.validation], validated)
    test = tested(archive, labels, table, splits.test, ())
    scores = boosted.scores(x[splits.test])
    metrics = test.metrics(task, scores)
    drops = importances(
        boosted, task, x[splits.validation], table.targets[splits.validation], groups, settings.repeats, settings.seed
    )
    ids = archive.manifest["record_id"].to_numpy(object)
    predictions = task.tables(table.targets[splits.test], scores)["predictions"]
    predictions.insert(0, "record_id", ids[test.rows])
    named.insert(0, "record_id", ids[table.rows])
    with lock(folder), whole_folder(folder, last="metrics.json") as part:
        for name, written in (("predictions", predictions), ("features", named), ("importances", drops)):
            write_csv(part / f"{name}.csv", written, float_format="%.6g")
        write_json(part / "metrics.json", metrics)
    return metrics


def importances(
    boosted: Boosted,
    task: Task,
    x: NDArray[Any],
    targets: NDArray[Any],
    groups: Groups,
    repeats: int,
    seed: int,
) -> pd.DataFrame:
    """Return ``feature``, ``importance`` and ``deviation``: the fall of the first metric where features are permuted.

    Args:
        boosted: the model.
        task: whose first metric it is.
        x: [n, D].
        targets: [n, C].
        groups: columns that are permuted together, by name.
        repeats: permutations of each.
        seed: of these.
    """
    rng, metric = np.random.default_rng(seed), task.selection.name
    whole = task.evaluate(targets, boosted.scores(x))[metric]
    rows = []
    for name, columns in groups.items():
        falls = []
        for _ in range(repeats):
            permuted = x.copy()
            permuted[:, columns] = x[rng.permutation(len(x))][:, columns]
            falls.append(whole - task.evaluate(targets, boosted.scores(permuted))[metric])
        rows.append({"feature": name, "importance": float(np.mean(falls)), "deviation": float(np.std(falls))})
    return pd.DataFrame(rows).sort_values("importance", ascending=False, ignore_index=True)


def _named(archive: Archive, labels: TableLike, table: LabelTable, settings: VerbSettings) -> pd.DataFrame:
    """Return the named features of labelled records, a row each."""
    given = read_columns(labels, archive, table.rows, settings.columns)
    named = pd.DataFrame({name: numbers(name, given[name]) for name in settings.columns}, index=range(len(table)))
    if settings.rhythm:
        measured = static_of((RHYTHM,), archive, table.rows).astype(np.float64)
        named = named.join(pd.DataFrame(measured, columns=list(FEATURES)))
    return named
