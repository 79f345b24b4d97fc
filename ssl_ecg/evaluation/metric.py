"""What a metric is called, what it means, and which way is better.

A metric is declared once, beside the function that computes it or the task that reports it. The declaration travels
with the numbers, as JSON, so that whoever shows them needs to know no metric.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True)
class Metric:
    """One number by which models are judged.

    Attributes:
        name: as tables and results call it, such as ``"macro_auroc"``.
        label: as a reader sees it inside a sentence, such as "macro AUROC".
        meaning: what it is, in one or two plain sentences.
        lower_is_better: whether it is an error, of which less is wanted.
    """

    name: str
    label: str
    meaning: str
    lower_is_better: bool = False

    def __str__(self) -> str:
        return self.name

    def better(self, value: float, other: float) -> bool:
        """Whether a value is better than another."""
        return value < other if self.lower_is_better else value > other

    def best(self, items: Iterable[T], key: Callable[[T], Any]) -> T:
        """Return the item whose value of this metric, ``key(item)``, is the best; the first of equals."""
        return (min if self.lower_is_better else max)(items, key=key)


def describe(metrics: Iterable[Metric], class_metrics: Iterable[Metric] = ()) -> dict[str, list[dict[str, Any]]]:
    """Return declarations for JSON: ``metrics`` of all records, the one that chooses first, and ``class_metrics``."""
    return {"metrics": [asdict(each) for each in metrics], "class_metrics": [asdict(each) for each in class_metrics]}


def described(declared: Mapping[str, Any] | Path, kind: str = "metrics") -> dict[str, Metric]:
    """Return metrics by name from what ``describe`` made, or from the JSON file that holds it; {} without a file."""
    if isinstance(declared, Path):
        declared = json.loads(declared.read_text(encoding="utf-8")) if declared.is_file() else {}
    return {each["name"]: Metric(**each) for each in declared.get(kind, ())}
