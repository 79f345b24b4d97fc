"""What a verb is: settings, what runs and what is shown. Python call and command line are made from these three.

    class VerbSettings(Settings):
        records: Annotated[int, Gt(0)] = 2000
        \"\"\"how many\"\"\"

    def show(made, archive):
        console.print(f"{len(made)} records")

    @verb(VerbSettings, show)
    def synthesize(archive, settings):
        \"\"\"Write a synthetic archive. (What it is given is documented as anywhere.)\"\"\"

``ssl_ecg.synthesize("archive", records=30)`` and ``ssl-ecg synthesize archive records=30`` are then the same call.
"""

from __future__ import annotations

import ast
import importlib.util
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from inspect import Parameter, Signature
from itertools import takewhile
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, ClassVar, Union, get_args, get_origin

import yaml
from rich.console import Console

from ssl_ecg.registry import Registry
from ssl_ecg.settings import Secret, Settings, SettingsError, arguments_of

console = Console(soft_wrap=True)  # a terminal folds lines itself, a pipe wants them whole


class Verb:
    """One thing that a user can do; called with paths and settings by name.

    Args:
        run: ``run(*paths, settings, ...)``, named as the verb, or with ``_`` behind it: what comes before ``settings``
            are paths, a path with a default may be left out; what comes after is of the call and not of its result,
            such as ``progress``. Its docstring documents the paths.
        settings: class of its settings.
        show: ``show(result, *paths)`` prints what a person wants to see of a result.
        imply: ``imply(options, *paths)`` returns the options with those that the paths imply.
    """

    def __init__(
        self,
        run: Callable[..., Any],
        settings: type[Settings],
        show: Callable[..., None],
        imply: Callable[..., dict[str, Any]] | None = None,
    ) -> None:
        self.__name__ = run.__name__
        self.name = run.__name__.rstrip("_")
        self.run, self.settings, self.show, self._imply = run, settings, show, imply
        documented = inspect.getdoc(run) or ""
        self.summary = documented.partition("\n")[0]
        parameters = list(inspect.signature(run).parameters.values())
        before = list(takewhile(lambda parameter: parameter.name != "settings", parameters))
        self._paths = Signature(before)
        self.of_call = {parameter.name: parameter for parameter in parameters[len(before) + 1 :]}
        self.paths = {parameter.name: arguments_of(documented).get(parameter.name, "") for parameter in before}
        self.required = [parameter.name for parameter in before if parameter.default is Parameter.empty]
        fields = [
            Parameter(name, Parameter.KEYWORD_ONLY, default=field.default, annotation=field.annotation)
            for name, field in settings.model_fields.items()
        ]
        whole = Parameter("settings", Parameter.KEYWORD_ONLY, default=None, annotation=settings)
        of_call = [parameter.replace(kind=Parameter.KEYWORD_ONLY) for parameter in self.of_call.values()]
        self.__signature__ = Signature([*before, *fields, whole, *of_call])
        lines = [f"    {name}: {field.description}" for name, field in settings.model_fields.items()]
        self.__doc__ = "\n".join([documented, "", "Settings:", *lines, ""])

    def __call__(self, *paths: Any, settings: Settings | None = None, **options: Any) -> Any:
        """Run the verb.

        Args:
            paths: see ``.paths``; they can also be given by name.
            settings: all settings at once.
            options: single settings by name, and arguments of the call.

        Raises:
            SettingsError: a setting that is unknown or cannot be.
            TypeError: a path that is missing, or single settings beside all of them.
        """
        named = {name: options.pop(name) for name in self.paths if name in options}
        bound = self._paths.bind(*paths, **named)
        bound.apply_defaults()
        of_call = {name: options.pop(name) for name in self.of_call if name in options}
        if settings is None:
            settings = self.resolve(options, bound.args)
        elif options:
            raise TypeError(f"settings and {', '.join(options)}: give all settings at once, or single ones by name")
        return self.run(*bound.args, settings=settings, **of_call)

    def __repr__(self) -> str:
        return f"<verb {self.name}{self.__signature__}>"

    def resolve(self, options: Mapping[str, Any], paths: Sequence[Any] = ()) -> Settings:
        """Return the settings that options give for these paths."""
        given = dict(options) if self._imply is None else self._imply(dict(options), *paths)
        return self.settings(**given)

    def compose(self, words: Sequence[str], paths: Sequence[Any] = (), given: Mapping[str, Any] | None = None) -> Any:
        """Return the settings that the words of a command line give.

        Names without a dot come first, in whatever order: they choose. Names with a dot then change single values of
        what was chosen, the others stay.

        Args:
            words: ``name=value``. Of the same name the last one counts. A value that begins with ``[`` or ``{`` is a
                list or mapping in YAML, unless the setting is text; ``null`` is None, all else is as it stands.
            paths: of the verb, which may imply settings.
            given: settings that the words change.

        Raises:
            SettingsError: a setting that is unknown, cannot be or must not stand on a command line, or a word without
                ``=``.
        """
        chosen: dict[str, Any] = {}
        single: list[tuple[list[str], Any]] = []
        for word in words:
            name, equals, text = word.partition("=")
            if not (name and equals):
                raise SettingsError(f"{word!r}: is no setting; give name=value")
            field = self.settings.model_fields.get(name)
            for mark in field.metadata if field is not None else ():
                if isinstance(mark, Secret):
                    raise SettingsError(f"{name}: {mark.reason}")
            if "." in name:
                single.append((name.split("."), _read(name, text)))
            else:
                chosen[name] = _read(name, text, None if field is None else field.annotation)
        settings = self.resolve({**(given or {}), **chosen}, paths)
        if not single:
            return settings
        values = settings.to_dict()
        for path, value in single:
            _put(values, path, value)
        return self.settings(**values)


