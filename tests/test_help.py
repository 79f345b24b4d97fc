"""Help comes from the settings classes, and shows every one of them."""

from __future__ import annotations

import inspect
from typing import Any

import pytest
from commands import NAMES, one_line, paths, shown

import ssl_ecg
from ssl_ecg import cli
from ssl_ecg.backbones import list_backbones
from ssl_ecg.objectives import list_objectives
from ssl_ecg.tasks import list_tasks
from ssl_ecg.verbs import VERBS


@pytest.mark.parametrize("name", NAMES)
def test_signature_and_docstring_list_every_setting(name: str) -> None:
    verb = VERBS[name]
    assert getattr(ssl_ecg, verb.__name__) is verb
    parameters = inspect.signature(verb).parameters
    assert list(parameters)[: len(paths(name))] == list(verb.paths)
    for field, described in verb.settings.model_fields.items():
        assert parameters[field].kind is inspect.Parameter.KEYWORD_ONLY
        assert f"    {field}: {described.description}" in verb.__doc__
    assert all(verb.paths.values())  # every path is documented


@pytest.mark.parametrize("name", NAMES)
def test_help_lists_every_setting_with_type_default_and_documentation(name: str, capsys: pytest.CaptureFixture) -> None:
    text = one_line(shown(capsys, name, "--help"))
    verb = VERBS[name]
    for path, documentation in verb.paths.items():
        assert f"{path.upper()} {one_line(documentation)}" in text
    for option, value, kind, documentation in cli.flattened(verb.compose([])):
        assert documentation, option
        assert kind or value == "{...}", option
        assert one_line(documentation) in text
        assert f"{option}=" in text


@pytest.mark.parametrize(
    ("group", "chosen"),
    [
        *(("objective", name) for name in list_objectives()),
        *(("backbone", name) for name in list_backbones()),
        *(("task", name) for name in list_tasks()),
    ],
)
def test_help_shows_the_options_of_what_is_chosen_beside_it(
    group: str, chosen: str, capsys: pytest.CaptureFixture
) -> None:
    text = one_line(shown(capsys, "pretrain", f"{group}={chosen}", "--help"))
    assert f"{group}={chosen} one of " in text
    settings: Any = VERBS["pretrain"].compose([f"{group}={chosen}"])
    documented = {name: line for name, _, _, line in cli.flattened(settings)}
    for option in getattr(settings, group).options:
        assert documented[f"{group}.{option}"], option
        assert f"{group}.{option}=" in text


def test_help_says_type_bounds_default_and_what_there_is(capsys: pytest.CaptureFixture) -> None:
    text = shown(capsys, "pretrain", "epochs=3", "split=ptbxl", "--help")
    for line in (
        "epochs=3 whole number above 0",
        "keep=last last or best",
        "crop=null number above 0 or null",
        "split=NAME one of patients, ptbxl",
        "split.test_folds=[10] list of whole number",
        "--print-config",
    ):
        assert line in one_line(text)
    assert all(line == line.rstrip() and len(line) <= 80 for line in text.splitlines() if "=" not in line)
    text = shown(capsys, "--help")
    for name in NAMES:
        assert f"{name}\n" in text
