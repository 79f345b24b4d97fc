"""A folder that continues: what it is about, who is at it, and whether there is something to go on with.

The rules, for every verb: the same call on a finished folder does nothing twice; on a folder that a kill left it goes
on; other settings are refused, with both values of each; one process at a time.
"""

from __future__ import annotations

import functools
import inspect
import json
import os
import platform
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

from filelock import FileLock, SoftFileLock, Timeout

from ssl_ecg.runs.files import previous_of, write_json

LOCK = ".lock"
PACKAGES = ("ssl_ecg", "torch", "pytorch-lightning", "scikit-learn", "numpy")

P = ParamSpec("P")
T = TypeVar("T")


class FolderInUseError(OSError):
    """Another process is working in the folder."""


@contextmanager
def lock(folder: str | Path, name: str = "out", wait: bool = False) -> Iterator[None]:
    """Keep a folder for this process during the block; the system frees it when the process ends, however it ends.

    Args:
        folder: made where it does not exist, and removed again if nothing comes to lie in it.
        name: of the argument that gave the folder, for the message.
        wait: for a process that is at it.

    Raises:
        FolderInUseError: another process is at it.
        OSError: of the block; one without a path gets that of the folder.
    """
    folder = Path(folder)
    made = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    held = FileLock(path, timeout=-1 if wait else 0)
    try:
        held.acquire()
        while not path.exists():  # whoever had it removed it after we had opened it: what we hold is no longer there
            held.release()
            held.acquire()
    except Timeout:
        raise FolderInUseError(
            f"{name}={str(folder)!r}: another process is working in this folder{_holder(path)}; "
            "wait for it or choose another folder"
        ) from None
    try:
        own = not isinstance(held, SoftFileLock)  # which keeps its own notes there, the process id first
        if own:
            with suppress(OSError):  # it is for a message alone
                path.write_text(f"{os.getpid()}\n", encoding="ascii")
        yield
    except OSError as error:  # whatever writes to an open file on a full disk knows no name
        if error.filename is not None or error.errno is None:
            raise
        raise OSError(error.errno, error.strerror, str(folder)) from error
    finally:
        if own:
            with suppress(OSError):  # Windows removes it when it is freed
                path.unlink()
        held.release()
        for empty in made:
            with suppress(OSError):
                empty.rmdir()


def _holder(path: Path) -> str:
    """Return the process id in a lock file, for a message; nothing where it cannot be read."""
    # Some releases of filelock empty the file when they try to take it.
    with suppress(OSError, ValueError, IndexError):
        return f" (pid {int(path.read_text(encoding='ascii').split()[0])})"
    return ""


def locked(argument: str, when: Callable[[], bool] = lambda: True) -> Callable[[Callable[P, T]], Callable[P, T]]:
    """Decorate a function so that it keeps the folder that it works in.

    Args:
        argument: of the function that names the folder; None where it works in none.
        when: whether this process is the one to keep it, of several that work together.
    """

    def decorate(function: Callable[P, T]) -> Callable[P, T]:
        signature = inspect.signature(function)

        @functools.wraps(function)
        def keeping(*args: P.args, **kwargs: P.kwargs) -> T:
            bound = signature.bind(*args, **kwargs)
            bound.apply_defaults()
            folder = bound.arguments[argument]
            with lock(folder, argument) if when() and folder is not None else nullcontext():
                return function(*args, **kwargs)

        return keeping

    return decorate


def differences(earlier: Any, now: Any, name: str = "") -> str:
    """Name the settings in which two identities differ, with both values: ``a.b: 1 there, 2 now; ...``; "" if none.

    Args:
        earlier: settings as JSON gives them back: dicts, lists, strings, numbers, None.
        now: the others.
        name: of what is compared.
    """
    pairs: list[tuple[Any, Any, Any]] = []
    if isinstance(earlier, Mapping) and isinstance(now, Mapping):
        pairs = [(key, earlier.get(key), now.get(key)) for key in sorted({*earlier, *now})]
    elif isinstance(earlier, list) and isinstance(now, list) and len(earlier) == len(now) and _nested(earlier):
        pairs = [(index, *pair) for index, pair in enumerate(zip(earlier, now))]
    if pairs:
        parts = [differences(old, new, f"{name}.{key}" if name else str(key)) for key, old, new in pairs]
        return "; ".join(part for part in parts if part)
    return "" if earlier == now else f"{name}: {earlier!r} there, {now!r} now"


def _nested(values: list[Any]) -> bool:
    return any(isinstance(value, Mapping) for value in values)


