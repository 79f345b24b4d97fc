"""Which pretraining is better? Variants x seeds on one archive and one label table, with intervals; resumable.

Every variant pretrains without the test patients, then its encoder is probed and finetuned with few labels. Every
distinct backbone does the same from random weights: what a variant must beat. The rules are those of ``compare``:
label fractions are nested and drawn by patient with the seed, validation chooses, test is scored once a run. Defaults
must be chosen by the validation scores that the tables show beside the test scores.

Several processes may share one folder: each takes runs that no other has started.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import pandas as pd
from annotated_types import Gt
from pydantic import model_validator

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.comparison.ablation_table import markdown
from ssl_ecg.comparison.arms import FeatureCache, Fraction, Seeds, random_encoder, run_probe, run_trained
from ssl_ecg.comparison.folder import data_identity, declaration, result_of, write_run
from ssl_ecg.comparison.fractions import check_fractions
from ssl_ecg.comparison.seen_patients import check_unseen
from ssl_ecg.comparison.summary import Part, summarise
from ssl_ecg.comparison.variants import Variant, check_variants, random_weights
from ssl_ecg.labels.splits import Splits, check_no_leakage, nested_fractions
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.runs import FolderInUseError, claim, lock, write_atomically, write_csv
from ssl_ecg.settings import Settings, chosen
from ssl_ecg.tasks import Task, create_task
from ssl_ecg.tasks.registry import TASKS
from ssl_ecg.tasks.static_inputs import static_identity
from ssl_ecg.training.pretraining import pretrain

METHODS = ("probe", "finetune")

logger = logging.getLogger(__name__)


class AblateSettings(Settings):
    """What is run for every variant."""

    task: chosen("task", TASKS) = "arrhythmia"  # type: ignore[valid-type]
    """what is learned"""
    reference: str | None = None
    """name of the variant that the others are compared with; the first one by default"""
    seeds: Seeds = (0, 1, 2)
    """each draws its own pretraining, label fractions and batches"""
    probe_fractions: tuple[Fraction, ...] = (0.01, 0.1, 1.0)
    """shares of the training patients whose labels the linear probe uses"""
    finetune_fractions: tuple[Fraction, ...] = (0.1,)
    """shares whose labels finetuning uses"""
    replicates: Annotated[int, Gt(0)] = 2000
    """bootstrap draws of patients, of which standard errors are made: 2000 give them to 2 %"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        if not self.pieces:
            raise ValueError("probe_fractions=[], finetune_fractions=[]: choose at least one share")
        return self

    @property
    def pieces(self) -> list[tuple[str, float]]:
        """What is done with an encoder: (method, fraction)."""
        fractions = (self.probe_fractions, self.finetune_fractions)
        return [(method, fraction) for method, shares in zip(METHODS, fractions) for fraction in shares]


@dataclass(frozen=True)
class Bench:
    """What every run is made on."""

    archive: Archive
    labels: LabelTable
    splits: Splits
    task: Task
    settings: AblateSettings


def ablate(
    variants: Sequence[Variant],
    archive: Archive,
    labels: LabelTable,
    splits: Splits,
    out: str | Path,
    settings: AblateSettings,
    command: str = "",
) -> pd.DataFrame:
    """Run every variant, and the random weights of every backbone, with every seed; write what came out.

    Writes into ``out``: ``runs/VARIANT-SEED/`` with the encoder and one folder per probe or finetuning,
    ``results.csv`` (one row per probe or finetuning), ``summary.csv`` (means, intervals, paired differences from the
    reference and from random weights), ``per_class.csv``, ``curves.csv``, ``pretraining.csv`` (one row per epoch) and
    ``ablation.md``. What is finished is not run again; variants, seeds and fractions can be added later.

    Args:
        variants: what to compare.
        archive: signals; pretraining sees all of it but the patients of ``splits.test``.
        labels: label table.
        splits: indices into ``labels``.
        out: folder.
        settings: what to run for every variant.
        command: recorded as how this was made.

    Returns:
        The summary, with columns as that of ``compare``. An arm is
        "VARIANT probe" or "VARIANT finetune", a difference "ARM - ARM".

    Raises:
        ValueError: settings that cannot be run, leakage, ``out`` holds results of something else, or runs failed; the
            others are finished first.
    """
    out = Path(out)
    random = random_weights(variants)
    every = {variant.name: variant for variant in (*random.values(), *variants)}
    reference = check_variants(variants, settings.reference, archive.settings)
    check_no_leakage(labels, splits)
    check_fractions(labels, splits, [fraction for _, fraction in settings.pieces], settings.seeds)
    task = create_task(settings.task.name, labels.classes, **settings.task.options)
    bench = Bench(archive, labels, splits, task, settings)
    runs = {out / "runs" / f"{name}-{seed}": (every[name], seed) for seed in settings.seeds for name in every}
    with lock(out, wait=True):
        known = {"task": settings.task.to_dict(), **data_identity(archive, labels, splits)}
        claim(out / "ablation.json", known, {"command": command, **declaration(labels, task)})
        for folder, (variant, seed) in runs.items():
            beside = static_identity(variant.static, archive, labels.rows)
            claim(folder / "variant.json", {**variant.identity(seed), **beside})
    failed = []
    for folder, (variant, seed) in runs.items():
        try:
            with lock(folder):
                _run(bench, variant, seed, folder)
        except FolderInUseError:
            logger.info("%s: another process is at it", folder.name)
        except (RuntimeError, ValueError):
            logger.exception("%s: failed; the other runs go on", folder.name)
            failed.append(folder.name)
    summary = pd.DataFrame()
    pieces = [_piece(folder, *piece) for folder in runs for piece in settings.pieces]
    if any((piece / "result.json").is_file() for piece in pieces):
        families = _families(variants, reference, random)
        with lock(out, wait=True):
            part = Part(pieces, splits)
            summary = summarise(out, [part], list(families.values()), labels, settings.replicates, bench.task)
            results = pd.read_csv(out / "results.csv")
            table = markdown(results, summary, list(every), families, bench.task.metrics, declaration(labels, task))
            write_atomically(out / "ablation.md", table)
            _write_epochs(out, runs)
    if failed:
        raise ValueError(f"{len(failed)} of {len(runs)} runs failed, see the log: {', '.join(failed)}")
    return summary


