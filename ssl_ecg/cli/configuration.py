"""From the files of ``configs/`` and the overrides of a command line to settings."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar, get_type_hints

from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from ssl_ecg import verbs as api

T = TypeVar("T")

# Of which files a network is made, and trained, where no encoder is given.
NEW_NETWORK = {
    "probe": {"backbone": "xresnet1d18"},
    "finetune": {"backbone": "xresnet1d18", "training": "scratch"},
}


def load_config(verb: str, overrides: Sequence[str] = ()) -> DictConfig:
    """Compose the configuration of a verb.

    Raises:
        HydraException: an override that names nothing; the message names it.
    """
    with initialize_config_dir(str(api.config_folder()), version_base="1.3"):
        return compose(verb, list(overrides))


def without_encoder(verb: str, overrides: Sequence[str]) -> list[str]:
    """Add to the overrides of a verb the files of a new network that they do not choose themselves."""
    chosen = {override.partition("=")[0] for override in overrides}
    return [*overrides, *(f"{group}={name}" for group, name in NEW_NETWORK[verb].items() if group not in chosen)]


def typed(schema: type[T], node: Any) -> T:
    """Turn a configuration node into a settings dataclass; a misspelt or mistyped option is an error that names it."""
    structure = OmegaConf.structured(schema)
    _unfreeze(structure)
    return _build(schema, OmegaConf.to_container(OmegaConf.merge(structure, node), resolve=True))


def _unfreeze(node: DictConfig) -> None:
    """Let values be merged into the structure of a frozen dataclass."""
    OmegaConf.set_readonly(node, False)
    for child in node.values():
        if isinstance(child, DictConfig):
            _unfreeze(child)


def _build(schema: Any, values: Any) -> Any:
    hints = get_type_hints(schema)
    made = {}
    for field in fields(schema):
        value = values[field.name]
        if is_dataclass(hints[field.name]):
            value = _build(hints[field.name], value)
        made[field.name] = tuple(value) if isinstance(value, list) else value
    return schema(**made)


def named(node: Any) -> tuple[str, dict[str, Any]]:
    """Split a group's node into its name and the options beside it."""
    options = OmegaConf.to_container(node, resolve=True)
    assert isinstance(options, dict)
    return options.pop("name"), {str(key): value for key, value in options.items()}


def task_of(config: DictConfig) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Split the node of a task into its name, its options, and the classes to take, if it lets one choose.

    Options that are all the task's defaults are left out, as in Python: folders of runs remember the options given, and
    a task that gains one must still continue them.
    """
    from ssl_ecg.settings import options_of
    from ssl_ecg.tasks.registry import TASKS

    task, options = named(config.task)
    classes = {"classes": options.pop("classes")} if "classes" in options else {}
    defaults = dict(options_of(TASKS[task])()) if task in TASKS else {}
    if all(name in defaults and defaults[name] == value for name, value in options.items()):
        options = {}
    return task, options, classes


def rest(config: DictConfig, *taken: str) -> dict[str, Any]:
    """Return the entries of a node but those taken."""
    return {key: config[key] for key in config if key not in taken}  # type: ignore[misc]
