"""What each verb does with its configuration and paths."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig
from rich.console import Console
from rich.table import Column, Table

from ssl_ecg import verbs as api
from ssl_ecg.cli.configuration import load_config, named, rest, task_of, typed

if TYPE_CHECKING:
    from ssl_ecg.comparison import Variant
    from ssl_ecg.training import FinetuneSettings, PretrainSettings

console = Console()


@dataclass(frozen=True)
class IngestRun:
    """How ``ingest`` runs, beside what it makes of the signals."""

    workers: int | None = None
    salt: str | None = None


@dataclass(frozen=True)
class Synthesis:
    """What ``synthesize`` draws."""

    records: int = 2000
    seed: int = 0
    sampling_rate: float = 100.0
    duration: float = 10.0


@dataclass(frozen=True)
class LvefLabels:
    """What ``label_lvef`` calls a low ejection fraction, and of which ECGs."""

    threshold: float = 40.0
    window_days: int = 183
    cohort: str | None = None
    cohort_class: str | None = None
    data_set: str | None = None
    salt: str | None = None


@dataclass(frozen=True)
class Subgroups:
    """Columns by which ``probe``, ``finetune`` and ``evaluate`` report metrics of groups."""

    subgroups: tuple[str, ...] = ()


@dataclass(frozen=True)
class Evaluation(Subgroups):
    """How ``evaluate`` runs."""

    records: str = "all"
    seen_patients: str = "refuse"


@dataclass(frozen=True)
class VariantOverrides:
    """A variant of an ablation, in the words of the command line.

    Attributes:
        overrides: of ``pretrain``.
        finetune: of ``finetune``, for the pretrained encoder.
        scratch: of ``finetune``, for random weights.
        candidates: changes to the settings of ``finetune`` that validation chooses from.
        scratch_candidates: the same for ``scratch``; as many.
    """

    overrides: tuple[str, ...] = ()
    finetune: tuple[str, ...] = ()
    scratch: tuple[str, ...] = ()
    candidates: tuple[dict[str, Any], ...] = ()
    scratch_candidates: tuple[dict[str, Any], ...] = ()


def run_ingest(config: DictConfig, source: str, archive: str, command: str) -> None:
    """Ingest, then show what was rejected and why."""
    from ssl_ecg.records import QualityLimits
    from ssl_ecg.signals import SignalSettings

    run = {name: config[name] for name in ("workers", "salt")}
    report = api.ingest(
        source,
        archive,
        quality=asdict(typed(QualityLimits, config.quality)),
        **asdict(typed(IngestRun, run)),
        **asdict(typed(SignalSettings, rest(config, "quality", *run))),
    )
    console.print(f"{report.accepted} records accepted, {report.rejected} rejected; the archive lies in {archive}")
    if report.reasons:
        table = Table("reason", "records")
        for reason, count in report.reasons.most_common(20):
            table.add_row(reason, str(count))
        console.print(table)


def run_synthesize(config: DictConfig, archive: str, command: str) -> None:
    """Write the synthetic archive."""
    made = api.synthesize(archive, **asdict(typed(Synthesis, config)))
    console.print(f"{len(made)} synthetic records; the archive lies in {archive}, label tables in {archive}/labels")


def run_label_lvef(config: DictConfig, archive: str, measurements: str, out: str, command: str) -> None:
    """Label, then show what was left out and why."""
    counts = api.label_lvef(archive, measurements, out, **asdict(typed(LvefLabels, config)))
    table = Table("of", "what", "count")
    for of, what, count in counts.itertuples(index=False):
        table.add_row(of, what, str(count))
    console.print(table)
    console.print(f"the labels lie in {out}")


def pretrain_settings(config: DictConfig) -> PretrainSettings:
    """Turn the configuration of ``pretrain`` into its settings."""
    from ssl_ecg.training import PretrainSettings

    objective, objective_options = named(config.objective)
    backbone, backbone_options = named(config.backbone)
    node = {
        **rest(config, "objective", "backbone", "holdout", "task", "split"),
        "objective": objective,
        "objective_options": objective_options,
        "backbone": backbone,
        "backbone_options": backbone_options,
    }
    return typed(PretrainSettings, node)


def run_pretrain(config: DictConfig, archive: str, out: str, command: str) -> None:
    """Pretrain, then say where the encoder lies."""
    task, task_options, classes = task_of(config)
    encoder = api.pretrain(
        archive,
        out,
        settings=pretrain_settings(config),
        holdout=config.holdout,
        task=task,
        task_options=task_options,
        split=typed(api.SplitSettings, config.split),
        **classes,
    )
    metrics = ", ".join(f"{name} {value:.4g}" for name, value in encoder.origin["metrics"].items())
    console.print(f"weights after epoch {encoder.origin['epoch']} kept ({metrics}); the encoder lies in {out}")


def learning(config: DictConfig) -> dict[str, Any]:
    """Return what ``probe`` and ``finetune`` take alike; with a backbone, it is to be used without an encoder."""
    task, task_options, classes = task_of(config)
    backbone = {}
    if "backbone" in config:
        name, options = named(config.backbone)
        backbone = {"backbone": name, "backbone_options": options}
    return {
        "task": task,
        "task_options": task_options,
        "split": typed(api.SplitSettings, config.split),
        "subgroups": typed(Subgroups, {"subgroups": config.subgroups}).subgroups,
        "clinical_score": config.clinical_score,
        "seen_patients": config.seen_patients,
        **backbone,
        **classes,
    }


def run_probe(config: DictConfig, encoder: str | None, archive: str, labels: str, out: str, command: str) -> None:
    """Probe, then show the metrics."""
    _show(api.probe(encoder, archive, labels, out, **learning(config)))


def run_finetune(config: DictConfig, encoder: str | None, archive: str, labels: str, out: str, command: str) -> None:
    """Finetune, then show the metrics."""
    from ssl_ecg.training import FinetuneSettings

    settings = typed(FinetuneSettings, config.training)
    _show(api.finetune(encoder, archive, labels, out, settings=settings, scratch=config.scratch, **learning(config)))
    console.print(f"the model lies in {out}")


def run_evaluate(config: DictConfig, model: str, archive: str, labels: str, out: str, command: str) -> None:
    """Evaluate, then show the metrics and where the figures lie."""
    _show(api.evaluate(model, archive, labels, out, **asdict(typed(Evaluation, config))))
    console.print(f"tables and figures lie in {out}")


def run_compare(config: DictConfig, encoder: str, archive: str, labels: str, out: str, command: str) -> None:
    """Compare, then show the summary and where the report lies."""
    from ssl_ecg.comparison import CompareSettings
    from ssl_ecg.evaluation import described

    task, task_options, classes = task_of(config)
    node = {**rest(config, "task", "split"), "task": task, "task_options": task_options}
    summary = api.compare(
        encoder,
        archive,
        labels,
        out,
        settings=typed(CompareSettings, node),
        split=typed(api.SplitSettings, config.split),
        command=command,
        **classes,
    )
    metric = summary["metric"].iloc[0]
    label = described(Path(out) / "comparison.json")[metric].label
    table = Table(Column("arm", no_wrap=True), "labels", label, "95 % interval")
    for row in summary[summary["metric"] == metric].to_dict("records"):
        sign = "+" if " - " in row["arm"] else ""
        mean, low, high = (f"{row[name]:{sign}.3f}" for name in ("mean", "low", "high"))
        interval = "\N{EN DASH}" if math.isnan(row["low"]) else f"{low} to {high}"
        table.add_row(row["arm"], f"{100 * row['fraction']:g} %", mean, interval)
    console.print(table)
    console.print(f"the report lies in {Path(out) / 'report.html'}")


def variant(name: str, shared: VariantOverrides, own: VariantOverrides) -> Variant:
    """Compose a variant of an ablation: what all share, then its own overrides."""
    from ssl_ecg.comparison import Variant
    from ssl_ecg.comparison.arms import candidate_settings
    from ssl_ecg.training import FinetuneSettings

    def tried(overrides: Sequence[str], candidates: Sequence[dict[str, Any]]) -> tuple[FinetuneSettings, ...]:
        base = typed(FinetuneSettings, load_config("finetune", overrides).training)
        return tuple(candidate_settings(base, candidates, base.seed))

    return Variant(
        name,
        pretrain_settings(load_config("pretrain", [*shared.overrides, *own.overrides])),
        tried([*shared.finetune, *own.finetune], own.candidates or shared.candidates),
        tried([*shared.scratch, *own.scratch], own.scratch_candidates or shared.scratch_candidates),
    )


def run_ablate(config: DictConfig, archive: str, labels: str, out: str, command: str) -> None:
    """Ablate, then say where the tables lie."""
    from ssl_ecg.comparison import AblateSettings

    task, task_options, classes = task_of(config)
    shared = typed(VariantOverrides, rest(config.ablation, "reference", "variants"))
    variants = [
        variant(name, shared, typed(VariantOverrides, own or {})) for name, own in config.ablation.variants.items()
    ]
    given = {"task": task, "task_options": task_options, "reference": config.ablation.reference}
    node = {**rest(config, "task", "split", "ablation"), **given}
    api.ablate(
        archive,
        labels,
        out,
        variants=variants,
        settings=typed(AblateSettings, node),
        split=typed(api.SplitSettings, config.split),
        command=command,
        **classes,
    )
    console.print(f"the tables lie in {Path(out) / 'ablation.md'}")


def _show(metrics: dict[str, float]) -> None:
    table = Table("metric", "value", "95 % interval")
    for name, value in metrics.items():
        if name.endswith(("_low", "_high")):
            continue
        low, high = metrics.get(f"{name}_low", math.nan), metrics.get(f"{name}_high", math.nan)
        table.add_row(name, f"{value:.4g}", "" if math.isnan(low) else f"{low:.3f} to {high:.3f}")
    console.print(table)


RUN: dict[str, Callable[..., None]] = {
    "ingest": run_ingest,
    "synthesize": run_synthesize,
    "label_lvef": run_label_lvef,
    "pretrain": run_pretrain,
    "probe": run_probe,
    "finetune": run_finetune,
    "evaluate": run_evaluate,
    "compare": run_compare,
    "ablate": run_ablate,
}
