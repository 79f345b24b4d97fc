from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import pytest
from hydra.errors import HydraException
from omegaconf import OmegaConf

from ssl_ecg import cli
from ssl_ecg import verbs as api
from ssl_ecg.backbones import create_backbone, list_backbones
from ssl_ecg.cli import configuration, verbs
from ssl_ecg.comparison import AblateSettings, CompareSettings
from ssl_ecg.comparison.variants import check_variants
from ssl_ecg.objectives import create_objective, list_objectives
from ssl_ecg.records import QualityLimits
from ssl_ecg.settings import SettingsError
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import create_task, list_tasks
from ssl_ecg.tasks.registry import TASKS
from ssl_ecg.training import FinetuneSettings, PretrainSettings
from ssl_ecg.verbs.shared import settings_from

FOLDER = api.config_folder()
VERBS = sorted(cli.PATHS)
GROUPS = {path.relative_to(FOLDER).as_posix() for path in FOLDER.glob("*/*.yaml")}

# Masked objectives are built around networks of their own kind.
BACKBONE_OF = {
    **dict.fromkeys(["bimodal_mae", "joint"], "bimodal_vit"),
    **dict.fromkeys(["mae", "jepa", "wav2vec2"], "vit1d"),
    **dict.fromkeys(["cmlc", "cmsmlc"], "lead_wise"),
    **dict.fromkeys(["st_mem", "mtae", "mlae"], "vit1d_lead"),
}


def names(group: str) -> list[str]:
    return sorted(path.stem for path in (FOLDER / group).glob("*.yaml"))


class Called(Exception):
    """Raised in place of a verb, with what it was called with."""


