"""What a settings class is: every field documented, typed, bounded and with its default, in one place.

    class PretrainSettings(Settings):
        epochs: Annotated[int, Gt(0)] = 16
        \"\"\"at most; early stopping may end before\"\"\"
        objective: chosen("objective", OBJECTIVES) = "cmsc"
        \"\"\"what is learned\"\"\"
        split: recipe("split", SplitSettings) = SplitSettings()
        \"\"\"which patients train, choose and test\"\"\"

Python call, command line, help and validation come from such a class alone. A recipe, ``configs/GROUP/NAME.yaml``,
holds what differs from the defaults; it is read here, so that every way to call a verb trains alike.
"""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Annotated, Any, Self, TypeVar, get_type_hints

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    ValidationError,
    create_model,
    model_validator,
)

from ssl_ecg.registry import Registry, nearest

S = TypeVar("S", bound="Settings")

# What constructors are given by the package and not by its user.
GIVEN = {"self", "in_leads", "backbone", "sampling_rate", "classes"}


class SettingsError(ValueError):
    """Settings that cannot be.

    Args:
        lines: one for each, ``name=value: what is wrong; what to do``.
    """

    def __init__(self, *lines: str) -> None:
        super().__init__("; ".join(lines))
        self.lines = lines


class Settings(BaseModel):
    """Settings of one thing: immutable, checked when made, unknown names refused.

    Raises:
        SettingsError: a name that is not known, a value of another type or out of bounds.
    """

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        use_attribute_docstrings=True,
        validate_default=True,
        arbitrary_types_allowed=True,
        defer_build=True,  # most classes are imported and never made
        coerce_numbers_to_str=True,  # classes are codes of SNOMED CT as well
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError(*_explained(error, type(self), values)) from None

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, checked like new ones; what was not given can follow from them."""
        return type(self)(**{**{name: getattr(self, name) for name in self.model_fields_set}, **changes})

    def part(self, kind: type[S]) -> S:
        """Return those settings that are fields of a class that this one adds to."""
        return kind(**{name: getattr(self, name) for name in kind.model_fields})

    def to_dict(self) -> dict[str, Any]:
        """Return plain lists, numbers, strings and dicts, ready for JSON and YAML; what they make is equal."""
        return self.model_dump(mode="json")

    @model_validator(mode="before")
    @classmethod
    def _take_recipes(cls, values: Any) -> Any:
        """Put what the recipes of the chosen groups bring for this class under what is given."""
        if not isinstance(values, Mapping):
            return values
        given, brought = dict(values), dict[str, Any]()
        for name, field in cls.model_fields.items():
            for group in (mark for mark in field.metadata if isinstance(mark, Group)):
                value = given.get(name, field.default)
                default = _name_of(brought.get(name, field.default))
                if isinstance(value, Mapping) and "name" not in value and default is not None:
                    value = given[name] = {"name": default, **value}  # options of what is chosen by default
                if (chosen := _name_of(value)) is not None:
                    brought |= read_recipe(group.name, chosen).get("with", {})
        return {**brought, **given}


class Group:
    """Marks a field that a recipe of ``configs/NAME/`` can fill.

    Attributes:
        name: of the group.
        known: what is chosen from by name, or None where the recipes are all there is to choose.
    """

    def __init__(self, name: str, known: Registry[Any] | None = None) -> None:
        self.name, self.known = name, known

    def names(self) -> list[str]:
        """Return what can be chosen."""
        if self.known is not None:
            return self.known.names()
        return sorted(path.stem for path in (config_folder() / self.name).glob("*.yaml"))


class Secret:
    """Marks a field that must not stand on a command line.

    Attributes:
        reason: why not, and what to do.
    """

    def __init__(self, reason: str) -> None:
        self.reason = reason


class Choice:
    """Something chosen by name, with all its options: ``{"name": "cmsc", "temperature": 0.1, ...}``.

    Attributes:
        name: of what is chosen; of a thing of one's own, its class.
        options: keyword arguments of its constructor, none left out.
        thing: of one's own, made already, in place of a name.
        facts: what tells such a thing from others.
    """

    def __init__(
        self, name: str, options: Mapping[str, Any], thing: Any = None, facts: Mapping[str, Any] | None = None
    ) -> None:
        self.name, self.options = name, dict(options)
        self.thing, self.facts = thing, dict(facts or {})

    @property
    def given(self) -> Any:
        """What was chosen: the thing of one's own, else the name."""
        return self.name if self.thing is None else self.thing

    def to_dict(self) -> dict[str, Any]:
        """Return name and options in one dict; of a thing of one's own what is known of it."""
        return {"name": self.name, **self.options, **self.facts}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Choice({self.to_dict()})"


