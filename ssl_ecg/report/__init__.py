"""Figures and one self-contained HTML page from the tables of a comparison. Nothing is computed here beyond layout."""

from ssl_ecg.report.ablation_figures import ablation_figure, draw_ablation, pretraining_figure
from ssl_ecg.report.answer import Finding, findings, headline, sentences
from ssl_ecg.report.figures import (
    arm_label,
    collapse_figure,
    difference_figure,
    is_difference,
    label_efficiency_figure,
    learning_curves_figure,
    percent,
)
from ssl_ecg.report.flow import draw_flow
from ssl_ecg.report.html import write_report
from ssl_ecg.report.result_page import FURTHER, draw_further, write_prediction_page, write_result_page
from ssl_ecg.report.task_figures import DRAWN, draw_task

__all__ = [
    "DRAWN",
    "FURTHER",
    "Finding",
    "ablation_figure",
    "arm_label",
    "collapse_figure",
    "difference_figure",
    "draw_ablation",
    "draw_flow",
    "draw_further",
    "draw_task",
    "findings",
    "headline",
    "is_difference",
    "label_efficiency_figure",
    "learning_curves_figure",
    "percent",
    "pretraining_figure",
    "sentences",
    "write_prediction_page",
    "write_report",
    "write_result_page",
]
