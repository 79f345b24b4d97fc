"""The verbs on the command line: ``ssl-ecg VERB PATHS... [name=value ...]``.

Everything here comes from the verbs: their paths, their settings, and the documentation of both.
"""

from __future__ import annotations

import argparse
import errno
import io
import logging
import os
import re
import shlex
import signal
import sys
import textwrap
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, NoReturn, Union, get_args, get_origin

import yaml
from rich.console import Console
from rich.text import Text

from ssl_ecg import __version__, _stand_ins
from ssl_ecg.settings import Choice, Group, Settings, options_of
from ssl_ecg.verbs.verb import VERBS, Verb, console, summary_of

_SETTING = re.compile(r"[A-Za-z_][\w.-]*=")
_USAGE = "ssl-ecg VERB PATHS... [name=value ...]"
_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "whole number",
    float: "number",
    str: "text",
    bytes: "bytes",
    NoneType: "null",
}
_BOUNDS = {"gt": "above", "ge": "at least", "lt": "below", "le": "at most"}
_FULL = "; make room there, or choose another folder, and run the same command again"
_CLOSED = "; change its permissions, or choose another folder"
_CURES: dict[int | None, str] = {
    **dict.fromkeys((errno.ENOSPC, errno.EDQUOT, errno.EFBIG), _FULL),
    **dict.fromkeys((errno.EACCES, errno.EPERM, errno.EROFS), _CLOSED),
}
_FLAGS = {
    "--help": "this, for the verb and whatever name=value beside it chooses",
    "--print-config": "print all settings as YAML and do nothing",
    "--config FILE": "YAML to start from, such as --print-config prints; name=value beats it",
}

logger = logging.getLogger(__name__)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        raise ValueError(message)

    def refuse_unknown(self, arguments: Sequence[str]) -> None:
        """Refuse flags that are none, with the flag or the spelling that was meant."""
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        for argument in arguments:
            name, equals, value = argument.partition("=")
            if not name.startswith("-") or name in self._option_string_actions:
                continue
            plain = name.strip("-").replace("-", "_")
            if near := get_close_matches(name, flags, n=1):
                meant = f"did you mean {near[0]}?"
            else:
                meant = f"settings have no dashes: {plain or 'name'}={value if equals else 'VALUE'}"
            raise ValueError(f"{argument}: there is no such flag; {meant}")


class _Stopped(SystemExit):
    """A signal asks the process to end."""