def chosen(
    group: str,
    known: Registry[Any],
    optional: bool = False,
    describe: Callable[[Any], dict[str, Any] | None] = lambda thing: None,
) -> Any:
    """Return the type of a field that chooses one of a registry, with its options: a name, or a dict with a name.

    Args:
        group: of recipes.
        known: what can be chosen.
        optional: whether nothing may be chosen.
        describe: of a thing of one's own, which then stands in place of a name, ``name`` and what tells it from others;
            None of anything else.
    """

    def choose(value: Any) -> Choice | None:
        if optional and value is None:
            return None
        if isinstance(value, Choice) and value.thing is not None:
            return value
        if (facts := describe(value)) is not None:
            return Choice(facts.pop("name"), {}, value, facts)
        return _choose(group, known, value)

    return Annotated[
        Choice | None if optional else Choice,
        BeforeValidator(choose),
        PlainSerializer(lambda choice: None if choice is None else choice.to_dict()),
        Group(group, known),
    ]


def recipe(group: str, kind: type[Settings]) -> Any:
    """Return the type of a field of settings of its own, which can be given as the name of a recipe."""
    return Annotated[kind, BeforeValidator(partial(_recipe, Group(group))), Group(group)]


def _choose(group: str, known: Registry[Any], value: Any) -> Choice:
    if isinstance(value, Choice):
        value = value.to_dict()
    filled = _fill(group, value)
    if not isinstance(filled, Mapping) or not isinstance(filled.get("name"), str):
        raise ValueError(f"has no name; {nearest('', known.names())}")
    options = {key: given for key, given in filled.items() if key != "name"}
    if (name := filled["name"]) not in known:
        raise ValueError(f"unknown; {nearest(name, known.names())}")
    return Choice(name, options_of(known[name])(**options).to_dict())


def _recipe(group: Group, value: Any) -> Any:
    """Return the settings that a recipe and what is given beside its name give."""
    name = _name_of(value)
    if name is None:
        return value
    if not _path(group.name, name).is_file():
        raise ValueError(f"there is no such recipe; {nearest(name, group.names())}, or give the path of a YAML file")
    return {key: entry for key, entry in _fill(group.name, value).items() if key != "name"}


def _fill(group: str, value: Any) -> Any:
    """Replace the name of a recipe by what it holds, changed by what is given beside the name."""
    name = _name_of(value)
    if name is None:
        return value
    held = {key: entry for key, entry in read_recipe(group, name).items() if key != "with"}
    given = dict(value) if isinstance(value, Mapping) else {"name": name}
    return {**given, **held, **{key: entry for key, entry in given.items() if key != "name"}}


def _name_of(value: Any) -> str | None:
    if isinstance(value, Choice):
        return value.name
    if isinstance(value, Mapping):
        value = value.get("name")
    return value if isinstance(value, str) else None


def config_folder() -> Path:
    """Return the folder of the recipes: inside an installed package, beside it in a source checkout."""
    package = Path(__file__).resolve().parent
    for folder in (package / "configs", package.parent / "configs"):
        if folder.is_dir():
            return folder
    raise FileNotFoundError(f"configs: found neither in {package} nor in {package.parent}; reinstall ssl_ecg")


def read_recipe(group: str, name: str) -> dict[str, Any]:
    """Return what ``configs/GROUP/NAME.yaml``, or a file of one's own, ``my/recipe.yaml``, holds; {} where it is none.

    Raises:
        ValueError: a file that holds no settings.
    """
    path = _path(group, name)
    if not path.is_file():
        return {}
    try:
        held = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except yaml.YAMLError as error:
        raise ValueError(f"{group}={name!r}: is no YAML ({error}); mend it") from None
    if not isinstance(held, dict):
        raise ValueError(f"{group}={name!r}: holds no settings; write name: value lines")
    return held