@pytest.fixture
def called(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command line up to the call of its verb, and return that call's arguments."""

    def run(*arguments: str) -> dict[str, Any]:
        def stop(*paths: str, **given: Any) -> None:
            raise Called(paths, given)

        monkeypatch.setattr(api, arguments[0], stop)
        with pytest.raises(Called) as caught:
            cli.main(arguments)
        paths, given = caught.value.args
        assert paths == arguments[1 : 1 + len(paths)]
        return given

    return run


def test_every_file_is_a_verb_or_in_a_group() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*.yaml")) == VERBS
    assert {name.split("/")[0] for name in GROUPS} == {"ablation", "backbone", "objective", "split", "task", "training"}
    assert len(list(FOLDER.rglob("*.y*ml"))) == len(VERBS) + len(GROUPS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_composes_and_says_what_can_be_set(verb: str, capsys: pytest.CaptureFixture) -> None:
    config = configuration.load_config(verb)
    assert not OmegaConf.missing_keys(config)
    with pytest.raises(SystemExit) as ended:
        cli.main([verb, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    for key in OmegaConf.to_container(OmegaConf.load(FOLDER / f"{verb}.yaml")):
        assert key in shown


@pytest.mark.parametrize("name", names("backbone"))
def test_backbone_files_build(name: str) -> None:
    config = configuration.load_config("pretrain", [f"backbone={name}"])
    chosen, options = configuration.named(config.backbone)
    assert (chosen, chosen in list_backbones()) == (name, True)
    narrow = {"width": 12} if "width" in options else {}
    assert create_backbone(chosen, **{**options, **narrow}).in_leads == 12


def test_every_backbone_has_a_file() -> None:
    assert names("backbone") == list_backbones()


def test_every_objective_has_a_file_that_builds() -> None:
    assert names("objective") == list_objectives()
    for name in names("objective"):
        config = configuration.load_config("pretrain", [f"objective={name}"])
        chosen, options = configuration.named(config.objective)
        backbone = create_backbone(BACKBONE_OF.get(name, "xresnet1d10"), width=12)
        assert create_objective(chosen, backbone, 100.0, **options).backbone is backbone


def test_every_task_has_a_file_that_builds() -> None:
    assert names("task") == list_tasks()
    for name in names("task"):
        chosen, options = configuration.named(configuration.load_config("probe", [f"task={name}"]).task)
        options = {**options, "classes": options.get("classes") or TASKS[name].columns or ("a", "b")}
        assert create_task(chosen, **options).classes == options["classes"]
        assert create_task(chosen, options.pop("classes")).options == options  # the shipped options are the defaults


@pytest.mark.parametrize("name", names("split"))
@pytest.mark.parametrize("verb", ["pretrain", "probe", "finetune", "compare"])
def test_split_files_serve_every_verb(verb: str, name: str) -> None:
    config = configuration.load_config(verb, [f"split={name}"])
    assert isinstance(configuration.typed(api.SplitSettings, config.split), api.SplitSettings)


@pytest.mark.parametrize("name", names("ablation"))
def test_every_variant_of_an_ablation_composes_and_builds(name: str, called) -> None:
    given = called("ablate", "archive", "labels.csv", "out", f"ablation={name}", "seeds=[7]")
    settings, variants = given["settings"], given["variants"]
    assert settings == AblateSettings(seeds=(7,), reference=settings.reference)
    check_variants(variants, settings.reference, SignalSettings())


def test_variants_take_what_all_share_and_then_their_own_overrides() -> None:
    shared = verbs.VariantOverrides(
        overrides=("backbone=xresnet1d10", "epochs=3"),
        finetune=("training.steps=7",),
        scratch=("training=scratch", "training.steps=7"),
        candidates=({"learning_rate": 0.1}, {"learning_rate": 0.2}),
        scratch_candidates=({"learning_rate": 0.3}, {}),
    )
    own = verbs.VariantOverrides(
        overrides=("backbone=xresnet1d34", "objective.temperature=0.5"), finetune=("training.crop=null",)
    )
    made = verbs.variant("warm", shared, own)
    assert (made.pretrain.backbone, made.pretrain.epochs) == ("xresnet1d34", 3)
    assert made.pretrain.objective_options["temperature"] == 0.5
    assert [(tried.crop, tried.steps, tried.learning_rate) for tried in made.finetune] == [
        (None, 7, 0.1),
        (None, 7, 0.2),
    ]
    assert [(tried.crop, tried.head, tried.learning_rate) for tried in made.scratch] == [
        (2.5, "zero", 0.3),
        (2.5, "zero", 0.001),
    ]


@pytest.mark.parametrize("name", names("training"))
def test_training_files_name_every_setting(name: str) -> None:
    config = configuration.load_config("finetune", [f"training={name}"])
    settings = configuration.typed(FinetuneSettings, config.training)
    assert set(config.training) == set(settings.to_dict())
    assert settings.learning_rate == config.training.learning_rate


def test_python_and_command_line_have_the_same_defaults(called) -> None:
    given = called("ingest", "in", "out")
    assert QualityLimits(**given.pop("quality")) == QualityLimits()
    assert SignalSettings(**{name: given[name] for name in SignalSettings.model_fields}) == SignalSettings()
    paths = ("encoder", "archive", "labels.csv", "out")
    assert called("finetune", *paths)["settings"] == FinetuneSettings()
    assert called("compare", *paths)["settings"] == CompareSettings()
    assert called("pretrain", "in", "out")["split"] == api.SplitSettings()


@pytest.mark.parametrize(
    ("changes", "options"),
    [
        ((), {}),
        (("epochs=3", "backbone=xresnet1d34"), {"epochs": 3, "backbone": "xresnet1d34"}),
        (("backbone.width=8",), {"backbone_options": {"width": 8}}),
        (("objective.temperature=0.2",), {"objective_options": {"temperature": 0.2}}),
    ],
)
def test_python_pretrains_as_the_command_line_does(
    changes: tuple[str, ...], options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[PretrainSettings] = []

    def remember(archive: Any, out: str, settings: PretrainSettings, *_: Any) -> None:
        seen.append(settings)
        raise ValueError("enough")

    monkeypatch.setattr("ssl_ecg.verbs.pretraining.opened", lambda archive: archive)
    monkeypatch.setattr("ssl_ecg.training.pretrain", remember)
    with pytest.raises(ValueError, match="enough"):
        api.pretrain("in", "out", **options)
    assert cli.main(["pretrain", "in", "out", *changes]) == 2
    assert seen[0] == seen[1]


def test_ingest_becomes_settings(called) -> None:
    given = called("ingest", "in", "out", "sampling_rate=500", "leads=[ii,V1]", "band=null", "quality.pop=20", "salt=x")
    quality = given.pop("quality")
    run = {name: given.pop(name) for name in ("workers", "salt")}
    assert (run["salt"], QualityLimits(**quality).pop) == ("x", 20.0)
    settings = SignalSettings(**given)
    assert (settings.sampling_rate, settings.leads, settings.band) == (500.0, ("II", "V1"), None)
    assert settings.duration == configuration.load_config("ingest").duration


def test_synthesize_becomes_settings(called) -> None:
    config = configuration.load_config("synthesize")
    assert called("synthesize", "out", "records=7") == {**OmegaConf.to_container(config), "records": 7}


def test_pretrain_becomes_settings(called) -> None:
    changes = ["epochs=3", "backbone=xresnet1d10", "backbone.width=8", "objective.augment.lead_masking=0.25"]
    given = called("pretrain", "in", "out", *changes, "loggers=[wandb]", "holdout=labels.csv", "split=ptbxl")
    settings = given["settings"]
    assert isinstance(settings, PretrainSettings)
    assert (settings.epochs, settings.loggers) == (3, ("wandb",))
    assert (settings.backbone, settings.backbone_options["width"]) == ("xresnet1d10", 8)
    assert settings.objective_options["augment"]["lead_masking"] == 0.25
    assert given["holdout"] == "labels.csv"
    assert given["split"] == api.SplitSettings(validation_folds=(9,), test_folds=(10,))


def test_probe_and_finetune_become_settings(called) -> None:
    paths = ("encoder", "archive", "labels.csv", "out")
    given = called("probe", *paths, "task.classes=[AF,LBBB]", "split.seed=4")
    assert (given["task"], given["classes"], given["split"].seed) == ("arrhythmia", ["AF", "LBBB"], 4)
    assert given["task_options"] == {}
    given = called("probe", *paths, "task=af_survival", "task.bins=5")
    assert given["task"] == "af_survival"
    assert (given["task_options"]["bins"], given["task_options"]["encoding"]) == (5, "gensheimer")
    assert "classes" not in given
    given = called("finetune", *paths, "training=scratch", "training.steps=9", "scratch=true")
    assert isinstance(given["settings"], FinetuneSettings)
    assert (given["settings"].steps, given["scratch"], given["settings"].head) == (9, True, "zero")


def test_compare_becomes_settings(called) -> None:
    steps = ["pretrained_finetune.steps=9", "scratch.steps=9"]
    candidates = ["pretrained_candidates=[{learning_rate: 0.1}]", "scratch_candidates=[{learning_rate: 0.2}]"]
    arguments = ["compare", "encoder", "archive", "labels.csv", "out", "fractions=[0.5,1]", "seeds=[7]"]
    given = called(*arguments, *steps, *candidates)
    settings = given["settings"]
    assert isinstance(settings, CompareSettings)
    assert (settings.fractions, settings.seeds, settings.scratch.steps) == ((0.5, 1.0), (7,), 9)
    assert settings.scratch_candidates == ({"learning_rate": 0.2},)
    assert given["command"].startswith("ssl-ecg compare encoder archive labels.csv out 'fractions=[0.5,1]'")


@pytest.mark.parametrize(
    ("verb", "change", "named"),
    [
        ("ingest", "sampling_rat=100", "sampling_rat"),
        ("ingest", "sampling_rate=fast", "sampling_rate"),
        ("ingest", "sampling_rate=-1", "sampling_rate"),
        ("ingest", "leads=[I,V9]", "V9"),
        ("ingest", "workers=many", "workers"),
        ("ingest", "+quality.flatt=1", "flatt"),
        ("ingest", "quality.flat=low", "flat"),
        ("synthesize", "records=few", "records"),
        ("synthesize", "records=0", "records"),
        ("synthesize", "+visits=3", "visits"),
        ("pretrain", "epocs=3", "epocs"),
        ("pretrain", "+epocs=3", "epocs"),
        ("pretrain", "epochs=three", "epochs"),
        ("pretrain", "epochs=0", "epochs=0"),
        ("pretrain", "resume=perhaps", "resume='perhaps'"),
        ("pretrain", "objective=magic", "magic"),
        ("pretrain", "backbone=magic", "magic"),
        ("pretrain", "backbone.widht=3", "widht"),
        ("pretrain", "split.test=most", "test"),
        ("pretrain", "split.test_folds=[9]", "test_folds=(9,)"),
        ("probe", "task=magic", "magic"),
        ("finetune", "training.steps=1.5", "steps"),
        ("finetune", "training.head=magic", "head='magic'"),
        ("finetune", "steps=9", "steps"),
        ("compare", "arms=[magic]", "magic"),
        ("compare", "fractions=[all]", "fractions"),
        ("compare", "scratch.steps=1", "scratch.steps=1"),
        ("compare", "seeds=[]", "seeds=[]"),
        ("compare", "not an override", "not an override"),
    ],
)
def test_misspelt_and_mistyped_options_are_one_line_that_names_them(
    verb: str, change: str, named: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    paths = [str(tmp_path / name) for name in cli.PATHS[verb]]
    (tmp_path / cli.PATHS[verb][0]).mkdir()
    assert cli.main([verb, *paths, change]) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"ssl-ecg {verb}: ")
    assert named in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == [cli.PATHS[verb][0]]  # nothing was written


@pytest.mark.parametrize("arguments", [[], ["magic"], ["pretrain", "only-one-path"]])
def test_wrong_command_lines_end_with_their_usage(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(arguments)
    assert ended.value.code == 2
    assert "usage: ssl-ecg" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["ingest", "{empty}", "{out}"], "holds no recording"),
        (["ingest", "{nowhere}", "{out}"], "is not a folder"),
        (["pretrain", "{nowhere}", "{out}"], "no archive in"),
        (["probe", "{nowhere}", "{empty}", "labels.csv", "{out}"], "no config.json, so this is not an encoder folder"),
        (["compare", "{nowhere}", "{empty}", "labels.csv", "{out}"], "not an encoder folder"),
    ],
)
def test_missing_inputs_are_one_line_and_leave_nothing(
    arguments: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "empty").mkdir()
    folders = {name: str(tmp_path / name) for name in ("empty", "nowhere", "out")}
    assert cli.main([argument.format(**folders) for argument in arguments]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_an_error_of_ours_is_not_hidden(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a defect")

    monkeypatch.setattr(api, "synthesize", broken)
    with pytest.raises(RuntimeError, match="a defect"):
        cli.main(["synthesize", "out"])


def test_misspelt_override_is_a_hydra_error() -> None:
    with pytest.raises(HydraException, match="epocs"):
        configuration.load_config("pretrain", ["epocs=3"])


def test_settings_as_a_whole_and_single_options_do_not_mix(tmp_path: Path) -> None:
    settings = PretrainSettings(epochs=1)
    with pytest.raises(TypeError, match="settings and epochs: give all settings at once"):
        settings_from(PretrainSettings, settings, {"epochs": 2})
    assert settings_from(PretrainSettings, settings, {}) is settings
    assert settings_from(PretrainSettings, None, {"epochs": 2}).epochs == 2
    with pytest.raises(SettingsError, match="epocs=2: .* did you mean epochs"):
        settings_from(PretrainSettings, None, {"epocs": 2})


def test_logging_is_set_up_for_people(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(logging, "basicConfig", lambda **given: seen.update(given))
    monkeypatch.setattr(api, "synthesize", lambda *_, **__: [])
    assert cli.main(["synthesize", "out"]) == 0
    assert seen["level"] == logging.INFO
