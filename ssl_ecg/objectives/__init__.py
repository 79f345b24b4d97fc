"""What is learned without labels: views or masks in, a loss and its parts out. Every file here registers itself."""

from importlib import import_module
from pkgutil import iter_modules

from ssl_ecg.objectives.patient_contrastive import multiview_contrastive_loss, patient_contrastive_loss
from ssl_ecg.objectives.registry import create_objective, list_objectives, register

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "create_objective",
    "list_objectives",
    "multiview_contrastive_loss",
    "patient_contrastive_loss",
    "register",
]