def _path(group: str, name: str) -> Path:
    return Path(name) if name.endswith((".yaml", ".yml")) else config_folder() / group / f"{name}.yaml"


@cache
def options_of(factory: Callable[..., Any]) -> type[Settings]:
    """Return the settings class of a constructor's options: signature and docstring are the one place for them.

    ``**options`` of a class are those of its bases; of a function, whatever is given. What a ``functools.partial`` sets
    is the default.
    """
    called, preset = (factory.func, factory.keywords) if isinstance(factory, partial) else (factory, {})
    fields: dict[str, Any] = {}
    for part in _constructors(called):
        hints, documented = _hints(part), arguments_of(inspect.getdoc(part) or "")
        parameters = inspect.signature(part).parameters.values()
        for parameter in parameters:
            name, default = parameter.name, preset.get(parameter.name, parameter.default)
            if name in GIVEN or name in fields or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            if isinstance(default, MappingProxyType):
                default = dict(default)  # pydantic copies defaults, which these do not allow
            default = ... if default is parameter.empty else default
            fields[name] = hints.get(name, Any), Field(default, description=documented.get(name))
        is_open = any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters)
        if not is_open:
            break
    return create_model(f"{called.__name__}Options", __base__=_Open if is_open else Settings, **fields)


class _Open(Settings):
    model_config = ConfigDict(extra="allow")


def _constructors(called: Callable[..., Any]) -> list[Callable[..., Any]]:
    """Return what takes the options: a function, or a class and then its bases."""
    if not isinstance(called, type):
        return [called]
    return [kind for kind in called.__mro__ if "__init__" in vars(kind) and kind.__module__.split(".")[0] != "torch"]


def _hints(called: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(vars(called)["__init__"] if isinstance(called, type) else called, include_extras=True)
    except NameError:  # types that are imported for type checkers alone
        return {}


def arguments_of(docstring: str) -> dict[str, str]:
    """Return what the ``Args:`` section of a Google docstring says of each argument."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", docstring, re.MULTILINE)
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _explained(error: ValidationError, kind: type[BaseModel], values: Mapping[str, Any]) -> list[str]:
    """Turn what pydantic found into the house's lines; what no alternative of a type allows is one line."""
    lines: dict[str, list[str]] = {}
    for found in error.errors():
        name, value = ".".join(_place(found["loc"], values)), found["input"]
        start = f"{name}={value!r}: "
        if isinstance(reason := found.get("ctx", {}).get("error"), Exception):
            for line in getattr(reason, "lines", [str(reason)]):
                lines[_placed(line, name, value)] = [""]
            continue
        if found["type"] == "extra_forbidden":
            told = f"there is no such setting; {nearest(name, list(kind.model_fields))}"
        elif found["type"] == "missing":
            start, told = f"{name}: ", "must be given"
        elif found["type"] in ("tuple_type", "list_type"):
            told = f"must be a list; give [{value}]"
        else:
            told = re.sub(r"^\w+ should", "must", found["msg"]).partition(" after validation")[0]
        lines.setdefault(start, []).append(told)
    return [start + " or ".join(told) for start, told in lines.items()]


def _place(loc: tuple[int | str, ...], values: Any) -> list[str]:
    """Return the names that lead to a value, without what pydantic calls the alternatives of its type."""
    names = [str(loc[0])] if loc else []
    for before, part in pairwise(loc):
        values = values[before] if isinstance(before, int) or before in values else {}
        known = range(len(values)) if isinstance(values, list | tuple) else values
        if not isinstance(known, Mapping | range) or part not in known:
            break
        names.append(str(part))
    return names


def _placed(told: str, name: str, value: Any) -> str:
    """Say where settings lie that a line names without the names of what they are part of, or not at all."""
    if not name or told.startswith((f"{name}=", f"{name}.")):
        return told
    return f"{name}.{told}" if "=" in told.split(":")[0] else f"{name}={value!r}: {told}"
