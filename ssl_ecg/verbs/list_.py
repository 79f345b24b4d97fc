"""What can be chosen by name."""

from __future__ import annotations

import importlib
import inspect
import sys
from collections.abc import Iterator
from functools import partial
from typing import Any

from rich.markup import escape
from rich.table import Table

from ssl_ecg import _stand_ins
from ssl_ecg.registry import Registry, nearest
from ssl_ecg.settings import Settings
from ssl_ecg.verbs.verb import VERBS, console, summary_of, verb

# Where the registry of each lies; imported when it is asked for.
KINDS = {
    "objectives": "ssl_ecg.objectives.registry:OBJECTIVES",
    "backbones": "ssl_ecg.backbones.registry:BACKBONES",
    "tasks": "ssl_ecg.tasks.registry:TASKS",
    "readers": "ssl_ecg.records.formats:READERS",
    "sources": "ssl_ecg.sources.source:SOURCES",
    "verbs": "ssl_ecg.verbs.verb:VERBS",
}


class VerbSettings(Settings):
    """Nothing to choose."""


def show(found: dict[str, str], what: str | None = None) -> None:
    """Print a line for each."""
    table = Table(box=None, show_header=False, padding=(0, 2, 0, 0))
    for name, line in found.items():
        table.add_row(escape(name), escape(line))
    console.print(table)


@verb(VerbSettings, show)
def list_(what: str | None = None, *, settings: VerbSettings) -> dict[str, str]:
    """List what can be chosen: objectives, backbones, tasks, readers, sources or verbs, of installed packages as well.

    Args:
        what: objectives, backbones, tasks, readers, sources or verbs; nothing: how many there are of each.
        settings: nothing to choose.

    Returns:
        Their names, each with the first line of its documentation.

    Raises:
        ValueError: another word.
    """
    if what is None:
        return {kind: f"{len(_registry(kind).names())}, see ssl-ecg list {kind}" for kind in KINDS}
    if what not in KINDS:
        raise ValueError(f"what={what!r}: {nearest(what, [*KINDS])}")
    return dict(_described(_registry(what)))


def _registry(kind: str) -> Registry[Any]:
    module, _, name = KINDS[kind].partition(":")
    importlib.import_module(module.rpartition(".")[0])  # the room, whose files register what they hold
    found: Registry[Any] = getattr(importlib.import_module(module), name)
    return found


def _described(registry: Registry[Any]) -> Iterator[tuple[str, str]]:
    for name in registry.names():
        try:
            yield name, summary_of(name) if registry is VERBS else _line(name, registry[name])
        except ValueError as error:  # of somebody else's package; the others are there
            if _stand_ins.in_place():  # which may be why
                raise
            yield name, str(error)


def _line(name: str, thing: Any) -> str:
    """Return the first line of what documents a thing: its class or function, or the module of its functions."""
    if isinstance(thing, partial):
        return ", ".join([_line(name, thing.func), *(f"{key}={value}" for key, value in thing.keywords.items())])
    if isinstance(thing, type) or inspect.isfunction(thing):
        documented = inspect.getdoc(thing)
    else:  # a reader or source is made of functions of one module
        function = getattr(thing, "read", None) or getattr(thing, "detect", None)
        function = function.func if isinstance(function, partial) else function
        documented = inspect.getdoc(sys.modules.get(getattr(function, "__module__", "")))
    line = (documented or "").partition("\n")[0]
    return line.removeprefix(f"{name}: ")
