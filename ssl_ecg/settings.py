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
from collections.abc import Callable, Iterable, Mapping
from functools import cache, partial
from itertools import pairwise
from pathlib import Path
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
    """Settings that cannot be; a line for each, ``name=value: what is wrong; what to do``."""


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
        coerce_numbers_to_str=True,  # classes are codes of SNOMED CT as well
    )

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise SettingsError("; ".join(_explained(error, type(self), values))) from None

    def replace(self, **changes: Any) -> Self:
        """Return a copy with some fields changed, checked like new ones."""
        return type(self)(**{**{name: getattr(self, name) for name in type(self).model_fields}, **changes})

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
        brought: dict[str, Any] = {}
        for name, field in cls.model_fields.items():
            for group in (mark for mark in field.metadata if isinstance(mark, Group)):
                given = values.get(name, field.default)
                if (chosen := _name_of(given)) is not None:
                    brought |= read_recipe(group.name, chosen).get("with", {})
        return {**{name: value for name, value in brought.items() if name in cls.model_fields}, **values}


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


class Choice:
    """Something chosen by name, with all its options: ``{"name": "cmsc", "temperature": 0.1, ...}``.

    Attributes:
        name: of what is chosen.
        options: keyword arguments of its constructor, none left out.
    """

    def __init__(self, name: str, options: Mapping[str, Any]) -> None:
        self.name, self.options = name, dict(options)

    def to_dict(self) -> dict[str, Any]:
        """Return name and options in one dict."""
        return {"name": self.name, **self.options}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Choice) and self.to_dict() == other.to_dict()

    def __hash__(self) -> int:
        return hash(self.name)

    def __repr__(self) -> str:
        return f"Choice({self.to_dict()})"


def chosen(group: str, known: Registry[Any], optional: bool = False) -> Any:
    """Return the type of a field that chooses one of a registry, with its options: a name, or a dict with a name."""
    return Annotated[
        Choice | None if optional else Choice,
        BeforeValidator(lambda value: None if optional and value is None else _choose(group, known, value)),
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
        raise ValueError(f"{group}={value!r}: give a name, or a dict with one; {nearest('', known.names())}")
    name = str(filled["name"])
    options = options_of(known[name])(**{key: given for key, given in filled.items() if key != "name"})
    return Choice(name, dict(options))  # a model iterates over its fields and what it has beside


def _recipe(group: Group, value: Any) -> Any:
    """Return the settings that a recipe and what is given beside its name give."""
    name = _name_of(value)
    if name is None:
        return value
    if not name.endswith((".yaml", ".yml")) and name not in group.names():
        raise ValueError(f"{group.name}={name!r}: unknown; {nearest(name, group.names())}")
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
    """Return what ``configs/GROUP/NAME.yaml`` holds, or a file of one's own (``my/recipe.yaml``); {} without a file."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else config_folder() / group / f"{name}.yaml"
    if not path.is_file():
        return {}
    held = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    if not isinstance(held, dict):
        raise ValueError(f"{group}={name!r}: {path.name} holds no settings; write name: value lines")
    return held


@cache
def options_of(factory: Callable[..., Any]) -> type[Settings]:
    """Return the settings class of a constructor's options: signature and docstring are the one place for them.

    ``**options`` are those of the base classes; where there is none, or for a function, any option is let through.
    """
    fields: dict[str, Any] = {}
    documented: dict[str, str] = {}
    is_open = False
    for part in _constructors(factory):
        called = getattr(part, "func", part)  # of a functools.partial
        hints = get_type_hints(called.__init__ if isinstance(called, type) else called, include_extras=True)
        documented = arguments_of(inspect.getdoc(called) or "") | documented
        parameters = inspect.signature(part).parameters
        is_open = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
        for name, parameter in parameters.items():
            if name in GIVEN or name in fields or parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL):
                continue
            default = ... if parameter.default is parameter.empty else parameter.default
            fields[name] = (hints.get(name, Any), default)
        if not is_open:
            break
    made: dict[str, Any] = {
        name: (hint, Field(default, description=documented.get(name))) for name, (hint, default) in fields.items()
    }
    return create_model(
        f"{getattr(factory, '__name__', 'Options')}Options",
        __base__=_Open if is_open else Settings,
        **made,
    )


class _Open(Settings):
    model_config = ConfigDict(extra="allow")


def _constructors(factory: Callable[..., Any]) -> Iterable[Any]:
    """Yield what takes the options: a function, or a class and then its bases."""
    if not isinstance(factory, type):
        return [factory]
    return [kind for kind in factory.__mro__ if "__init__" in vars(kind) and kind.__module__.split(".")[0] != "torch"]


def arguments_of(docstring: str) -> dict[str, str]:
    """Return what the ``Args:`` section of a Google docstring says of each argument."""
    section = re.search(r"^Args:\n((?:[ \t]+.*\n?|\n)+)", docstring, re.MULTILINE)
    found = re.findall(r"^ {4}(\w+): (.*(?:\n {8}.*)*)", section[1] if section else "", re.MULTILINE)
    return {name: " ".join(text.split()) for name, text in found}


def _explained(error: ValidationError, kind: type[BaseModel], values: Mapping[str, Any]) -> list[str]:
    """Turn what pydantic found into the house's lines; what no alternative of a type allows is one line."""
    lines: dict[str, list[str]] = {}
    for found in error.errors():
        loc = [str(part) for part in found["loc"]] if found["type"] == "missing" else _place(found["loc"], values)
        name, value, context = ".".join(loc), found["input"], found.get("ctx", {})
        start = f"{name}={value!r}: "
        if found["type"] == "extra_forbidden":
            told = f"there is no such setting; {nearest(loc[-1], _fields_at(kind, loc[:-1]))}"
        elif found["type"] == "missing":
            start, told = f"{name}: ", "must be given"
        elif isinstance(reason := context.get("error"), Exception):
            start, told = "", _placed(str(reason), name, value)
        elif found["type"] in ("tuple_type", "list_type"):
            told = f"must be a list; give [{value}]"
        else:
            told = re.sub(r"^\w+ should", "must", found["msg"]).partition(" after validation")[0]
        lines.setdefault(start, []).append(told)
    return [start + (" or " if start else "; ").join(told) for start, told in lines.items()]


def _place(loc: tuple[int | str, ...], values: Any) -> list[str]:
    """Return the names that lead to a value, without what pydantic calls the alternatives of its type."""
    names = [str(loc[0])] if loc else []
    for before, part in pairwise(loc):
        values = values[before] if before in values or isinstance(before, int) else {}
        known = range(len(values)) if isinstance(values, list | tuple) else values
        if not isinstance(known, Mapping | range) or part not in known:
            break
        names.append(str(part))
    return names


def _placed(told: str, name: str, value: Any) -> str:
    """Say where settings lie that an error names without the names of what they are part of."""
    if not name or told.startswith(name):
        return told
    return f"{name}.{told}" if "=" in told.split(":")[0] else f"{name}={value!r}: {told}"


def _fields_at(kind: Any, loc: list[str]) -> list[str]:
    for part in loc:
        field = kind.model_fields.get(part) if isinstance(kind, type) and issubclass(kind, BaseModel) else None
        kind = field.annotation if field is not None else None
    return list(kind.model_fields) if isinstance(kind, type) and issubclass(kind, BaseModel) else []
