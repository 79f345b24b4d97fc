"""Self-supervised pretraining on 12-lead ECG archives, and an honest comparison with supervised baselines.

Every verb of the command line is a function here: ``ssl_ecg.pretrain("archive", "encoder", epochs=3)`` is
``ssl-ecg pretrain archive encoder epochs=3``. ``list`` and ``explain`` alone, names that are taken
in Python, end in an underscore here: ``ssl_ecg.list_("tasks")``. Everything is imported where it is used, so that
``import ssl_ecg`` stays fast.
"""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from ssl_ecg._torchvision import guard

__version__ = "0.2.0.dev0"

# What is no verb, and the room it comes from.
_EXPORTS = {
    "EcgClassifier": "estimators",
    "EncoderTransformer": "estimators",
    "SplitSettings": "labels",
    "from_pretrained": "hub",
    "load_encoder": "backbones",
    "load_model": "tasks",
    "open_archive": "archive",
    "push_to_hub": "hub",
    "read_records": "records",
}


def __getattr__(name: str) -> Any:
    if name in _EXPORTS:
        return getattr(importlib.import_module(f"ssl_ecg.{_EXPORTS[name]}"), name)
    if name.startswith("_"):
        raise AttributeError(f"module 'ssl_ecg' has no attribute {name!r}")
    if name in _rooms():
        return importlib.import_module(f"ssl_ecg.{name}")
    from ssl_ecg.verbs import VERBS

    if (verb := name.removesuffix("_")) in VERBS:
        return VERBS[verb]
    raise AttributeError(f"module 'ssl_ecg' has no attribute {name!r}")


def __dir__() -> list[str]:
    from ssl_ecg.verbs import VERBS

    return sorted([*globals(), *_EXPORTS, *_rooms(), *VERBS.names()])


def _rooms() -> list[str]:
    return [module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]


guard()