def goes_on(folder: Path, earlier: Mapping[str, Any] | None, identity: Mapping[str, Any], resume: str = "auto") -> bool:
    """Tell whether a folder holds a run to go on with, and refuse one that is about something else.

    Args:
        folder: for the message.
        earlier: identity of what lies there, with or without further facts; None for nothing.
        identity: of the run that is asked for.
        resume: "auto" goes on or begins, "yes" demands something to go on with, "no" refuses it.

    Raises:
        FileExistsError: ``resume="no"``, and there is a run.
        FileNotFoundError: ``resume="yes"``, and there is none.
        ValueError: the run there has other settings; the message names each with both values.
    """
    out = f"out={str(folder)!r}"
    if earlier is None:
        if resume == "yes":
            raise FileNotFoundError(f"{out}: there is no run to resume; begin one with resume=auto")
        return False
    if resume == "no":
        raise FileExistsError(f"{out}: holds a run already; choose another folder or resume='auto'")
    identity = _plain(identity)
    if found := differences({name: earlier.get(name) for name in identity}, identity):
        raise ValueError(f"{out}: holds a run with other settings: {found}; choose another folder")
    return True


def claim(path: Path, identity: Mapping[str, Any], noted: Mapping[str, Any] | None = None) -> None:
    """Write what a folder is about, or refuse a folder that is about something else.

    Args:
        path: JSON file in the folder; a new one also names the versions of what was used.
        identity: what must agree with an earlier claim, if there is one.
        noted: written beside, for readers; an earlier claim is given what it lacks of it.

    Raises:
        ValueError: an earlier claim differs; the message names each setting with both values.
    """
    earlier = _read(path) if path.is_file() else None
    if goes_on(path.parent, earlier, identity):
        told = {**(noted or {}), **(earlier or {})}
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        versions = {name: version(name) for name in PACKAGES}
        told = {**_plain(identity), **(noted or {}), "versions": versions, "python": platform.python_version()}
    if told != earlier:
        write_json(path, told)


@dataclass(frozen=True)
class Run:
    """One run in a folder: until it is finished, ``run.json`` says what it is about, ``checkpoints/`` how far it is.

    Attributes:
        folder: of the run; its finished files lie there too.
    """

    folder: Path

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.folder / "checkpoints"

    @property
    def last(self) -> Path:
        """Checkpoint to go on from; without it there is nothing to continue or to overwrite."""
        return self.checkpoints / "last.ckpt"

    @property
    def begun(self) -> bool:
        """Whether there is a checkpoint, the last one or the one before it."""
        return self.last.is_file() or previous_of(self.last).is_file()

    @property
    def identity(self) -> dict[str, Any] | None:
        """What an unfinished run is about; None where there is none."""
        memory = self.folder / "run.json"
        return _read(memory) if self.begun and memory.is_file() else None

    def is_finished(self, identity: Mapping[str, Any], marker: str) -> bool:
        """Tell whether the result of this very run lies here, and begin it where nothing does.

        Args:
            identity: what the run is about; ``run.json`` keeps it.
            marker: file that is written last.

        Raises:
            ValueError: the folder holds an archive, an encoder or a result of something else.
        """
        memory, out = self.folder / "run.json", f"out={str(self.folder)!r}"
        if (self.folder / "archive.json").is_file():
            raise ValueError(f"{out}: holds an archive; choose another folder")
        finished = (self.folder / marker).is_file()
        if finished and not memory.is_file():
            raise ValueError(f"{out}: holds a result of another command; choose another folder")
        if finished or self.begun:
            goes_on(self.folder, _read(memory), identity)
        else:
            self.begin(identity)
        return finished

    def begin(self, identity: Mapping[str, Any]) -> None:
        """Remember what the run is about."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self.folder / "run.json", identity)

    def clear(self) -> None:
        """Remove what a run needs to go on."""
        self.clear_checkpoints()
        (self.folder / "run.json").unlink(missing_ok=True)

    def clear_checkpoints(self) -> None:
        """Remove the checkpoints."""
        for path in self.checkpoints.glob("*.ckpt"):
            path.unlink()
        if self.checkpoints.is_dir():
            self.checkpoints.rmdir()


def _read(path: Path) -> dict[str, Any]:
    return dict(json.loads(path.read_text(encoding="utf-8")))


def _plain(identity: Mapping[str, Any]) -> dict[str, Any]:
    """Return an identity as JSON gives it back, so that tuples and lists compare."""
    return dict(json.loads(json.dumps(identity, default=str)))
