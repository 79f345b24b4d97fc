"""The five verbs as functions; the command line calls these and nothing else."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import pandas as pd

from ssl_ecg.archive import Archive, open_archive
from ssl_ecg.archive.labels import LabelTable
from ssl_ecg.archive.splits import Splits, check_no_leakage, require_positives, split_by_fold, split_by_patient
from ssl_ecg.backbones import Encoder, load_encoder

if TYPE_CHECKING:
    from ssl_ecg.archive.ingest import IngestReport
    from ssl_ecg.comparison import AblateSettings, CompareSettings, Variant
    from ssl_ecg.tasks import Task
    from ssl_ecg.training import FinetuneSettings, PretrainSettings, WindowSettings

__all__ = ["ablate", "compare", "finetune", "ingest", "load_encoder", "open_archive", "pretrain", "probe", "synthesize"]

logger = logging.getLogger(__name__)

ArchiveLike = Archive | str | Path
EncoderLike = Encoder | str | Path
TableLike = pd.DataFrame | str | Path
S = TypeVar("S")


@dataclass(frozen=True)
class SplitSettings:
    """Which records train, choose and test.

    Attributes:
        validation_folds: folds of the label table's ``fold`` column that choose.
        test_folds: folds that are scored once. Without folds, patients are drawn by ``seed``.
        validation: share of patients that choose, where patients are drawn.
        test: share of patients that test, where patients are drawn.
        seed: of that draw.
    """

    validation_folds: tuple[int, ...] = ()
    test_folds: tuple[int, ...] = ()
    validation: float = 0.15
    test: float = 0.2
    seed: int = 0

    def __post_init__(self) -> None:
        if bool(self.validation_folds) != bool(self.test_folds):
            raise ValueError(
                f"validation_folds={self.validation_folds}, test_folds={self.test_folds}: name both, or neither"
            )

    def split(self, labels: LabelTable) -> Splits:
        """Return the splits of a label table, checked for leakage and for classes that cannot be tested."""
        if self.test_folds:
            splits = split_by_fold(labels, validation=self.validation_folds, test=self.test_folds)
        else:
            splits = split_by_patient(labels, self.seed, validation=self.validation, test=self.test)
        check_no_leakage(labels, splits)
        require_positives(labels, splits)
        return splits


def ingest(
    source: str | Path, archive: str | Path, *, quality: Mapping[str, Any] | None = None, **settings: Any
) -> IngestReport:
    """Turn every ECG below a folder into one archive.

    Args:
        source: folder of WFDB records, at any depth; folders in PTB-XL's layout bring patients and labels along.
        archive: folder to write, to continue or to add to.
        quality: limits of the quality check, see ``ssl_ecg.records.QualityLimits``.
        settings: fields of ``ssl_ecg.signals.SignalSettings`` (leads, sampling_rate, duration, band, ...), and
            ``workers``, ``salt`` and ``progress`` of ``ssl_ecg.archive.ingest.ingest``.

    Returns:
        What was accepted and rejected, and why.
    """
    from ssl_ecg.archive.ingest import ingest as run
    from ssl_ecg.records import QualityLimits
    from ssl_ecg.signals import SignalSettings

    run_options = {name: settings.pop(name) for name in ("workers", "salt", "progress") if name in settings}
    return run(source, archive, SignalSettings(**settings), QualityLimits(**(quality or {})), **run_options)


def synthesize(folder: str | Path, records: int = 2000, seed: int = 0, **settings: Any) -> Archive:
    """Write the embedded synthetic archive: ECGs with known structure, labels and outcomes.

    Args:
        folder: archive to write.
        records: how many ECGs.
        seed: the same seed gives the same bytes.
        settings: further arguments of ``ssl_ecg.archive.synthetic.synthesize``.
    """
    from ssl_ecg.archive.synthetic import synthesize as run

    return open_archive(run(folder, records=records, seed=seed, **settings))


def pretrain(
    archive: ArchiveLike,
    out: str | Path,
    objective: str = "cmsc",
    *,
    settings: PretrainSettings | None = None,
    holdout: TableLike | None = None,
    task: str = "arrhythmia",
    task_options: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    split: SplitSettings | None = None,
    progress: bool = True,
    **options: Any,
) -> Encoder:
    """Pretrain a backbone on an unlabelled archive and write an encoder folder.

    Args:
        archive: the archive, or its folder.
        out: encoder folder; a killed run continues there.
        objective: name, see ``ssl_ecg.objectives.list_objectives()``.
        settings: all settings at once; otherwise give single ones by name. Options of the objective and of the backbone
            that are not given are those of ``configs/``, as on the command line.
        holdout: label table whose test patients, as ``split`` draws them, must not be seen. Give the same table,
            task and split to ``probe``, ``finetune`` and ``compare``.
        task: how ``holdout`` is read; patients are drawn stratified by its outcomes.
        task_options: options of the task.
        classes: columns of ``holdout``; all by default, or those that the task names.
        split: which records of ``holdout`` test.
        progress: show a progress bar.
        options: fields of ``ssl_ecg.training.PretrainSettings``; an unknown one is a TypeError.

    Returns:
        The encoder, in eval mode.
    """
    from ssl_ecg.tasks import read_task
    from ssl_ecg.training import PretrainSettings
    from ssl_ecg.training import pretrain as run

    archive = _open(archive)
    if settings is None:
        options = {"objective": objective, "backbone": PretrainSettings.backbone, **options}
        for group in ("objective", "backbone"):
            given = options.get(f"{group}_options", {})
            options[f"{group}_options"] = {**_shipped_options(group, options[group]), **given}
    settings = _settings(PretrainSettings, settings, options)
    rows = None
    if holdout is not None:
        labels, _ = read_task(task, holdout, archive, classes, task_options)
        rows = labels.rows[(split or SplitSettings()).split(labels).test]
    return run(archive, out, settings, rows, progress)


def probe(
    encoder: EncoderLike,
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path | None = None,
    *,
    task: str = "arrhythmia",
    task_options: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    split: SplitSettings | None = None,
) -> dict[str, float]:
    """Fit a linear probe on frozen features; regularisation is chosen on validation, test is scored once.

    Args:
        encoder: the encoder, or its folder.
        archive: the archive, or its folder.
        labels: label table.
        out: folder for ``metrics.json``, ``predictions.csv`` and the other tables of the task, if wanted; decisions
            are tuned on validation.
        task: name, see ``ssl_ecg.tasks.list_tasks()``.
        task_options: options of the task.
        classes: columns of the table; all by default, or those that the task names.
        split: which records train, choose and test.

    Returns:
        The task's test metrics with patient-level bootstrap intervals, and what validation chose.
    """
    from ssl_ecg.comparison.arms import FeatureCache, run_probe

    encoder, archive, table, created, splits = _prepare(encoder, archive, labels, task, task_options, classes, split)
    features = FeatureCache(archive, table.rows).get("encoder", encoder)
    outcome = run_probe(features, table.targets, splits.train, splits.validation, splits.test, created)
    assert outcome.probe is not None
    created = created.tuned(table.targets[splits.validation], outcome.probe.scores(features[splits.validation]))
    metrics = _test_metrics(created, table, splits, outcome.scores)
    metrics |= {f"validation_{created.selection}": outcome.validation, "C": outcome.chosen["C"]}
    if out is not None:
        _write_tables(Path(out), archive, created, table, splits, outcome.scores, metrics)
    return metrics


def finetune(
    encoder: EncoderLike,
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path,
    *,
    task: str = "arrhythmia",
    task_options: Mapping[str, Any] | None = None,
    classes: Sequence[str] | None = None,
    settings: FinetuneSettings | None = None,
    scratch: bool = False,
    windows: WindowSettings | None = None,
    split: SplitSettings | None = None,
    progress: bool = True,
    **options: Any,
) -> dict[str, float]:
    """Train an encoder and a head with labels; the best evaluation is chosen on validation, test is scored once.

    Args:
        encoder: the encoder, or its folder.
        archive: the archive, or its folder.
        labels: label table.
        out: folder of the model (``ssl_ecg.tasks.load_classifier`` and ``load_encoder`` read it), with
            ``metrics.json``, ``predictions.csv`` (a row a test record), other tables of the task, ``curve.csv`` and a
            model card. The task that it keeps has its decisions tuned on validation.
        task: name, see ``ssl_ecg.tasks.list_tasks()``.
        task_options: options of the task.
        classes: columns of the table; all by default, or those that the task names.
        settings: all settings at once; otherwise give single ones by name.
        scratch: start from random weights instead of the encoder's: the supervised baseline.
        windows: cut records into windows for the test scores, and for those that decisions are tuned on; the best
            evaluation is chosen on whole records all the same.
        split: which records train, choose and test.
        progress: show a progress bar.
        options: fields of ``ssl_ecg.training.FinetuneSettings``; an unknown one is a TypeError.

    Returns:
        The task's test metrics with patient-level bootstrap intervals, and the chosen step.
    """
    from ssl_ecg.comparison.arms import random_encoder
    from ssl_ecg.tasks import save_classifier
    from ssl_ecg.training import FinetuneSettings, WindowSettings, patient_hash, predict_scores, predict_windows
    from ssl_ecg.training import finetune as run
    from ssl_ecg.training.card import finetuning_card

    settings, windows = _settings(FinetuneSettings, settings, options), windows or WindowSettings()
    encoder, archive, table, created, splits = _prepare(encoder, archive, labels, task, task_options, classes, split)
    if scratch:
        encoder = random_encoder(encoder, settings.seed)
    train, validation = ((table.rows[index], table.targets[index]) for index in (splits.train, splits.validation))
    finished = run(encoder, created, archive, train, validation, settings, progress)
    # What this encoder has learned from must not test it later, under whatever split.
    learned = archive.manifest["patient_id"].iloc[np.concatenate([train[0], validation[0]])]
    finished.model.encoder.patients |= frozenset(map(patient_hash, learned.unique()))

    def scores_of(rows: np.ndarray) -> np.ndarray:
        if windows.seconds is None:
            return predict_scores(finished.model, archive, rows)
        return predict_windows(finished.model, archive, rows, windows)

    created = finished.model.task = created.tuned(validation[1], scores_of(validation[0]))
    scores = scores_of(table.rows[splits.test])
    metrics = {**_test_metrics(created, table, splits, scores), **finished.best}
    out = Path(out)
    card = finetuning_card(finished.model, settings, metrics, table, splits, scratch, windows)
    save_classifier(finished.model, out, card)
    pd.DataFrame(finished.curve).to_csv(out / "curve.csv", index=False)
    _write_tables(out, archive, created, table, splits, scores, metrics)
    return metrics


def compare(
    encoder: EncoderLike,
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path,
    *,
    classes: Sequence[str] | None = None,
    settings: CompareSettings | None = None,
    split: SplitSettings | None = None,
    progress: bool = True,
    command: str = "ssl_ecg.compare(...)",
    **options: Any,
) -> pd.DataFrame:
    """Compare pretraining with supervised baselines over label fractions and seeds, and write a report.

    Args:
        encoder: the pretrained encoder, or its folder.
        archive: the archive, or its folder.
        labels: label table.
        out: folder for ``report.html``, ``summary.csv``, ``results.csv``, figures and the finished runs; a killed
            comparison continues there.
        classes: columns of the table; all by default, or those that the task names.
        settings: all settings at once; otherwise give single ones by name.
        split: which records train, choose and test.
        progress: show a progress bar.
        command: recorded in the report as how it was made.
        options: fields of ``ssl_ecg.comparison.CompareSettings``; an unknown one is a TypeError.

    Returns:
        The summary: columns task, arm, fraction, seeds, metric, mean, low, high.
    """
    import shutil

    from ssl_ecg.comparison import CompareSettings
    from ssl_ecg.comparison import compare as run
    from ssl_ecg.report import write_report
    from ssl_ecg.tasks import read_task

    folder = None if isinstance(encoder, Encoder) else Path(encoder)
    encoder, archive = load_encoder(encoder) if not isinstance(encoder, Encoder) else encoder, _open(archive)
    settings = _settings(CompareSettings, settings, options)
    table, _ = read_task(settings.task, labels, archive, classes, settings.task_options)
    splits = (split or SplitSettings()).split(table)
    summary = run(encoder, archive, table, splits, out, settings, progress, command)
    for name in ("pretraining.csv", "reconstruction.svg"):
        if folder is not None and (folder / name).is_file():
            shutil.copyfile(folder / name, Path(out) / name)
    write_report(out)
    return summary


def ablate(
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path,
    variants: Sequence[Variant],
    *,
    classes: Sequence[str] | None = None,
    settings: AblateSettings | None = None,
    split: SplitSettings | None = None,
    command: str = "ssl_ecg.ablate(...)",
    **options: Any,
) -> pd.DataFrame:
    """Pretrain many variants with many seeds, probe and finetune each, and write what differs.

    Args:
        archive: the archive, or its folder; the test patients of ``labels`` are held out of pretraining.
        labels: label table.
        out: folder for ``ablation.md``, ``summary.csv``, ``results.csv`` and the finished runs; a killed ablation
            continues there, and several processes may share it.
        variants: what to compare; the first one is the reference unless ``reference`` names another.
        classes: columns of the table; all by default.
        settings: all settings at once; otherwise give single ones by name.
        split: which records train, choose and test.
        command: recorded as how it was made.
        options: fields of ``ssl_ecg.comparison.AblateSettings``; an unknown one is a TypeError.

    Returns:
        The summary: columns task, arm, fraction, seeds, metric, mean, low, high, p_value.
    """
    from ssl_ecg.comparison import AblateSettings
    from ssl_ecg.comparison import ablate as run
    from ssl_ecg.tasks import read_task

    archive = _open(archive)
    settings = _settings(AblateSettings, settings, options)
    table, _ = read_task(settings.task, labels, archive, classes, settings.task_options)
    splits = (split or SplitSettings()).split(table)
    return run(variants, archive, table, splits, out, settings, command)


def config_folder() -> Path:
    """Return the folder of the YAML files: inside an installed package, beside it in a source checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"configs: found neither in {package} nor in {package.parent}; reinstall ssl_ecg")


