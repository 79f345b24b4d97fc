"""Folders that come with the package, by name."""

from __future__ import annotations

from pathlib import Path

SHIPPED = ("synthetic",)
"""Encoders, and models, that ship; of a folder of one's own of that name say ``./synthetic``."""


def folder_of(given: str | Path) -> Path:
    """Return the folder that is meant: that of what ships, where its name is given."""
    return Path(__file__).parents[1] / "encoders" / given if given in SHIPPED else Path(given)