VERBS: Registry[Verb] = Registry("verb", "ssl_ecg.verbs")


def verb(
    settings: type[Settings], show: Callable[..., None], imply: Callable[..., dict[str, Any]] | None = None
) -> Callable[[Callable[..., Any]], Verb]:
    """Make a verb of a function, see ``Verb``, and make it available by its name."""

    def make(run: Callable[..., Any]) -> Verb:
        made = Verb(run, settings, show, imply)
        VERBS.register(made.name, made)
        return made

    return make


def summary_of(name: str) -> str:
    """Return the first line of a verb's documentation; of the package's own without importing what they need."""
    for module in (f"ssl_ecg.verbs.{name}", f"ssl_ecg.verbs.{name}_"):
        found = importlib.util.find_spec(module)
        if found is None or found.origin is None:
            continue
        for node in ast.parse(Path(found.origin).read_text(encoding="utf-8")).body:
            if isinstance(node, ast.FunctionDef) and node.name.rstrip("_") == name:
                return (ast.get_docstring(node) or "").partition("\n")[0]
    return VERBS[name].summary


def _read(name: str, text: str, kind: Any = None) -> Any:
    """Return what a text on the command line means; where only text can be meant, it is as it stands."""
    if text == "null":
        return None
    if not text.startswith(("[", "{")) or _is_text(kind):
        return text
    try:
        return yaml.load(text, _AsTyped)
    except (yaml.YAMLError, RecursionError):
        raise SettingsError(f"{name}={text!r}: is no list or mapping; close its brackets, quote what is odd") from None


class _AsTyped(yaml.SafeLoader):
    """Reads lists and mappings; what is in them stays as typed, but for true, false, null and plain numbers.

    YAML 1.1 makes a truth value of ``NO``, a number of ``007`` and a date of ``2021-03-31``.
    """

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]


def _as_typed(loader: _AsTyped, node: yaml.ScalarNode) -> Any:
    text = node.value
    if node.style is not None or text not in ("null", "true", "false"):
        value = text if node.style is not None else _plain(text)
        return value if str(value) == text else text
    return None if text == "null" else text == "true"


_AsTyped.add_constructor("tag:yaml.org,2002:str", _as_typed)


def _is_text(kind: Any) -> bool:
    """Tell whether values of a type are text or paths, and never lists or mappings."""
    kinds = set(_alternatives(kind))
    return bool(kinds & {str, Path}) and not any(_is_container(each) for each in kinds)


def _alternatives(kind: Any) -> Iterator[Any]:
    if get_origin(kind) is Annotated:
        yield from _alternatives(get_args(kind)[0])
    elif get_origin(kind) in (Union, UnionType):
        for each in get_args(kind):
            yield from _alternatives(each)
    else:
        yield kind


def _is_container(kind: Any) -> bool:
    kind = get_origin(kind) or kind
    return (
        isinstance(kind, type)
        and issubclass(kind, list | tuple | dict | Sequence | Mapping)
        and kind
        not in (
            str,
            bytes,
        )
    )


def _put(values: dict[str, Any], name: Sequence[str], value: Any) -> None:
    """Change one value inside nested ones."""
    *path, last = name
    for part in path:
        if not isinstance(values.get(part), dict):
            values[part] = {}
        values = values[part]
    if isinstance(value, str) and not isinstance(values.get(last, 0), str | None):
        value = _plain(value)
    values[last] = value


def _plain(text: str) -> Any:
    """Return the number or truth value that a text means: options of unknown type keep what they are given."""
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text
