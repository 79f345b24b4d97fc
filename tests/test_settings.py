"""What a settings class is: checked, documented, copied, and what its errors say."""

from __future__ import annotations

import copy
import pickle
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Annotated, Any, Literal

import pytest
import yaml
from annotated_types import Gt

from ssl_ecg.comparison import AblateSettings, CompareSettings, Variant
from ssl_ecg.labels import SplitSettings
from ssl_ecg.records import QualityLimits
from ssl_ecg.registry import Registry
from ssl_ecg.settings import Choice, Group, Settings, SettingsError, chosen, options_of, recipe
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import WindowSettings
from ssl_ecg.training import FinetuneSettings, PretrainSettings

KINDS = (
    PretrainSettings,
    FinetuneSettings,
    WindowSettings,
    CompareSettings,
    AblateSettings,
    SignalSettings,
    QualityLimits,
    SplitSettings,
)


@pytest.mark.parametrize(
    ("make", "lines"),
    [
        (lambda: PretrainSettings(epocs=3), ["epocs=3: there is no such setting; did you mean epochs? choose one of "]),
        (lambda: PretrainSettings(epochs=0), ["epochs=0: must be greater than 0"]),
        (lambda: PretrainSettings(epochs=1.5), ["epochs=1.5: must be a valid integer"]),
        (lambda: PretrainSettings(batch_size=1), ["batch_size=1: must be greater than or equal to 2"]),
        (lambda: PretrainSettings(per_patient=129), ["per_patient=129: choose at most batch_size, 128"]),
        (lambda: PretrainSettings(beta2=1, validation=0.5), ["beta2=1: must be less", "validation=0.5: must be less"]),
        (lambda: PretrainSettings(keep="all"), ["keep='all': must be 'last' or 'best'"]),
        (lambda: PretrainSettings(devices=0), ["devices=0: must be greater than or equal to 1 or must be 'auto'"]),
        (
            lambda: PretrainSettings(loggers=["wandb", "a"]),
            ["loggers.1='a': must be 'jsonl', 'tensorboard', 'wandb' or 'mlflow'"],
        ),
        (lambda: PretrainSettings(objective="cmcs"), ["objective='cmcs': unknown; did you mean cmsc? choose one of "]),
        (lambda: PretrainSettings(objective=3), ["objective=3: has no name; choose one of "]),
        (
            lambda: PretrainSettings(backbone={"name": "vit1d", "depth": "x", "pach": 3}),
            [
                "backbone.depth='x': must be a valid integer",
                "backbone.pach=3: there is no such setting; did you mean patch",
            ],
        ),
        (
            lambda: PretrainSettings(objective={"name": "joint", "parts": {"cmsc": {"options": {"leads": "x"}}}}),
            ["objective.parts.cmsc.options.leads='x': must be 'joint' or 'single'"],
        ),
        (
            lambda: PretrainSettings(objective={"name": "joint", "parts": {"cmsc": {"weight": 0, "wait": 1}}}),
            ["objective.parts.cmsc.weight=0: must be greater than 0", "objective.parts.cmsc.wait=1: there is no such"],
        ),
        (
            lambda: CompareSettings(scratch="scratsh"),
            ["scratch='scratsh': there is no such recipe; did you mean scratch? choose one of distilled, image"],
        ),
        (lambda: CompareSettings(scratch="no.yaml"), ["scratch='no.yaml': there is no such recipe"]),
        (lambda: CompareSettings(scratch={"steps": 7}), ["scratch.steps=7: give both arms the same budget"]),
        (lambda: FinetuneSettings(windows={"seconds": 1}), ["windows.stride=1.25: choose at most seconds=1"]),
        (
            lambda: FinetuneSettings(windows={"second": 1, "over": "x"}),
            ["windows.over='x': must be 'scores' or 'features'", "windows.second=1: there is no such setting"],
        ),
        (
            lambda: FinetuneSettings(augment={"gaussian_noise": "much"}),
            ["augment.gaussian_noise='much': must be a valid"],
        ),
        (lambda: SplitSettings(test_folds=[9]), ["validation_folds=()"]),
        (lambda: Variant(name="a"), ["pretrain: must be given"]),
    ],
)
def test_an_error_names_what_is_wrong_where_and_what_to_do(make: Callable[[], Any], lines: list[str]) -> None:
    with pytest.raises(SettingsError) as error:
        make()
    assert len(error.value.lines) == len(lines)
    for line, start in zip(error.value.lines, lines, strict=True):
        assert line.startswith(start)


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_is_documented_and_defaults_survive_json_pickle_and_copies(kind: type[Settings]) -> None:
    for name, field in kind.model_fields.items():
        assert field.description, name
    settings = kind()
    assert kind(**settings.to_dict()) == settings
    assert kind(**yaml.safe_load(yaml.safe_dump(settings.to_dict()))) == settings
    for twin in (pickle.loads(pickle.dumps(settings)), copy.deepcopy(settings), settings.replace()):
        assert twin == settings
        assert twin is not settings
    with pytest.raises(ValueError, match="frozen"):
        setattr(settings, next(iter(kind.model_fields)), None)


