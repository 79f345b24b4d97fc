"""Label tables of several sources become one that says what each of them does not know."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import numpy as np
import pandas as pd
import rich.table
from annotated_types import Ge, Le

from ssl_ecg.labels import read_columns, read_labels
from ssl_ecg.labels.cross_labels import cross_label, never_labelled
from ssl_ecg.runs import write_csv
from ssl_ecg.settings import Settings
from ssl_ecg.tasks import load_model
from ssl_ecg.tasks.static_inputs import with_columns
from ssl_ecg.training import predict_scores
from ssl_ecg.verbs._given import ArchiveLike, TableLike, opened
from ssl_ecg.verbs.verb import console, verb


class VerbSettings(Settings):
    """What sources are, and whose models fill in."""

    classes: tuple[str, ...] | None = None
    """columns of the label table; null: all"""
    source: str = "source"
    """column of the label table, or of the manifest, that says where a record is from"""
    models: tuple[str, ...] = ()
    """folders of models of other sources, which fill in what a source never labels; the first that is sure counts"""
    above: Annotated[float, Ge(0), Le(1)] = 0.9
    """score from which a model says 1"""
    below: Annotated[float, Ge(0), Le(1)] = 0.1
    """score up to which it says 0; between both a label stays blank"""


def show(counts: pd.DataFrame, archive: str, labels: str, out: str) -> None:
    """Print what became of the classes that a source never labels."""
    shown = rich.table.Table(*map(str, counts))
    for row in counts.astype(str).itertuples(index=False):
        shown.add_row(*row)
    console.print(shown)
    console.print(f"the labels lie in {out}")


@verb(VerbSettings, show)
def relabel(archive: ArchiveLike, labels: TableLike, out: str | Path, settings: VerbSettings) -> pd.DataFrame:
    """Blank the classes that a source never labels, or fill them in by models of other sources.

    Args:
        archive: the archive, or its folder.
        labels: label table of several sources.
        out: CSV file for the new label table: ``record_id``, the classes and, where there is one, ``fold``.
        settings: all settings at once, in place of single ones by name.

    Returns:
        ``source``, ``class``, ``records``, and how many of them are now ``blank``, ``filled_1`` and ``filled_0``; a row
        for each source and class that it never labels.

    Raises:
        ValueError: no such column, ``out`` is the label table, or a model without any of the classes.
    """
    out = Path(out)
    if isinstance(labels, str | Path) and out.resolve() == Path(labels).resolve():
        raise ValueError(f"out={str(out)!r}: labels lie there, and would be replaced; choose another file")
    archive = opened(archive)
    table = read_labels(labels, archive, settings.classes, others=[settings.source])
    source = read_columns(labels, archive, table.rows, [settings.source])[settings.source].fillna("").astype(str)
    unknown = never_labelled(table.targets, source.tolist())
    targets = cross_label(table.targets, unknown)
    for folder in settings.models:
        model = load_model(folder)
        if not (common := [name for name in table.classes if name in model.task.classes]) or not model.task.of_labels:
            raise ValueError(f"models: {folder} predicts none of {', '.join(table.classes)}")
        described = with_columns(archive, labels, model.static)
        given, scores = predict_scores(model, described, table.rows), np.full(targets.shape, np.nan)
        for name in common:
            scores[:, table.classes.index(name)] = given[:, model.task.classes.index(name)]
        targets = cross_label(targets, unknown & np.isnan(targets), scores, settings.above, settings.below)
    rows = []
    for name in sorted(set(source)):
        mine = (source == name).to_numpy()
        for c in np.flatnonzero(unknown[mine].all(axis=0)):
            now = targets[mine, c]
            counted = {"blank": np.isnan(now), "filled_1": now == 1, "filled_0": now == 0}
            rows.append(
                {"source": name, "class": table.classes[c], "records": int(mine.sum())}
                | {key: int(value.sum()) for key, value in counted.items()}
            )
    new = pd.DataFrame({"record_id": archive.manifest["record_id"].to_numpy(object)[table.rows]})
    new = new.assign(**{name: targets[:, c] for c, name in enumerate(table.classes)})
    if table.fold is not None:
        new["fold"] = table.fold
    out.parent.mkdir(parents=True, exist_ok=True)
    write_csv(out, new)
    return pd.DataFrame(rows, columns=["source", "class", "records", "blank", "filled_1", "filled_0"])
