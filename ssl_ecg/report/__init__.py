"""Figures and one self-contained HTML page from the tables of a comparison. Nothing is computed here beyond layout."""

from ssl_ecg.report.ablation_figures import ablation_figure, draw_ablation, pretraining_figure
from ssl_ecg.report.answer import Finding, findings, headline
from ssl_ecg.report.figures import (
    collapse_figure,
    difference_figure,
    label_efficiency_figure,
    learning_curves_figure,
)
from ssl_ecg.report.html import write_report
from ssl_ecg.report.task_figures import DRAWN, draw_task

__all__ = [
    "DRAWN",
    "Finding",
    "ablation_figure",
    "collapse_figure",
    "difference_figure",
    "draw_ablation",
    "draw_task",
    "findings",
    "headline",
    "label_efficiency_figure",
    "learning_curves_figure",
    "pretraining_figure",
    "write_report",
]
