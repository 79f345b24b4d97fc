"""What the verbs share that know labels: their settings, the records that test, and what learning leaves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.table import Table

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder, load_encoder
from ssl_ecg.backbones.foreign import describe
from ssl_ecg.backbones.registry import BACKBONES
from ssl_ecg.comparison import check_unseen, recognised
from ssl_ecg.labels.splits import Splits, SplitSettings
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.settings import Choice, Settings, chosen, recipe
from ssl_ecg.tasks import Classifier, LinearProbe, Task, read_task
from ssl_ecg.tasks.registry import TASKS
from ssl_ecg.tasks.simulated_probe import simulated_prior
from ssl_ecg.tasks.static_inputs import check_static, with_columns, with_rhythm
from ssl_ecg.tasks.temperature import Temperature, temper, temperature_table, tempered
from ssl_ecg.training import PretrainSettings, predict_scores
from ssl_ecg.training.batches import count_incomplete
from ssl_ecg.training.engine import seed_step
from ssl_ecg.verbs._given import ArchiveLike, TableLike, opened_for
from ssl_ecg.verbs.results import Tested, tested
from ssl_ecg.verbs.verb import console

EncoderLike = Encoder | str | Path
Scores = NDArray[np.floating]


class LabelSettings(Settings):
    """Which columns of a label table are learned, and from whom."""

    classes: tuple[str, ...] | None = None
    """columns of the label table; null: all, or those that the task names"""
    split: recipe("split", SplitSettings) = "patients"  # type: ignore[valid-type]
    """which records train, choose and test"""


class LearnSettings(LabelSettings):
    """What probe and finetune share."""

    task: chosen("task", TASKS) = "arrhythmia"  # type: ignore[valid-type]
    """what is learned"""
    backbone: chosen("backbone", BACKBONES, optional=True, describe=describe) = None  # type: ignore[valid-type]
    """the new network, where there is no encoder; that of pretrain by default"""
    subgroups: tuple[str, ...] = ()
    """columns of the label table, or of the archive's manifest, for ``subgroups.csv``; they are no classes unless
    ``classes`` names them"""
    clinical_score: str | None = None
    """column of the label table, or of the manifest, with a risk score, to which af_survival says what the ECG adds;
    ``charge_af`` is computed from its columns (``ssl_ecg.labels.charge_af``) where there is none of the name"""
    prior: Literal["simulated", "zero"] = "simulated"
    """what few labels pull the weights of a linear probe away from, also of one that a network's head starts as: what
    simulated hearts say of labels with such names, where the encoder has learned from them (``start=synthetic``); or
    zero"""
    meanings: dict[str, tuple[str, ...]] | None = None
    """what labels mean in conditions of simulated hearts, beside those known by name; see ``compare``"""
    temperature: Temperature | None = None
    """divide logits by the temperature, "one" of all classes or one of each "label", that makes the labels of
    validation most probable; ``temperature.csv`` says what it did to the probabilities of test"""
    covariates: tuple[str, ...] = ()
    """columns of numbers, such as vital signs and laboratory values, that Cox regression weighs beside the score"""
    seen_patients: Literal["refuse", "test"] = "refuse"
    """where the encoder has learned from test patients of the same id: refuse, or test on them, since they are other
    people"""


@dataclass(frozen=True, eq=False)
class Fitted:
    """What probe and finetune return.

    Attributes:
        metrics: the task's test metrics with the ends of their intervals, and what validation chose.
        model: encoder, head and task, in eval mode.
    """

    metrics: dict[str, float]
    model: Classifier

    def predict(self, archive: ArchiveLike, rows: NDArray[np.int64] | None = None) -> pd.DataFrame:
        """Return ``record_id`` and what the task predicts, one row per record of an archive, or of some of its rows."""
        archive = opened_for(self.model.encoder, archive)
        rows = np.arange(len(archive)) if rows is None else np.asarray(rows, np.int64)
        table = self.model.task.predictions(predict_scores(self.model, archive, rows))
        table.insert(0, "record_id", archive.manifest["record_id"].iloc[rows].to_numpy())
        return table


def no_encoder(encoder: Any) -> bool:
    """Say whether a new network stands where an encoder could: None, or on the command line ``none``."""
    return encoder is None or (isinstance(encoder, str) and encoder == "none")


def named(given: Any, name: str) -> Any:
    """Return what is given for a group, with this name where it has none."""
    if given is None:
        return name
    return {"name": name, **given} if isinstance(given, Mapping) else given


def imply_network(options: dict[str, Any], encoder: Any = "", *_: Any) -> dict[str, Any]:
    """Choose the network of pretrain where there is no encoder and no other network is chosen."""
    if not no_encoder(encoder):
        return options
    default = PretrainSettings.model_fields["backbone"].default
    return {**options, "backbone": named(options.get("backbone"), default)}


def encoder_for(archive: Archive, encoder: EncoderLike | None, backbone: Choice | None, seed: int) -> Encoder:
    """Return the encoder, loaded where its folder is given; without one, a new network for the archive's signals.

    Args:
        archive: signals that a new network is for.
        encoder: the encoder, its folder, or None.
        backbone: the new network.
        seed: of the random weights, which are those that ``pretrain`` starts from.

    Raises:
        ValueError: a backbone for an encoder that has one.
    """
    if encoder is None or no_encoder(encoder):
        assert backbone is not None
        seed_step(seed, 0, stream=2)
        return Encoder(backbone.given, backbone.options, archive.settings)
    if backbone is not None:
        raise ValueError(
            f"backbone={backbone.name!r}: the encoder has a network of its own; leave backbone out, or give none (None "
            "in Python) in place of the encoder"
        )
    return encoder if isinstance(encoder, Encoder) else load_encoder(encoder)


def prior_of(task: Task, encoder: Encoder, settings: LearnSettings) -> LinearProbe | None:
    """Return what simulated hearts say of the labels, where it is asked for and is something."""
    return simulated_prior(task, encoder, settings.meanings) if settings.prior == "simulated" else None


def read_labels(
    encoder: Encoder, archive: Archive, labels: TableLike, settings: LearnSettings, static: Sequence[str] = ()
) -> tuple[Task, Splits, Tested]:
    """Return the task, the split (that of the encoder's holdout, where it has one), and the records that test.

    Their archive knows the static inputs of all labelled records.
    """
    task, others = settings.task, (*settings.subgroups, *static)
    table, created = read_task(task.name, labels, archive, settings.classes, task.options, others)
    archive = with_static(archive, labels, table, created, static, settings.classes is None)
    count_incomplete(archive, table.rows)
    splits = settings.split.split(table, encoder.origin.get("split"))
    return created, splits, tested(archive, labels, table, splits.test, settings.subgroups)


def with_static(
    archive: Archive, labels: TableLike, table: LabelTable, task: Task, static: Sequence[str], unnamed: bool
) -> Archive:
    """Return an archive that knows the static inputs of all labelled records; refused ones are before any training.

    Args:
        archive: the archive.
        labels: label table.
        table: what was read of it.
        task: what is learned.
        static: names of static inputs.
        unnamed: whether nobody said which columns of the table are classes.

    Raises:
        ValueError: static inputs that a model cannot or must not learn from.
    """
    if not static:
        return archive
    archive = with_columns(archive, labels, static)
    check_static(static, archive, task, labels, unnamed and task.of_labels)
    return with_rhythm(archive, static, table.rows)


def seen_metrics(encoder: Encoder, test: Tested, seen_patients: str) -> dict[str, float]:
    """Refuse patients that the encoder has learned from; where they may test, return how many records are of them."""
    check_unseen(encoder, test.archive, test.rows, seen_patients)
    if seen_patients == "refuse":
        return {}
    return {"records_of_seen_patients": float(recognised(encoder, test.archive, test.rows).sum())}


def calibrated(
    model: Classifier, how: Temperature | None, test: Tested, splits: Splits, validated: Scores, scores: Scores
) -> tuple[Scores, Scores, dict[str, pd.DataFrame]]:
    """Choose a model's temperature on validation, where one is wanted.

    Args:
        model: whose last layer is divided by it.
        how: as in ``LearnSettings``.
        test: records that test.
        splits: of the label table.
        validated: scores of validation [m, S].
        scores: of test [n, S].

    Returns:
        Both scores with the temperature, and tables of what it did, by name.
    """
    if how is None:
        return validated, scores, {}
    targets, task = test.labels.targets, model.task
    temperature = temper(model, targets[splits.validation], validated, how)
    validated, scores = (tempered(task, each, temperature) for each in (validated, scores))
    return validated, scores, {"temperature": temperature_table(task, temperature, targets[splits.test], scores)}


def learned(splits: Splits) -> dict[str, NDArray[np.int64]]:
    """Return the records that learning saw, by the name of their part."""
    return {"train": splits.train, "validation": splits.validation}


def print_metrics(metrics: Mapping[str, float]) -> None:
    """Print metrics with their intervals."""
    table = Table("metric", "value", "95 % interval")
    for name, value in metrics.items():
        if name.endswith(("_low", "_high")):
            continue
        low, high = metrics.get(f"{name}_low", math.nan), metrics.get(f"{name}_high", math.nan)
        table.add_row(name, f"{value:.4g}", "" if math.isnan(low) else f"{low:.3f} to {high:.3f}")
    console.print(table)