def _write_epochs(out: Path, runs: Mapping[Path, tuple[Variant, int]]) -> None:
    """Gather the epochs of every finished pretraining."""
    epochs = [
        pd.read_csv(folder / "encoder" / "pretraining.csv").assign(variant=variant.name, seed=seed)
        for folder, (variant, seed) in runs.items()
        if (folder / "encoder" / "model.safetensors").is_file()
    ]
    if epochs:
        table = pd.concat(epochs, ignore_index=True)
        first = ["variant", "seed"]
        table = table[[*first, *table.columns.difference(first, sort=False)]]
        write_csv(out / "pretraining.csv", table, float_format="%.5g")


def _families(
    variants: Sequence[Variant], reference: str, random: dict[str, Variant]
) -> dict[tuple[str, str], list[tuple[str, str]]]:
    """Return what is compared for each method: every variant with the reference, and with random weights."""
    others = [variant.name for variant in variants if variant.name != reference]
    return {
        key: [(f"{a} {method}", f"{b} {method}") for a, b in pairs]
        for method in METHODS
        for key, pairs in {
            (method, reference): [(name, reference) for name in others],
            (method, "random weights"): [(name, baseline.name) for name, baseline in random.items()],
        }.items()
    }


def _piece(folder: Path, method: str, fraction: float) -> Path:
    return folder / f"{method}-{fraction:g}"


def _run(bench: Bench, variant: Variant, seed: int, folder: Path) -> None:
    """Pretrain, probe and finetune one variant with one seed; what is finished is not run again."""
    settings, labels, splits = bench.settings, bench.labels, bench.splits
    todo = [piece for piece in settings.pieces if not (_piece(folder, *piece) / "result.json").is_file()]
    if not todo:
        return
    began = time.perf_counter()
    encoder, made = _encoder(bench, variant, seed, folder)
    cache = FeatureCache(bench.archive, labels.rows)
    shares = nested_fractions(labels, splits.train, [fraction for _, fraction in todo], seed)
    for method, fraction in todo:
        started = time.perf_counter()
        train = shares[fraction]
        if method == "probe":
            features = cache.get(variant.name, encoder)
            outcome = run_probe(features, labels.targets, train, splits.validation, splits.test, bench.task)
        else:
            learn, choose = ((labels.rows[index], labels.targets[index]) for index in (train, splits.validation))
            tried = [candidate.replace(seed=seed) for candidate in variant.finetune]
            test_rows = labels.rows[splits.test]
            frozen = cache.of(variant.name, encoder)
            outcome, _ = run_trained(encoder, bench.task, bench.archive, learn, choose, test_rows, tried, frozen)
        result = {
            "arm": f"{variant.name} {method}",
            "variant": variant.name,
            "method": method,
            "fraction": fraction,
            "seed": seed,
            **result_of(outcome, bench.task, labels, splits, train),
            **made,
            "seconds": round(time.perf_counter() - started, 1),
        }
        write_run(_piece(folder, method, fraction), outcome, result)
    logger.info("%s: finished in %.0f s", folder.name, time.perf_counter() - began)


def _encoder(bench: Bench, variant: Variant, seed: int, folder: Path) -> tuple[Encoder, dict[str, Any]]:
    """Return a variant's encoder, and what it cost; random weights are those that pretraining starts from."""
    settings = variant.pretrain.replace(seed=seed, devices=1, resume="auto")
    archive, test_rows = bench.archive, bench.labels.rows[bench.splits.test]
    backbone = settings.backbone
    if not variant.pretrained:
        encoder = random_encoder(Encoder(backbone.given, backbone.options, archive.settings), seed)
        return encoder, {"backbone": backbone.name, "parameters": _parameters(encoder)}
    encoder = pretrain(archive, folder / "encoder", settings, test_rows, progress=False, split=bench.splits.how)
    check_unseen(encoder, archive, test_rows)
    epochs = pd.read_csv(folder / "encoder" / "pretraining.csv")
    return encoder, {
        "backbone": backbone.name,
        "parameters": _parameters(encoder),
        "objective": settings.objective.name,
        "epochs": len(epochs),
        "pretraining_seconds": encoder.origin["seconds"],
        "ecg_per_second": round(float(epochs["ecg_per_second"].median()), 1),
    }


def _parameters(encoder: Encoder) -> int:
    return sum(parameter.numel() for parameter in encoder.parameters())
