"""Figures of a task's result, drawn from the tables in its folder. Nothing is computed here beyond layout."""

from __future__ import annotations

from pathlib import Path


def draw_task(folder: str | Path) -> list[str]:
    """Draw what the tables of a folder hold; returns names of the figures."""
    return []
