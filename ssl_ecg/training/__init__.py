"""The one engine: pretraining and finetuning through Lightning."""

from ssl_ecg.runs import patient_hash
from ssl_ecg.training.finetune import Finetuned, finetune
from ssl_ecg.training.finetune_settings import FinetuneSettings
from ssl_ecg.training.frozen import extract_features, predict_scores, teacher_says
from ssl_ecg.training.pretrain import pretrain
from ssl_ecg.training.pretrain_settings import PretrainSettings

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
