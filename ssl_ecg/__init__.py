"""Self-supervised pretraining on 12-lead ECG archives, and an honest comparison with supervised baselines.

The same verbs here and on the command line: ``ingest``, ``pretrain``, ``probe``, ``finetune``, ``evaluate``,
``compare``, ``ablate``, ``label_lvef``.
Everything is imported where it is used, so that ``import ssl_ecg`` stays fast.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ssl_ecg._torchvision import declare_missing_operators

__version__ = "0.2.0.dev0"

if TYPE_CHECKING:
    from ssl_ecg.verbs import (
        ablate,
        compare,
        evaluate,
        finetune,
        ingest,
        label_lvef,
        load_encoder,
        open_archive,
        pretrain,
        probe,
        synthesize,
    )

__all__ = [
    "ablate",
    "compare",
    "evaluate",
    "finetune",
    "ingest",
    "label_lvef",
    "load_encoder",
    "open_archive",
    "pretrain",
    "probe",
    "synthesize",
]

_ROOMS = (
    "archive",
    "backbones",
    "comparison",
    "evaluation",
    "explain",
    "labels",
    "objectives",
    "records",
    "report",
    "signals",
    "sources",
    "synthetic",
    "tasks",
    "training",
    "views",
)


def __getattr__(name: str) -> Any:
    if name in __all__:
        return getattr(importlib.import_module("ssl_ecg.verbs"), name)
    if name in _ROOMS:
        return importlib.import_module(f"ssl_ecg.{name}")
    raise AttributeError(f"module 'ssl_ecg' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__, *_ROOMS])


declare_missing_operators()