def _shipped_options(group: str, name: str) -> dict[str, Any]:
    """Return the options in ``configs/group/name.yaml``, none where there is no such file."""
    from omegaconf import OmegaConf

    path = config_folder() / group / f"{name}.yaml"
    options: Any = OmegaConf.to_container(OmegaConf.load(path)) if path.is_file() else {}
    return {key: value for key, value in options.items() if key != "name"}


def _settings(kind: type[S], settings: S | None, options: Mapping[str, Any]) -> S:
    """Return the settings given as a whole, or made from single options; never a mixture that drops some."""
    if settings is None:
        return kind(**options)
    if options:
        raise TypeError(f"settings and {', '.join(options)}: give all settings at once, or single ones by name")
    return settings


def _open(archive: ArchiveLike) -> Archive:
    return archive if isinstance(archive, Archive) else open_archive(archive)


def _prepare(
    encoder: EncoderLike,
    archive: ArchiveLike,
    labels: TableLike,
    task: str,
    task_options: Mapping[str, Any] | None,
    classes: Sequence[str] | None,
    split: SplitSettings | None,
) -> tuple[Encoder, Archive, LabelTable, Task, Splits]:
    """Open everything, and refuse data that the encoder does not fit or was pretrained on."""
    from ssl_ecg.comparison import check_unseen
    from ssl_ecg.tasks import read_task

    encoder = encoder if isinstance(encoder, Encoder) else load_encoder(encoder)
    archive = _open(archive)
    encoder.check(archive.settings)
    table, created = read_task(task, labels, archive, classes, task_options)
    splits = (split or SplitSettings()).split(table)
    check_unseen(encoder, archive, table.rows[splits.test])
    return encoder, archive, table, created, splits


