"""What is learned with labels: targets, a head, a loss and metrics. Every file of a task registers itself."""

from importlib import import_module
from pkgutil import iter_modules

from ssl_ecg.tasks.classifier import Classifier, load_model, save_classifier, write_head
from ssl_ecg.tasks.ensemble import fit_combination
from ssl_ecg.tasks.joining import join
from ssl_ecg.tasks.linear_probe import LinearProbe
from ssl_ecg.tasks.probe import Probe
from ssl_ecg.tasks.registry import create_task, list_tasks, read_task, register
from ssl_ecg.tasks.supervised_contrastive import supervised_contrastive_loss
from ssl_ecg.tasks.survival import discrete_survival_nll, encode_survival, survival_at, survival_curve
from ssl_ecg.tasks.survival_task import Survival
from ssl_ecg.tasks.task import Task
from ssl_ecg.tasks.thresholds import Thresholds
from ssl_ecg.tasks.windows import WindowSettings

for _module in iter_modules(__path__):
    import_module(f"{__name__}.{_module.name}")

__all__ = [
    "Classifier",
    "LinearProbe",
    "Probe",
    "Survival",
    "Task",
    "Thresholds",
    "WindowSettings",
    "create_task",
    "discrete_survival_nll",
    "encode_survival",
    "fit_combination",
    "join",
    "list_tasks",
    "load_model",
    "read_task",
    "register",
    "save_classifier",
    "supervised_contrastive_loss",
    "survival_at",
    "survival_curve",
    "write_head",
]