@contextmanager
def _stopped_by_signals() -> Iterator[None]:
    """Raise ``_Stopped`` where the block gets Ctrl-C or the signal with which schedulers end a job."""

    def stop(number: int, frame: object) -> NoReturn:
        raise _Stopped(128 + number)

    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield
        return
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a verb; errors that a user can mend are one line and exit code 2."""
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    if arguments is None and (sys.argv[1:2] == ["list"] or not {"-h", "--help"}.isdisjoint(sys.argv)):
        _stand_ins.put_in_place()  # into a process of our own, that only tells
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names of files need not be text
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    parser = _Parser(prog="ssl-ecg", usage=_USAGE, add_help=False, allow_abbrev=False)
    parser.add_argument("words", nargs="*")
    parser.add_argument("-h", "--help", action="store_true")
    parser.add_argument("--print-config", action="store_true")
    parser.add_argument("--config", type=Path)
    parser.add_argument("--version", action="store_true")
    parser.add_argument("--completion", action="store_true")
    name = "ssl-ecg"
    try:
        parser.refuse_unknown(arguments)
        options = parser.parse_intermixed_args(arguments)
        if options.version or options.completion:
            sys.stdout.write(f"ssl_ecg {__version__}\n" if options.version else _completion())
            return 0
        if not options.words:
            if not options.help:
                raise ValueError(f"verb: must be given; choose one of {', '.join(VERBS.names())}")
            _print_verbs()
            return 0
        verb = _verb(options.words[0])
        name = f"ssl-ecg {verb.name}"
        with _stopped_by_signals():
            _run(verb, options, shlex.join(["ssl-ecg", *map(_without_place, arguments)]))
    except Exception as error:
        if _stand_ins.in_place():
            _stand_ins.begin_anew()
        if not isinstance(error, ValueError | OSError):
            raise
        logger.debug("failed", exc_info=True)
        meant = _meant(options.words, str(error)) if isinstance(error, FileNotFoundError) else ""
        cure = _CURES.get(error.errno, "") if isinstance(error, OSError) else ""
        if cure and isinstance(error, OSError) and error.filename is None:
            paths = [repr(word) for word in options.words[1:] if not _SETTING.match(word)]
            cure = f": in the folder of temporary files, or in one of {', '.join(paths)}{cure}"
        _complain(f"{name}: {' '.join(str(error).split())}{meant}{cure}")
        return 2
    except _Stopped as stopped:
        _complain(f"{name}: stopped; the same command goes on from what is written")
        return int(stopped.code or 0)
    return 0


def _verb(word: str) -> Verb:
    """Return the verb of this name; where a setting stands in its place, say where settings go."""
    if _SETTING.match(word):
        raise ValueError(f"{word!r}: is a setting, and the verb comes first; {_USAGE}")
    try:
        return VERBS[word]
    except ValueError as error:
        if word in VERBS:
            raise
        raise ValueError(f"{error}; ssl-ecg --help says what each does") from None


def _meant(words: Sequence[str], error: str) -> str:
    """Return what to say of a path that an error names where there is another of nearly the same name."""
    if "usable temporary directory" in error:
        return "; make room in one of them, or set TMPDIR"
    for word in words[1:]:
        path = Path(word)
        with suppress(OSError, ValueError):
            if _SETTING.match(word) or word not in error or path.exists() or not path.parent.is_dir():
                continue
            if near := get_close_matches(path.name, [each.name for each in path.parent.iterdir()], n=1):
                return f"; {word!r} is not there: did you mean {str(path.with_name(near[0]))!r}?"
    return ""


def _completion() -> str:
    """Return a line for bash, or zsh after ``bashcompinit``, that completes verbs, flags and paths."""
    words = " ".join([*VERBS.names(), *(flag.partition(" ")[0] for flag in [*_FLAGS, "--version"])])
    return f"complete -o default -W '{words}' ssl-ecg\n"


def _without_place(word: str) -> str:
    """Shorten an absolute path, alone or as a value, to its name: results that are shared tell of no machine."""
    if Path(word).is_absolute():
        return Path(word).name
    name, equals, value = word.partition("=")
    return f"{name}{equals}{Path(value).name}" if Path(value).is_absolute() else word


def _complain(line: str) -> None:
    Console(stderr=True, soft_wrap=True).print(line, style="red", markup=False, highlight=False)


def _run(verb: Verb, options: argparse.Namespace, command: str) -> None:
    """Do what the words after a verb say."""
    words = options.words[1:]
    paths = [word for word in words if not _is_setting(verb, word)]
    if len(paths) > len(verb.paths):
        raise ValueError(f"{paths[len(verb.paths)]!r}: is no setting and one path too many; {_usage(verb)}")
    given = None if options.config is None else _read(options.config)
    settings = verb.compose([word for word in words if _is_setting(verb, word)], paths, given)
    if options.help:
        _print_help(verb, settings)
    elif options.print_config:
        sys.stdout.write(yaml.safe_dump(settings.to_dict(), sort_keys=False, allow_unicode=True))
    elif missing := verb.required[len(paths) :]:
        raise ValueError(f"{missing[0]}: must be given; {_usage(verb)}")
    else:
        of_call = {"command": command} if "command" in verb.of_call else {}
        verb.show(verb(*paths, settings=settings, **of_call), *paths)


def _is_setting(verb: Verb, word: str) -> bool:
    """Tell a setting from a path: a file or folder may be called ``year=2021``."""
    if not _SETTING.match(word):
        return False
    return re.split("[.=]", word)[0] in verb.settings.model_fields or not os.path.lexists(word)


def _read(path: Path) -> dict[str, Any]:
    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise ValueError(f"--config={str(path)!r}: is no YAML ({error}); mend it") from None
    if not isinstance(held, dict):
        raise ValueError(f"--config={str(path)!r}: holds no settings; write name: value lines")
    return held


def _usage(verb: Verb) -> str:
    paths = [name.upper() if name in verb.required else f"[{name.upper()}]" for name in verb.paths]
    return " ".join(["ssl-ecg", verb.name, *paths, "[name=value ...]"])


def _print_verbs() -> None:
    _print_wrapped(_USAGE)
    for name in VERBS.names():
        try:
            summary = summary_of(name)
        except ValueError as error:  # of somebody else's package; the other verbs are there
            summary = str(error)
        _print_entry(name, "", summary)
    _print_entry("ssl-ecg VERB --help", "", "every setting of a verb, with its documentation")
    _print_entry("ssl-ecg --version", "", "the version of this package")
    _print_entry('eval "$(ssl-ecg --completion)"', "", "completes verbs, flags and paths in bash")


def _print_help(verb: Verb, settings: Settings) -> None:
    _print_wrapped(_usage(verb))
    _print_wrapped(verb.summary)
    for name, documentation in verb.paths.items():
        _print_entry(name.upper(), "", documentation)
    for name, value, kind, documentation in flattened(settings):
        shown = value if isinstance(value, str) else _as_yaml(value)
        shown = shown if len(shown) <= 60 else f"{shown[:57]}..."
        _print_entry(f"{name}={shown}", kind, documentation)
    for flag, documentation in _FLAGS.items():
        _print_entry(flag, "", documentation)


def _print_entry(name: str, kind: str, documentation: str) -> None:
    console.print(Text(f"  {name}", "bold"), soft_wrap=True, highlight=False)
    for line in filter(None, (kind, documentation)):
        _print_wrapped(line, " " * 6)


def _print_wrapped(text: str, indent: str = "") -> None:
    lines = textwrap.fill(text, console.width, initial_indent=indent, subsequent_indent=indent, break_on_hyphens=False)
    console.print(lines, markup=False, highlight=False, soft_wrap=True)


def _as_yaml(value: Any) -> str:
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10**6).removesuffix("...\n").strip()


def flattened(settings: Settings, prefix: str = "") -> Iterator[tuple[str, Any, str, str]]:
    """Yield name, value, type in words and documentation of every setting, those of chosen things after their name."""
    plain = settings.to_dict()
    for name, field in type(settings).model_fields.items():
        value, shown, kind = getattr(settings, name), plain[name], described(field.annotation, field.metadata)
        group = next((mark for mark in field.metadata if isinstance(mark, Group)), None)
        inside: Settings | None = value if isinstance(value, Settings) else None
        if group is not None:
            kind = f"one of {', '.join(group.names())}"
        if isinstance(value, Choice) and group is not None and group.known is not None:
            shown, inside = value.name, options_of(group.known[value.name])(**value.options)
        elif inside is not None:
            shown = "NAME" if group is not None else "{...}"
        yield prefix + name, shown, kind, field.description or ""
        if inside is not None:
            yield from flattened(inside, f"{prefix}{name}.")


def described(annotation: Any, bounds: Sequence[Any] = ()) -> str:
    """Say in words what a type allows."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return described(inner[0], inner[1:])
    limits = [
        f"{word} {getattr(mark, name):g}" for mark in bounds for name, word in _BOUNDS.items() if _has(mark, name)
    ]
    if origin is Literal:
        said = " or ".join(map(str, inner))
    elif origin in (Union, UnionType):
        said = " or ".join(dict.fromkeys(filter(None, map(described, inner))))
    elif isinstance(origin, type) and issubclass(origin, Mapping):
        said = "{name: value}"
    elif isinstance(origin, type) and issubclass(origin, Sequence):
        each = [described(part) for part in inner if part is not Ellipsis]
        said = f"list of {each[0]}" if Ellipsis in inner or origin is not tuple else f"[{', '.join(each)}]"
    else:
        said = _WORDS.get(annotation, "path" if annotation is Path else "")
    return " ".join([said, " and ".join(limits)]).strip()


def _has(mark: Any, name: str) -> bool:
    return isinstance(getattr(mark, name, None), int | float)
