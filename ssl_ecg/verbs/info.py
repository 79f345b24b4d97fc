"""What a folder is, and the main facts about it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
from rich.markup import escape
from rich.table import Table

from ssl_ecg.runs import folder_of, read_metrics
from ssl_ecg.settings import Settings
from ssl_ecg.verbs.verb import console, verb


class VerbSettings(Settings):
    """Nothing to choose."""


Facts = Iterator[tuple[str, str]]


def show(facts: dict[str, str], folder: str) -> None:
    """Print the facts."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, value in facts.items():
        table.add_row(escape(name), escape(value))
    console.print(table)


@verb(VerbSettings, show)
def info(folder: str | Path, *, settings: VerbSettings) -> dict[str, str]:
    """Say what a folder is, such as an archive, an encoder, a model or an unfinished run, and the main facts about it.

    Args:
        folder: any that a verb wrote; or "synthetic", the model that ships.
        settings: nothing to choose.

    Returns:
        ``kind``, and facts by name.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: it holds nothing that a verb wrote, or what it holds is damaged.
    """
    path = folder_of(folder)
    if not path.is_dir():
        raise FileNotFoundError(f"folder={str(folder)!r}: there is no such folder")
    for marker, tell in _KINDS.items():
        if (path / marker).exists():
            try:
                return dict(tell(path))
            except (AttributeError, KeyError, TypeError, RecursionError, pd.errors.ParserError) as error:
                raise ValueError(f"{path / marker}: is damaged ({type(error).__name__}); make it again") from error
    raise ValueError(
        f"folder={str(folder)!r}: holds nothing that ssl-ecg wrote; of recordings, ssl-ecg ingest FOLDER ARCHIVE "
        "makes an archive"
    )


def _archive(path: Path) -> Facts:
    from ssl_ecg.archive import open_archive

    archive = open_archive(path)
    manifest = archive.manifest
    yield "kind", "archive"
    yield "records", f"{len(archive):,}"
    known = manifest["patient_known"]
    yield "patients", f"{manifest['patient_id'][known].nunique():,}" + ("" if known.all() else ", some unknown")
    yield "sources", ", ".join(sorted(map(str, manifest["source"].unique()))[:5])
    yield from _signal(archive.settings)
    size = sum(file.stat().st_size for file in (path / "signals").glob("*"))
    yield "size", f"{size / 1e6:,.1f} MB of signals"
    if labels := sorted(file.name for file in (path / "labels").glob("*.csv")):
        yield "labels", ", ".join(labels)
    if (path / "rejected.csv").is_file():
        yield "rejected", f"{len(pd.read_csv(path / 'rejected.csv')):,} files, see rejected.csv"


def _signal(signal: Any) -> Facts:
    band = "none" if signal.band is None else f"{signal.band[0]:g} to {signal.band[1]:g} Hz"
    yield "leads", " ".join(signal.leads)
    yield "signal", f"{signal.sampling_rate:g} Hz, {signal.duration:g} s, band {band}"


def _encoder(path: Path) -> Facts:
    from ssl_ecg.backbones.encoder import read_config
    from ssl_ecg.backbones.untrusted import shapes_of
    from ssl_ecg.signals import SignalSettings

    config = read_config(path)
    model = (path / "task.json").is_file()
    yield "kind", "model" if model else "encoder"
    if model:
        yield from _task(path)
    yield "network", str(config["backbone"].get("name") or config["backbone"].get("class"))
    count = sum(_product(shape) for shape in shapes_of(path / "model.safetensors").values())
    yield "weights", f"{count:,} numbers"
    yield from _signal(SignalSettings(**config["signal"]))
    yield "patients seen", f"{len(config['patients']):,}"
    objective = config["origin"].get("settings", {}).get("objective", {})
    if isinstance(objective, dict) and "name" in objective:
        yield "pretrained with", str(objective["name"])
    yield from _metrics(path)


def _product(shape: Any) -> int:
    count = 1
    for size in shape:
        count *= size
    return count


