"""The one engine: pretraining and finetuning through Lightning, which is imported where a network is trained."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ssl_ecg.runs import patient_hash
from ssl_ecg.training.finetune_settings import FinetuneSettings
from ssl_ecg.training.frozen import extract_features, predict_scores, teacher_says
from ssl_ecg.training.pretrain_settings import PretrainSettings

if TYPE_CHECKING:
    from ssl_ecg.training.finetuning import Finetuned, finetune
    from ssl_ecg.training.pretraining import pretrain

__all__ = [
    "FinetuneSettings",
    "Finetuned",
    "PretrainSettings",
    "extract_features",
    "finetune",
    "patient_hash",
    "predict_scores",
    "pretrain",
    "teacher_says",
]

_TRAINED = {"Finetuned": "finetuning", "finetune": "finetuning", "pretrain": "pretraining"}


def __getattr__(name: str) -> Any:
    if name not in _TRAINED:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_TRAINED[name]}"), name)
