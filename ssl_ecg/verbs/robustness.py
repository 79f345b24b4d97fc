"""How a finished model's scores fall when ECGs are distorted: noise, lost leads, exchanged electrodes, lower rates."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pandas as pd
import torch
from annotated_types import Ge, MinLen
from rich.table import Table

from ssl_ecg.archive import Archive
from ssl_ecg.evaluation import Bootstrap
from ssl_ecg.runs import lock, whole_folder, write_csv, write_json
from ssl_ecg.signals import Signals
from ssl_ecg.tasks import Classifier, load_model
from ssl_ecg.tasks.static_inputs import tell_unknown, with_columns
from ssl_ecg.verbs._given import ArchiveLike, TableLike, opened_for
from ssl_ecg.verbs._records import computed, inputs_of, refuse_other
from ssl_ecg.verbs._testing import TestSettings, records_that_test
from ssl_ecg.verbs.verb import console, verb
from ssl_ecg.views.distortions import DISTORTIONS, Distortion, shows

BATCH = 128


class VerbSettings(TestSettings):
    """Which records test, and what is done to them."""

    distortions: Annotated[tuple[str, ...], MinLen(1)] | None = None
    """names of distortions; null: all that these signals can show"""
    replicates: Annotated[int, Ge(1)] = 1000
    """bootstrap draws of patients for the intervals"""
    seed: Annotated[int, Ge(0)] = 0
    """of what is drawn: noise, and which leads are lost"""


def show(table: pd.DataFrame, model: str, archive: str, labels: str, out: str) -> None:
    """Print the metric that chooses models, at every level."""
    first = table[table["metric"] == table["metric"].iloc[0]]
    printed = Table("distortion", "level", str(first["metric"].iloc[0]), "lost", "95 % interval")
    for row in first.itertuples(index=False):
        lost = f"{row.lost:+.3f}", f"{row.lost_low:+.3f} to {row.lost_high:+.3f}"
        printed.add_row(str(row.distortion), f"{row.level}", f"{row.mean:.3f}", *lost)
    console.print(printed)
    console.print(f"table, figure and report.html lie in {out}")


@verb(VerbSettings, show)
def robustness(
    model: str | Path | Classifier,
    archive: ArchiveLike,
    labels: TableLike,
    out: str | Path,
    *,
    settings: VerbSettings,
) -> pd.DataFrame:
    """Score a finished model on test records that are distorted, one kind and level after the other.

    Distortions act on signals as they lie in the archive, after its filters: a recorder's own filters would have taken
    some of the noise away.

    Args:
        model: folder of the model, or the model.
        archive: the archive, or its folder.
        labels: label table.
        out: folder for ``robustness.csv``, a figure and ``report.html``.
        settings: all settings at once, in place of single ones by name.

    Returns:
        ``distortion``, ``level``, ``unit``, ``metric``, ``mean`` with the ends of its interval (``low``, ``high``), and
        ``lost``, what the clean records score more, with those of the paired difference (``lost_low``, ``lost_high``);
        the clean records first.

    Raises:
        ValueError: an unknown distortion, or one that these signals cannot show; and as ``evaluate``.
    """
    from ssl_ecg.report.robustness_page import write_robustness_page

    refuse_other(Path(out))
    classifier = load_model(model) if isinstance(model, str | Path) else model
    archive = with_columns(opened_for(classifier.encoder, archive), labels, classifier.static)
    tell_unknown(classifier.static, archive.manifest)
    names = _chosen(settings.distortions, archive)
    records = records_that_test(classifier, archive, labels, settings)
    table, index = records.table, records.tested
    task, rows = classifier.task, table.rows[index]
    judge = Bootstrap(
        table.targets[index],
        table.patient[index],
        settings.replicates,
        metrics=task.weighted_metrics,
        outcome=table.outcome[index],
    )
    clean = judge.score(_scores(classifier, archive, rows, None, "", settings.seed))
    found = [_row("none", "", "", judge, clean, clean)]
    for name in names:
        for level in DISTORTIONS[name].levels:
            scores = _scores(classifier, archive, rows, DISTORTIONS[name], level, settings.seed)
            found.append(_row(name, level, DISTORTIONS[name].unit, judge, clean, judge.score(scores)))
    result = pd.concat(found, ignore_index=True)
    about: dict[str, Any] = {"task": task.name, "records": len(index), "settings": settings.to_dict()}
    with lock(Path(out)), whole_folder(Path(out), last="robustness.csv") as part:
        write_json(part / "robustness.json", about)
        write_robustness_page(part, result, task.selection, {**about, "simulated": table.simulated})
        write_csv(part / "robustness.csv", result, float_format="%.6g")
    return result


def _chosen(names: tuple[str, ...] | None, archive: Archive) -> list[str]:
    for name in names or ():
        if name not in DISTORTIONS:
            raise ValueError(f"distortions={name!r}: unknown; choose from {', '.join(DISTORTIONS)}")
        if not shows(name, archive.sampling_rate, archive.leads):
            raise ValueError(
                f"distortions={name!r}: signals of {archive.sampling_rate:g} Hz and leads {' '.join(archive.leads)} "
                "cannot show it; leave it out"
            )
    return [name for name in names or DISTORTIONS if shows(name, archive.sampling_rate, archive.leads)]


@torch.inference_mode()
def _scores(
    model: Classifier,
    archive: Archive,
    rows: np.ndarray,
    distortion: Distortion | None,
    level: float | str,
    seed: int,
) -> np.ndarray:
    device = next(model.parameters()).device
    parts = []
    with torch.random.fork_rng():
        torch.manual_seed(seed)  # every level of a kind meets the same draws, so that levels differ in strength alone
        for first in range(0, len(rows), BATCH):
            read = archive.read(rows[first : first + BATCH])
            signals = Signals(*(torch.from_numpy(values).to(device) for values in read))
            if distortion is not None:
                signals = distortion.apply(signals, level, archive.sampling_rate, archive.leads)
            seen = Signals(*(values.cpu().numpy() for values in signals))
            some = archive.manifest.iloc[rows[first : first + BATCH]]
            parts.append(computed(model, model.scores, inputs_of(model, seen, some)))
    return np.concatenate(parts)


def _row(name: str, level: float | str, unit: str, judge: Bootstrap, clean: Any, distorted: Any) -> pd.DataFrame:
    intervals, lost = judge.intervals([distorted]), judge.differences([clean], [distorted])
    return pd.DataFrame(
        [
            {
                **{"distortion": name, "level": level, "unit": unit, "metric": metric},
                **{"mean": each.mean, "low": each.low, "high": each.high},
                **{"lost": lost[metric].mean, "lost_low": lost[metric].low, "lost_high": lost[metric].high},
            }
            for metric, each in intervals.items()
        ]
    )