def _task(path: Path) -> Facts:
    from ssl_ecg.backbones.untrusted import read_json

    task = read_json(path / "task.json", "task")
    yield "task", str(task.get("task"))
    classes = task.get("classes")
    yield "classes", ", ".join(map(str, classes if isinstance(classes, list) else ()))
    if isinstance(static := task.get("static"), list) and static:
        yield "static inputs", ", ".join(map(str, static))


def _metrics(path: Path) -> Facts:
    if not (path / "metrics.json").is_file():
        return
    metrics = read_metrics(path)
    for name, value in metrics.items():
        if f"{name}_low" in metrics:
            low, high = metrics[f"{name}_low"], metrics[f"{name}_high"]
            yield name, f"{value:.3f} ({low:.3f} to {high:.3f})"


def _result(path: Path) -> Facts:
    yield "kind", "evaluation"
    yield from _metrics(path)


def _bundle(path: Path) -> Facts:
    from ssl_ecg.deploy.bundle import read_bundle

    bundle = read_bundle(path)
    yield "kind", "exported model"
    yield "program", bundle.file
    yield "task", bundle.task
    yield "scores", ", ".join(output.name for output in bundle.outputs)
    if bundle.static:
        yield "static inputs", ", ".join(bundle.static)
    yield from _signal(bundle.signal)
    if bundle.largest_difference is not None:
        yield "largest difference from the model", f"{bundle.largest_difference:.2g}"


def _runs(kind: str, marker: str) -> Callable[[Path], Facts]:
    def tell(path: Path) -> Facts:
        finished = len([*(path / "runs").glob(f"*/{'result' if kind == 'comparison' else 'variant'}.json")])
        done = (path / "summary.csv").is_file() and (path / marker).is_file()
        yield "kind", kind if done else f"unfinished {kind}"
        yield "finished runs", str(finished)
        if done:
            table = pd.read_csv(path / "summary.csv")
            for row in table.head(12).to_dict("records"):
                name = " ".join(
                    str(row[column]) for column in ("arm", "variant", "fraction", "metric") if column in row
                )
                if {"mean", "low", "high"} <= {*row}:
                    yield name, f"{row['mean']:.3f} ({row['low']:.3f} to {row['high']:.3f})"

    return tell


def _table(kind: str, file: str) -> Callable[[Path], Facts]:
    def tell(path: Path) -> Facts:
        table = pd.read_parquet(path / file) if file.endswith(".parquet") else pd.read_csv(path / file)
        yield "kind", kind
        yield "rows", f"{len(table):,}"
        shown = [str(name) for name in table.columns[:8]]
        yield "columns", ", ".join(shown) + (f" and {table.shape[1] - 8} more" if table.shape[1] > 8 else "")
        if "abstained" in table:
            yield "not scored", f"{table['abstained'].fillna('').ne('').sum():,}"

    return tell


def _unfinished(path: Path) -> Facts:
    from ssl_ecg.backbones.untrusted import read_json

    about = read_json(path / "run.json", "run")
    settings = about.get("settings")
    yield "kind", f"unfinished {about.get('verb', 'pretrain')}"
    yield "to go on", "run the same command again"
    if isinstance(settings, dict):
        for name in ("objective", "backbone", "task"):
            if isinstance(settings.get(name), dict):
                yield name, str(settings[name].get("name"))


def _ingest(path: Path) -> Facts:
    yield "kind", "unfinished archive"
    yield "parts", str(len([*(path / "journal").glob("*.json")]))
    yield "to go on", "run the same command again"


# By the file that tells, the first that is there.
_KINDS: dict[str, Callable[[Path], Facts]] = {
    "archive.json": _archive,
    "journal": _ingest,
    "model.json": _bundle,
    "config.json": _encoder,
    "comparison.json": _runs("comparison", "comparison.json"),
    "ablation.json": _runs("ablation", "ablation.json"),
    "metrics.json": _result,
    "embeddings.parquet": _table("embeddings", "embeddings.parquet"),
    "shares.csv": _table("explanations", "shares.csv"),
    "predictions.csv": _table("predictions", "predictions.csv"),
    "run.json": _unfinished,
}
