"""Things of one kind by name: those of this package, those that a program registers, those of installed packages."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeVar

T = TypeVar("T")

log = logging.getLogger(__name__)


def nearest(name: str, known: list[str]) -> str:
    """Return what to say of a name that is not known: the nearest one that is, and all that can be chosen."""
    near = get_close_matches(name, known, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    return f"{meant}choose one of {', '.join(known)}"


class Registry(Generic[T]):
    """Backbones, objectives, tasks, readers, sources or verbs by name.

    Args:
        kind: what they are called in messages, such as ``"backbone"``.
        group: entry points of this name in installed packages are found too; each is imported when it is asked for.

    Example:
        >>> networks = Registry[type]("backbone", "ssl_ecg.backbones")
        >>> networks.register("mine", dict)
        >>> networks["mine"]
        <class 'dict'>
    """

    def __init__(self, kind: str, group: str) -> None:
        self.kind, self.group = kind, group
        self._things: dict[str, T] = {}
        self._installed: dict[str, EntryPoint] | None = None
        self._broken: set[str] = set()
        self._unlisted: set[str] = set()

    def register(self, name: str, thing: T, listed: bool = True) -> None:
        """Make a thing available by name; one that is not ``listed`` is part of what was made, and nobody's choice.

        Raises:
            ValueError: the name is taken.
        """
        if self._things.get(name, thing) is not thing:
            raise ValueError(f"name={name!r}: a {self.kind} of this name exists already; choose another name")
        self._things[name] = thing
        if not listed:
            self._unlisted.add(name)

    def offer(self, name: str, target: str) -> None:
        """Make a thing available by name that is imported when it is asked for, such as ``"my.module:thing"``."""
        self._entry_points()[name] = EntryPoint(name, target, self.group)

    def names(self) -> list[str]:
        """Return all names, sorted."""
        return sorted({*self._things, *self._entry_points()} - self._unlisted)

    def __contains__(self, name: object) -> bool:
        return name in self._things or name in self._entry_points()

    def __getitem__(self, name: str) -> T:
        """Return the thing of this name.

        Raises:
            ValueError: no such name, or the installed package that offers it cannot be imported.
        """
        if name not in self._things and name in (offered := self._entry_points()):
            try:
                self._things[name] = offered[name].load()
            except Exception as error:  # somebody else's package: whatever it raises, say whose it is
                raise ValueError(
                    f"{self.kind}={name!r}: {offered[name].value} cannot be imported ({error}); mend or remove the "
                    "package that offers it"
                ) from error
        if name not in self._things:
            raise ValueError(f"{self.kind}={name!r}: unknown; {nearest(str(name), self.names())}")
        return self._things[name]

    def usable(self) -> Iterator[tuple[str, T]]:
        """Yield all by name, in order; what cannot be imported is left out, and named in the log once."""
        for name in self.names():
            if name in self._broken:
                continue
            try:
                thing = self[name]
            except ValueError as error:
                self._broken.add(name)
                log.warning("%s", error)
            else:
                yield name, thing

    def _entry_points(self) -> dict[str, EntryPoint]:
        if self._installed is None:
            self._installed = {point.name: point for point in entry_points(group=self.group)}
        return self._installed
