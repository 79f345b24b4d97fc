"""Every default stands in one place: constructors, settings classes and recipes agree, however something is written."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
import yaml
from torch import nn

import ssl_ecg
from ssl_ecg.backbones import create_backbone, list_backbones
from ssl_ecg.backbones.registry import BACKBONES
from ssl_ecg.comparison import CompareSettings
from ssl_ecg.labels import SplitSettings
from ssl_ecg.objectives import create_objective, list_objectives
from ssl_ecg.objectives.registry import OBJECTIVES
from ssl_ecg.registry import Registry
from ssl_ecg.settings import Choice, Settings, SettingsError, config_folder, options_of
from ssl_ecg.synthetic import synthesize
from ssl_ecg.tasks import create_task, list_tasks
from ssl_ecg.tasks.registry import TASKS
from ssl_ecg.training import FinetuneSettings, PretrainSettings
from ssl_ecg.training.finetune_module import SCHEDULES
from ssl_ecg.verbs import VERBS

REGISTRIES: dict[str, Registry] = {"objective": OBJECTIVES, "backbone": BACKBONES, "task": TASKS}
RECIPES = sorted(f"{path.parent.name}/{path.stem}" for path in config_folder().rglob("*.yaml"))
# A network small enough to build each time, of the kind that an objective is made for.
SMALL = {
    "bimodal_vit": {"width": 12, "depth": 1, "joint_depth": 1},
    "cpc": {"width": 8},
    "lead_wise": {"single": "xresnet1d10", "width": 4},
    "vit1d": {"width": 12, "depth": 1},
    "vit1d_lead": {"width": 12, "depth": 1},
    "xresnet1d18": {"width": 4},
}


def held(name: str) -> dict[str, Any]:
    return yaml.safe_load((config_folder() / f"{name}.yaml").read_text()) or {}


@pytest.mark.parametrize(
    "given",
    [
        {"objective": "cmsc"},
        {"objective": {"name": "cmsc"}},
        {"objective": {}},
        {"objective": Choice("cmsc", {})},
        {"objective": PretrainSettings().objective},
        {"objective": {"name": "cmsc", "temperature": "0.1"}, "backbone": "xresnet1d18", "epochs": "16"},
        PretrainSettings().to_dict(),
    ],
)
def test_every_spelling_of_the_defaults_trains_alike(given: dict[str, Any]) -> None:
    settings = PretrainSettings(**given)
    assert settings == PretrainSettings()
    assert settings.identity() == PretrainSettings().identity()
    assert settings.objective.options["augment"]["lead_masking"] == 0.7


def test_the_verb_trains_alike_with_and_without_settings(tmp_path: Path) -> None:
    archive = synthesize(tmp_path / "archive", records=24, seed=0, duration=5, workers=1)
    given: dict[str, Any] = {"backbone": {"width": 4}, "epochs": 1, "batch_size": 12, "validation": 0.3, "devices": 1}
    one = ssl_ecg.pretrain(archive, tmp_path / "one", progress=False, **given)
    settings = VERBS["pretrain"].settings(**given)
    other = ssl_ecg.pretrain(archive, tmp_path / "other", settings=settings, progress=False)
    assert one.origin["settings"] == other.origin["settings"] == PretrainSettings(**given).identity()
    assert one.origin["settings"]["objective"]["augment"]["lead_masking"] == 0.7
    weights = zip(one.backbone.parameters(), other.backbone.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b in weights)


@pytest.mark.parametrize("name", list_objectives())
def test_an_objective_by_name_in_settings_and_in_python_is_the_same(name: str) -> None:
    settings = PretrainSettings(objective=name)
    kind = settings.backbone.name

    def build(**options: Any) -> nn.Module:
        torch.manual_seed(0)
        backbone = create_backbone(kind, **{**SMALL[kind], "samples": 200} if "vit" in kind else SMALL[kind])
        return create_objective(name, backbone, 100.0, **options)

    plain, full = build(), build(**settings.objective.options)
    assert describe(plain) == describe(full)
    signal = torch.randn(4, 12, 200, generator=torch.Generator().manual_seed(1))
    batch = {
        "signal": signal,
        "patient": torch.arange(4),
        "row": torch.arange(4),
        "recorded": torch.full((4,), 200),
        "leads": torch.ones(4, 12, dtype=torch.bool),
    }
    losses = []
    for objective in (plain, full):
        torch.manual_seed(2)
        losses.append(objective.train()(batch)["loss"])
    assert torch.equal(*losses)


def describe(module: nn.Module) -> dict[str, Any]:
    """Return every plain attribute of a network's modules, and the shapes of its weights."""
    plain = (int, float, str, bool, tuple, dict, type(None))
    parts: dict[str, Any] = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    for name, part in module.named_modules():
        values = {**vars(part), **(vars(part.augment) if hasattr(part, "augment") else {})}
        parts |= {f"{name}:{key}": value for key, value in values.items() if type(value) in plain and key[0] != "_"}
    return parts


@pytest.mark.parametrize("name", list_backbones())
def test_a_backbone_takes_the_options_that_settings_fill_in(name: str) -> None:
    options = PretrainSettings(backbone=name).backbone.options
    small = {"width": 12} if "width" in options or name in ("attention_pooled", "lead_wise") else {}
    one = create_backbone(name, **small)
    other = create_backbone(name, **{**options, **small})
    assert describe(one) == describe(other)