def test_replace_changes_choices_and_nested_settings_and_checks_them() -> None:
    settings = PretrainSettings(objective={"name": "cmsc", "temperature": 0.2}, epochs=3)
    again = settings.replace(seed=4)
    assert (again.objective, again.epochs, again.seed, settings.seed) == (settings.objective, 3, 4, 0)
    assert settings.replace(objective=again.objective) == settings
    other = settings.replace(objective={**settings.objective.to_dict(), "reduction": "clocs"})
    assert (other.objective.options["temperature"], other.objective.options["reduction"]) == (0.2, "clocs")
    masked = settings.replace(objective="bimodal_mae")  # what was not given follows from what is chosen
    assert (masked.backbone.name, masked.batch_size, masked.epochs) == ("bimodal_vit", 16, 3)
    finetuning = FinetuneSettings(windows={"seconds": 2.5}).replace(steps=7)
    assert (finetuning.windows, finetuning.steps) == (WindowSettings(seconds=2.5), 7)
    with pytest.raises(SettingsError, match="epochs=0"):
        settings.replace(epochs=0)
    with pytest.raises(SettingsError, match="did you mean epochs"):
        settings.replace(epocs=3)


def test_a_choice_survives_pickle_and_copies_and_is_told_from_others() -> None:
    choice = PretrainSettings(objective="joint").objective
    for twin in (pickle.loads(pickle.dumps(choice)), copy.deepcopy(choice)):
        assert twin == choice
        assert hash(twin) == hash(choice)
    assert choice != PretrainSettings().objective


class Root:
    """A base class.

    Args:
        width: of the root.
        depth: of the root.
    """

    def __init__(self, width: int = 3, depth: Annotated[int, Gt(0)] = 2) -> None:
        self.width, self.depth = width, depth


class Branch(Root):
    """A class with bases.

    Args:
        backbone: given by the package.
        kind: of the branch.
        depth: of the branch,
            with another default.
        options: those of ``Root``.
    """

    def __init__(self, backbone: Any, kind: Literal["a", "b"] = "a", depth: int = 5, **options: Any) -> None:
        super().__init__(depth=depth, **options)
        self.kind = kind


class Leaf(Branch):
    """A class that hands everything on, with strengths that nobody can change.

    Args:
        strengths: of the leaf.
        options: those of ``Branch``.
    """

    def __init__(self, strengths: Mapping[str, float] = MappingProxyType({"x": 0.1}), **options: Any) -> None:
        super().__init__(None, **options)
        self.strengths = strengths


def open_factory(single: str = "leaf", **options: Any) -> Leaf:
    return Leaf(**options)


def test_options_follow_bases_and_partials() -> None:
    assert options_of(Leaf)().to_dict() == {"strengths": {"x": 0.1}, "kind": "a", "depth": 5, "width": 3}
    fields = options_of(Leaf).model_fields
    assert fields["depth"].description == "of the branch, with another default."
    assert fields["width"].description == "of the root."
    preset = partial(Leaf, width=7, strengths={}, kind="b")
    assert options_of(preset)().to_dict() == {"strengths": {}, "kind": "b", "depth": 5, "width": 7}
    assert vars(preset(**options_of(preset)(depth=1).to_dict())) == {
        "width": 7,
        "depth": 1,
        "kind": "b",
        "strengths": {},
    }
    with pytest.raises(SettingsError, match=r"widht=1: .* did you mean width"):
        options_of(preset)(widht=1)
    with pytest.raises(SettingsError, match="kind='c': must be 'a' or 'b'"):
        options_of(Leaf)(kind="c")
    assert options_of(Root)().to_dict() == {"width": 3, "depth": 2}
    with pytest.raises(SettingsError, match="depth=0: must be greater than 0"):
        options_of(Root)(depth=0)
    assert options_of(open_factory)(width=4).to_dict() == {"single": "leaf", "width": 4}


def test_what_others_register_is_chosen_and_checked_alike() -> None:
    known = Registry[Any]("tree", "ssl_ecg.no_such_group")
    known.register("leaf", Leaf)

    class Garden(Settings):
        tree: chosen("tree", known) = "leaf"  # type: ignore[valid-type]
        """what grows"""
        split: recipe("split", SplitSettings) = SplitSettings()  # type: ignore[valid-type]
        """how it is divided"""

    assert Garden().tree.options["depth"] == 5
    assert Garden(tree={"depth": 6}).tree == Choice("leaf", {**Garden().tree.options, "depth": 6})
    assert Garden(split="ptbxl").split == SplitSettings(validation_folds=(9,), test_folds=(10,))
    assert Garden(split={"name": "ptbxl", "seed": 3}).split.seed == 3
    marks = [mark for field in Garden.model_fields.values() for mark in field.metadata if isinstance(mark, Group)]
    groups = {mark.name: mark.names() for mark in marks}
    assert groups == {"tree": ["leaf"], "split": ["patients", "ptbxl"]}
    with pytest.raises(SettingsError, match="tree='lead': unknown; did you mean leaf"):
        Garden(tree="lead")
    with pytest.raises(SettingsError, match="split='ptblx': there is no such recipe; did you mean ptbxl"):
        Garden(split="ptblx")
