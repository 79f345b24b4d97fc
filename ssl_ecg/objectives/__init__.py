"""What is learned without labels: views or masks in, a loss and its parts out."""

from ssl_ecg.objectives import cmsc as _cmsc  # noqa: F401  (registers itself)
from ssl_ecg.objectives.patient_contrastive import multiview_contrastive_loss, patient_contrastive_loss
from ssl_ecg.objectives.registry import create_objective, list_objectives

__all__ = ["create_objective", "list_objectives", "multiview_contrastive_loss", "patient_contrastive_loss"]