@pytest.mark.parametrize("name", list_tasks())
def test_a_task_takes_the_options_that_settings_fill_in(name: str) -> None:
    options = CompareSettings(task=name).task.options
    classes = TASKS[name].columns or ("a", "b")
    assert create_task(name, classes, **options).options == create_task(name, classes).options


@pytest.mark.parametrize(("group", "name"), [(g, name) for g, known in REGISTRIES.items() for name in known.names()])
def test_every_option_has_a_type_a_default_and_documentation(group: str, name: str) -> None:
    kind = options_of(REGISTRIES[group][name])
    for option, field in kind.model_fields.items():
        assert field.annotation is not Any, option
        assert not field.is_required(), option
        assert field.description, option
    filled = kind().to_dict()
    assert kind(**filled).to_dict() == filled
    assert yaml.safe_load(yaml.safe_dump(filled)) == filled


def test_a_part_of_joint_has_the_defaults_of_its_objective() -> None:
    settings = PretrainSettings(objective="joint")
    parts = settings.objective.options["parts"]
    assert parts["cmsc"] == {"weight": 1.0, "options": PretrainSettings().objective.options}
    published = PretrainSettings(objective="bimodal_mae").objective.options
    assert parts["bimodal_mae"]["options"] == {**published, "ratio_time": 0.5, "ratio_frequency": 0.5}
    changed = {"name": "joint", "parts": {"cmsc": {"options": {"temperature": 0.2}}, "vicreg": {"weight": 0.1}}}
    parts = PretrainSettings(objective=changed).objective.options["parts"]
    assert parts["cmsc"]["options"] == {**PretrainSettings().objective.options, "temperature": 0.2}
    assert parts["vicreg"] == {"weight": 0.1, "options": PretrainSettings(objective="vicreg").objective.options}


def test_schedules_are_those_that_can_be_chosen() -> None:
    assert set(get_args(FinetuneSettings.model_fields["schedule"].annotation)) == set(SCHEDULES)


def loaded(name: str) -> list[tuple[Settings, Mapping[str, Any], Settings]]:
    """Return settings made by a recipe, what it says of them, and their defaults."""
    group, own = name.split("/")
    says = held(name)
    brought = says.pop("with", {})
    if group in REGISTRIES:
        kind = options_of(REGISTRIES[group][own])
        return [(kind(**says), says, kind()), (PretrainSettings(**{group: own}), brought, PretrainSettings())]
    kind = {"split": SplitSettings, "training": FinetuneSettings, "ablation": VERBS["ablate"].settings}[group]
    if group == "ablation":
        return [(kind(ablation=own).ablation, says, type(kind(ablation=own).ablation)())]
    return [(kind(**says), says, kind())]


@pytest.mark.parametrize("name", RECIPES)
def test_recipes_load_and_hold_nothing_that_is_a_default(name: str) -> None:
    for made, says, defaults in loaded(name):
        for field in says:
            assert getattr(made, field) != getattr(defaults, field), field


def test_recipes_are_read_by_the_settings_that_they_are_for(tmp_path: Path) -> None:
    assert {name.split("/")[0] for name in RECIPES} == {"ablation", "objective", "split", "training"}
    settings = PretrainSettings(objective="bimodal_mae")
    assert (settings.backbone.name, settings.epochs, settings.batch_size, settings.beta2) == (
        "bimodal_vit",
        24,
        16,
        0.95,
    )
    given = PretrainSettings(objective={"name": "bimodal_mae", "ratio_time": 0.5}, epochs=3, backbone={"width": 96})
    assert (given.epochs, given.batch_size, given.objective.options["ratio_time"]) == (3, 16, 0.5)
    assert (given.backbone.name, given.backbone.options["width"]) == ("bimodal_vit", 96)
    compared = CompareSettings()
    assert compared.scratch == FinetuneSettings(layer_decay=1.0, head="zero")
    assert compared.pretrained_finetune == FinetuneSettings() == CompareSettings(scratch="pretrained").scratch
    own = tmp_path / "own.yaml"
    own.write_text("steps: 7\n")
    both = CompareSettings(scratch=str(own), pretrained_finetune={"name": str(own), "learning_rate": 0.1})
    assert (both.scratch.steps, both.pretrained_finetune.steps, both.pretrained_finetune.learning_rate) == (7, 7, 0.1)
    own.write_text("name: simclr\ntemperature: 0.3\nwith: {epochs: 5}\n")
    settings = PretrainSettings(objective=str(own))
    assert (settings.objective.name, settings.objective.options["temperature"], settings.epochs) == ("simclr", 0.3, 5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name: simclr\nwith: {epoch: 5}\n", "epoch=5: there is no such setting; did you mean epochs?"),
        (
            "name: simclr\ntemprature: 1\n",
            "objective.temprature=1: there is no such setting; did you mean temperature?",
        ),
        ("- a\n", "holds no settings"),
        ("a: [\n", "is no YAML"),
    ],
)
def test_a_recipe_of_ones_own_is_checked(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "own.yaml").write_text(text)
    with pytest.raises(SettingsError) as error:
        PretrainSettings(objective=str(tmp_path / "own.yaml"))
    assert message in str(error.value)
