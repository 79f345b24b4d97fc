"""What a folder of runs holds: what they are about, and a folder per finished run, whose result file comes last."""

from __future__ import annotations

import hashlib
import json
import platform
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from ssl_ecg.archive import Archive
from ssl_ecg.comparison.arms import Outcome
from ssl_ecg.evaluation import describe
from ssl_ecg.labels.splits import Splits, lacking
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.tasks import Task


def write_run(folder: Path, outcome: Outcome, result: Mapping[str, Any]) -> None:
    """Write ``test_scores.npy``, ``curve.csv`` and, last of all, ``result.json``, which marks the run finished."""
    folder.mkdir(parents=True, exist_ok=True)
    np.save(folder / "test_scores.npy", outcome.scores)
    pd.DataFrame(outcome.curve).to_csv(folder / "curve.csv", index=False)
    write_json(folder / "result.json", result)


def result_of(
    outcome: Outcome, task: Task, labels: LabelTable, splits: Splits, train: NDArray[np.int64]
) -> dict[str, Any]:
    """Return the numbers of a run: what it learned from, its validation score, its test metrics, what was chosen.

    Args:
        outcome: of the run.
        task: names the metrics.
        labels: label table.
        splits: indices into ``labels``.
        train: of those, what the run learned from.
    """
    return {
        "records": len(train),
        "patients": len(np.unique(labels.patient[train])),
        f"validation_{task.selection}": outcome.validation,
        **task.evaluate(labels.targets[splits.test], outcome.scores),
        **outcome.chosen,
        "undetermined": [labels.outcomes[c] for c in outcome.undetermined],
    }


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    """Write a file that is there whole or not at all."""
    partial = path.with_name(path.name + ".partial")
    partial.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    partial.rename(path)


def data_identity(archive: Archive, labels: LabelTable, splits: Splits) -> dict[str, Any]:
    """Return what tells one set of labelled records from another, with counts for a reader.

    Raises:
        ValueError: no class can be learned or scored.
    """
    parts = {"train": splits.train, "validation": splits.validation, "test": splits.test}
    digest = hashlib.sha256()
    for array in (labels.targets, labels.rows, labels.patient, *parts.values()):
        digest.update(np.ascontiguousarray(array).tobytes())
    return {
        "classes": {
            name: {part: int(np.nansum(labels.outcome[index, c])) for part, index in parts.items()}
            for c, name in enumerate(labels.outcomes)
        },
        "splits": {
            part: {"records": len(index), "patients": len(np.unique(labels.patient[index]))}
            for part, index in parts.items()
        },
        "labels": {"sha256": digest.hexdigest()[:16]},
        "archive": {"records": len(archive), **archive.settings.to_dict()},
        "warnings": [line for part, index in parts.items() for line in lacking(labels, part, index)],
    }


def declaration(labels: LabelTable, task: Task) -> dict[str, Any]:
    """Return what readers must be told: what the metrics are, and ``simulated`` where the outcomes were made up."""
    declared = describe(task.metrics, task.class_metrics)
    return {**declared, "simulated": True} if labels.simulated else declared


def claim(path: Path, identity: Mapping[str, Any], command: str = "", said: Mapping[str, Any] | None = None) -> None:
    """Write what a folder's runs are about, or refuse a folder that holds runs about something else.

    Args:
        path: JSON file in the folder.
        identity: what must agree with an earlier claim, if there is one.
        command: recorded as how the first claim was made, with the versions of what it was made with.
        said: recorded beside, for readers; an earlier claim that lacks it is given it.

    Raises:
        ValueError: an earlier claim differs; the message names in what.
    """
    identity = json.loads(json.dumps(identity, default=str))
    if path.is_file():
        earlier = json.loads(path.read_text(encoding="utf-8"))
        if changed := [name for name in identity if earlier.get(name) != identity[name]]:
            raise ValueError(
                f"out={str(path.parent)!r}: its {path.name} differs in {', '.join(changed)}; choose another folder"
            )
        if (told := {**earlier, **(said or {})}) != earlier:
            write_json(path, told)
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    packages = ("ssl_ecg", "torch", "pytorch-lightning", "scikit-learn", "numpy")
    versions = {name: version(name) for name in packages}
    write_json(
        path,
        {**identity, **(said or {}), "command": command, "versions": versions, "python": platform.python_version()},
    )


@contextmanager
def lock(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file during the block; the system frees it when the process ends, however it ends.

    Args:
        path: the file; it stays.
        wait: for a process that holds it.

    Yields:
        Whether this process holds it.
    """
    import fcntl

    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            mine = False
        else:
            mine = True
        yield mine
