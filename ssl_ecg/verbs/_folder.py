"""The folder of a verb's result: the same call finds what is there, another one is refused."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.labels.tables import LabelTable
from ssl_ecg.runs import sha256
from ssl_ecg.settings import Settings


def identity(
    verb: str,
    encoder: Encoder,
    archive: Archive,
    labels: LabelTable,
    parts: dict[str, NDArray[np.int64]],
    settings: Settings,
) -> dict[str, Any]:
    """Return what a result is about: the verb, its settings, and hashes of all that it learns from and is tested on.

    Args:
        verb: name.
        encoder: with its weights.
        archive: whose ``archive.json`` holds the hashes of all its parts.
        labels: label table.
        parts: by name of a split, where its records stand in ``labels``.
        settings: of the verb.
    """
    learned = hashlib.sha256(labels.rows.tobytes() + np.ascontiguousarray(labels.targets).tobytes())
    for name, index in parts.items():
        learned.update(name.encode() + index.tobytes())
    return {
        "verb": verb,
        "settings": {name: value for name, value in settings.to_dict().items() if name != "loggers"},
        "encoder": weights_of(encoder, encoder.name),
        "archive": sha256(archive.folder / "archive.json")[:16],
        "labels": learned.hexdigest()[:16],
    }


def weights_of(module: nn.Module, name: str) -> str:
    """Return a hash of a module's weights, and of what it is called."""
    digest = hashlib.sha256(name.encode())
    for part, tensor in module.state_dict().items():
        digest.update(part.encode() + tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:16]
