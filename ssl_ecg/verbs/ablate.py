"""Which pretraining is better?"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd

from ssl_ecg.comparison import AblateSettings, Variant
from ssl_ecg.comparison import ablate as run
from ssl_ecg.comparison.arms import candidate_settings
from ssl_ecg.settings import Settings, recipe
from ssl_ecg.tasks import read_task
from ssl_ecg.training import FinetuneSettings, PretrainSettings
from ssl_ecg.training.batches import count_incomplete
from ssl_ecg.verbs._given import ArchiveLike, TableLike, opened
from ssl_ecg.verbs._learning import LabelSettings, with_static
from ssl_ecg.verbs.verb import VERBS, console, verb


class VariantWords(Settings):
    """A variant, in the words of the command line."""

    overrides: tuple[str, ...] = ()
    """of pretrain"""
    finetune: tuple[str, ...] = ()
    """of finetune, for the pretrained encoder"""
    scratch: tuple[str, ...] = ()
    """of finetune, for random weights"""
    candidates: tuple[dict[str, Any], ...] = ()
    """changes to the training of the pretrained encoder that validation chooses from"""
    scratch_candidates: tuple[dict[str, Any], ...] = ()
    """the same for random weights; as many"""


class Ablation(VariantWords):
    """What all variants share, and the variants."""

    reference: str | None = None
    """name of the variant that the others are compared with; null: the first one"""
    variants: dict[str, VariantWords] = {}  # noqa: RUF012
    """by name, what each has of its own"""


class VerbSettings(LabelSettings, AblateSettings):
    """What is run for every variant, and which there are."""

    ablation: recipe("ablation", Ablation) = "contrastive"  # type: ignore[valid-type]
    """the variants"""


def variants_of(ablation: Ablation) -> list[Variant]:
    """Return the variants: for each, what all share and then its own words.

    Raises:
        SettingsError: words that give no settings, after the variant's name.
    """

    def tried(words: Sequence[str], candidates: Sequence[dict[str, Any]]) -> tuple[FinetuneSettings, ...]:
        base = VERBS["finetune"].compose(words).training
        return tuple(candidate_settings(base, candidates, base.seed))

    made = []
    for name, own in ablation.variants.items():
        try:
            pretraining = VERBS["pretrain"].compose([*ablation.overrides, *own.overrides])
            finetune = tried([*ablation.finetune, *own.finetune], own.candidates or ablation.candidates)
            candidates = own.scratch_candidates or ablation.scratch_candidates
            scratch = tried([*ablation.scratch, *own.scratch], candidates)
        except ValueError as error:
            raise ValueError(f"variant {name}: {error}") from error
        made.append(Variant(name=name, pretrain=pretraining.part(PretrainSettings), finetune=finetune, scratch=scratch))
    return made


def show(summary: pd.DataFrame, archive: str, labels: str, out: str) -> None:
    """Print where the tables lie."""
    console.print(f"the tables lie in {Path(out) / 'ablation.md'}")


@verb(VerbSettings, show)
def ablate(
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path,
    settings: VerbSettings,
    command: str = "ssl_ecg.ablate(...)",
) -> pd.DataFrame:
    """Pretrain many variants with many seeds, probe and finetune each, and write what differs.

    Args:
        archive: the archive, or its folder; the test patients of the labels are held out of pretraining.
        labels: label table.
        out: folder for ``ablation.md``, ``summary.csv``, ``results.csv``, figures and the finished runs; a killed
            ablation continues there, and several processes may share it.
        settings: all settings at once, in place of single ones by name.
        command: recorded as how it was made.

    Returns:
        The summary: columns as those of ``compare``.
    """
    from ssl_ecg.report import draw_ablation

    archive = opened(archive)
    variants = variants_of(settings.ablation)
    settings = settings.replace(reference=settings.reference or settings.ablation.reference)
    static = tuple(dict.fromkeys(name for variant in variants for name in variant.static))
    table, task = read_task(settings.task.name, labels, archive, settings.classes, settings.task.options, static)
    archive = with_static(archive, labels, table, task, static, settings.classes is None)
    count_incomplete(archive, table.rows)
    splits = settings.split.split(table)
    summary = run(variants, archive, table, splits, out, settings.part(AblateSettings), command)
    draw_ablation(out)
    return summary