def _test_metrics(task: Task, table: LabelTable, splits: Splits, scores: np.ndarray) -> dict[str, float]:
    from ssl_ecg.evaluation import bootstrap_metrics

    test = splits.test
    found = bootstrap_metrics(
        table.targets[test], scores, table.patient[test], metrics=task.weighted_metrics, outcome=table.outcome[test]
    )
    return {
        name if part == "mean" else f"{name}_{part}": value
        for name, interval in found.items()
        for part, value in interval._asdict().items()
    }


def _write_tables(
    out: Path,
    archive: Archive,
    task: Task,
    table: LabelTable,
    splits: Splits,
    scores: np.ndarray,
    metrics: Mapping[str, float],
) -> None:
    out.mkdir(parents=True, exist_ok=True)
    tables = task.tables(table.targets[splits.test], scores)
    record_ids = archive.manifest["record_id"].iloc[table.rows[splits.test]].to_numpy()
    tables["predictions"].insert(0, "record_id", record_ids)
    if "per_class" in tables:
        counts = pd.DataFrame({"class": table.outcomes})
        for part in ("train", "validation"):
            counts[f"positives_{part}"] = np.nansum(table.outcome[getattr(splits, part)], axis=0).astype(int)
        tables["per_class"] = counts.merge(tables["per_class"], on="class", how="right")
    for name, content in tables.items():
        content.to_csv(out / f"{name}.csv", index=False, float_format="%.6g")
    (out / "metrics.json").write_text(json.dumps(dict(metrics), indent=1) + "\n", encoding="utf-8")
