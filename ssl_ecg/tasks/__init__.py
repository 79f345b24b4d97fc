"""What is learned with labels: a task turns a label table into targets, a head, a loss and metrics."""

from ssl_ecg.tasks import arrhythmia as _arrhythmia  # noqa: F401  (registers itself)
from ssl_ecg.tasks.classifier import Classifier, load_classifier, save_classifier
from ssl_ecg.tasks.registry import Task, create_task, list_tasks

__all__ = [
    "Classifier",
    "Task",
    "create_task",
    "list_tasks",
    "load_classifier",
    "save_classifier",
]
