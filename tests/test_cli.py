"""Python call and command line are one thing; help, configuration files and errors come from the settings classes."""

from __future__ import annotations

import importlib
import logging
import subprocess
import sys
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Annotated, Any

import pandas as pd
import pytest
import yaml
from annotated_types import Gt
from commands import DATA, NAMES, PATHS, Captured, one_line, paths, refused, shown

import ssl_ecg
from ssl_ecg import cli
from ssl_ecg.comparison.variants import check_variants
from ssl_ecg.settings import Settings, config_folder
from ssl_ecg.signals import SignalSettings
from ssl_ecg.training import FinetuneSettings, PretrainSettings
from ssl_ecg.verbs import VERBS, Verb
from ssl_ecg.verbs.ablate import Ablation, variants_of
from ssl_ecg.verbs.verb import console


@pytest.fixture
def captured(monkeypatch: pytest.MonkeyPatch) -> Captured:
    return Captured(monkeypatch)


SPELLINGS: list[tuple[str, tuple[str, ...], tuple[str, ...], dict[str, Any]]] = [
    ("synthesize", PATHS["synthesize"], (), {}),
    ("synthesize", PATHS["synthesize"], ("records=7", "duration=5"), {"records": 7, "duration": 5}),
    ("ingest", PATHS["ingest"], ("windows=3",), {"windows": 3}),
    ("ingest", PATHS["ingest"], ("windows=all",), {"windows": "all"}),
    (
        "label",
        PATHS["label"],
        ("outcome=diagnosis", "codes={AF: [I48], HF: [I50, I11.0]}", "days_before=7"),
        {"outcome": "diagnosis", "codes": {"AF": ["I48"], "HF": ["I50", "I11.0"]}, "days_before": 7},
    ),
    (
        "ingest",
        PATHS["ingest"],
        ("sampling_rate=500", "leads=[ii,V1]", "band=null", "quality.pop=20", "salt_file=1e5", "mains=50"),
        {
            "sampling_rate": 500,
            "leads": ["II", "V1"],
            "band": None,
            "quality": {"pop": 20},
            "salt_file": "1e5",
            "mains": 50,
        },
    ),
    (
        "label",
        PATHS["label"],
        ("threshold=35", "cohort=PVC, all=1 ü.csv", "cohort_class=x=1"),
        {"threshold": 35, "cohort": "PVC, all=1 ü.csv", "cohort_class": "x=1"},
    ),
    (
        "evaluate",
        PATHS["evaluate"],
        ("records=last", "subgroups=[age,sex]"),
        {"records": "last", "subgroups": ["age", "sex"]},
    ),
    ("pretrain", PATHS["pretrain"], (), {}),
    ("pretrain", PATHS["pretrain"], ("epochs=3", "backbone=xresnet1d34"), {"epochs": 3, "backbone": "xresnet1d34"}),
    ("pretrain", PATHS["pretrain"], ("backbone.width=8",), {"backbone": {"name": "xresnet1d18", "width": 8}}),
    ("pretrain", PATHS["pretrain"], ("backbone.width=8",), {"backbone": {"width": 8}}),
    ("pretrain", PATHS["pretrain"], ("objective=bimodal_mae",), {"objective": "bimodal_mae"}),
    (
        "pretrain",
        PATHS["pretrain"],
        ("backbone.width=48", "objective=mae"),
        {"objective": "mae", "backbone": {"width": 48}},
    ),
    (
        "pretrain",
        PATHS["pretrain"],
        ("objective.temperature=2e-1", "objective=cmsc", "split=ptbxl", "split.seed=4", "loggers=[wandb]", "devices=2"),
        {
            "objective": {"name": "cmsc", "temperature": 0.2},
            "split": {"name": "ptbxl", "seed": 4},
            "loggers": ("wandb",),
            "devices": 2,
        },
    ),
    (
        "pretrain",
        PATHS["pretrain"],
        ("objective={name: simclr, augment: {gaussian_noise: 0.2}}", "holdout=a.csv", "classes=[426783006, AF]"),
        {
            "objective": {"name": "simclr", "augment": {"gaussian_noise": 0.2}},
            "holdout": "a.csv",
            "classes": ["426783006", "AF"],
        },
    ),
    ("probe", DATA, ("task=af_survival", "task.bins=5"), {"task": {"name": "af_survival", "bins": 5}}),
    ("probe", ("none", *DATA[1:]), ("backbone.width=8",), {"backbone": {"width": 8}}),
    ("finetune", DATA, ("training.steps=9", "scratch=true"), {"training": {"steps": 9}, "scratch": True}),
    ("finetune", DATA, ("training=image",), {"training": "image"}),
    ("finetune", ("none", *DATA[1:]), (), {}),
    ("finetune", ("none", *DATA[1:]), ("training.steps=9",), {"training": {"steps": 9}}),
    ("finetune", ("none", *DATA[1:]), ("training=image", "backbone=s4d"), {"training": "image", "backbone": "s4d"}),
    ("finetune", DATA, ("training={steps: 3}",), {"training": {"steps": 3}}),
    (
        "distil",
        DATA,
        ("leads=[I,avl]", "backbone.kernel=7", "training.steps=3", "student=new"),
        {"leads": ("I", "aVL"), "backbone": {"kernel": 7}, "training": {"steps": 3}},
    ),
    (
        "compare",
        DATA,
        ("fractions=[0.5,1]", "seeds=[7]", "scratch.steps=9", "pretrained_finetune.steps=9", "classes=[a]"),
        {
            "fractions": (0.5, 1),
            "seeds": [7],
            "scratch": {"name": "scratch", "steps": 9},
            "pretrained_finetune": {"steps": 9},
            "classes": ("a",),
        },
    ),
    (
        "compare",
        DATA,
        ("pretrained_candidates=[{learning_rate: 0.1}]", "scratch_candidates=[{learning_rate: 0.2}]"),
        {"pretrained_candidates": [{"learning_rate": 0.1}], "scratch_candidates": [{"learning_rate": 0.2}]},
    ),
    ("ablate", PATHS["ablate"], ("ablation=visits", "seeds=[7]"), {"ablation": "visits", "seeds": [7]}),
]


@pytest.mark.parametrize(("name", "paths", "words", "options"), SPELLINGS)
def test_python_and_command_line_give_the_same_settings(
    name: str, paths: tuple[str, ...], words: tuple[str, ...], options: dict[str, Any], captured: Captured
) -> None:
    line = captured.line(name, *paths, *words)
    assert captured.paths == paths
    python = captured.call(name, *(None if path == "none" else path for path in paths), **options)
    assert python == line
    assert captured.call(name, *paths, settings=line) is line
    if words:
        assert line != captured.line(name, *paths)


def test_words_set_what_they_name_and_leave_the_rest(captured: Captured) -> None:
    plain = captured.line("pretrain", *PATHS["pretrain"]).to_dict()
    changed = captured.line("pretrain", *PATHS["pretrain"], "objective.augment.lead_masking=0.5").to_dict()
    assert plain["objective"]["augment"]["gaussian_noise"] > 0
    plain["objective"]["augment"]["lead_masking"] = 0.5
    assert changed == plain
    whole = captured.line("pretrain", *PATHS["pretrain"], "objective.augment={lead_masking: 0.5}")
    assert whole.objective.options["augment"] == {"lead_masking": 0.5}
    folds = captured.line("pretrain", *PATHS["pretrain"], "split.test_folds=[8]", "split=ptbxl").split
    assert (folds.validation_folds, folds.test_folds) == ((9,), (8,))


def test_values_are_what_their_type_makes_of_them(captured: Captured) -> None:
    words = ("salt_file=1e5", "duration=5", "min_duration=1e0", "quality.flat=.5", "workers=null")
    settings = captured.line("ingest", *PATHS["ingest"], *words)
    assert (str(settings.salt_file), settings.duration, settings.min_duration) == ("1e5", 5.0, 1.0)
    assert (settings.quality.flat, settings.workers) == (0.5, None)
    assert captured.line("ingest", *PATHS["ingest"], "patients=null, ü=[1]{").patients == "null, ü=[1]{"
    odd = captured.line("label", *PATHS["label"], "cohort=/a b/ü,=1.csv", "data_set=12")
    assert (odd.cohort, odd.data_set) == ("/a b/ü,=1.csv", "12")
    options = captured.line("probe", "none", *DATA[1:], "backbone=lead_wise", "backbone.dropout=0.5").backbone.options
    assert options["dropout"] == 0.5  # an option that goes through to the network of one lead


ODD = ["ü.csv", "a b.csv", "(1).csv", "a,b.csv", "it's.csv", 'a "b".csv', "a=b.csv", "a#b.csv", "#.csv", "~/a.csv"]
ODD += [
    "~a",
    "[2021] a.csv",
    "{x}.csv",
    "a: b.csv",
    "&a",
    "*a",
    "!x",
    "%a",
    "@a",
    "`a`",
    "1e5",
    "007",
    "NO",
    "a  b",
]


@pytest.mark.parametrize("odd", ODD)
def test_odd_paths_and_values_arrive_as_typed(odd: str, captured: Captured) -> None:
    path = odd if odd != "a=b.csv" else f"./{odd}"
    settings = captured.line("label", path, odd.replace("a=b", "x/a=b"), f"/x/{odd}", f"cohort={odd}")
    assert captured.paths == (path, odd.replace("a=b", "x/a=b"), f"/x/{odd}")
    assert settings.cohort == odd
    settings = captured.line("ingest", *PATHS["ingest"], f"patients={odd}", f"salt_file={odd}")
    assert (settings.patients, str(settings.salt_file)) == (odd, odd)


def test_a_path_that_is_there_may_look_like_a_setting(captured: Captured, tmp_path: Path, monkeypatch, capsys) -> None:
    (tmp_path / "year=2021").mkdir()
    (tmp_path / "epochs=2").mkdir()
    monkeypatch.chdir(tmp_path)
    assert captured.line("pretrain", "year=2021", "out", "epochs=2").epochs == 2
    assert captured.paths == ("year=2021", "out")
    assert "year='2022': there is no such setting" in refused(capsys, "pretrain", "year=2022", "out")


def test_lists_hold_what_is_typed(captured: Captured) -> None:
    words = [
        "NO",
        "yes",
        "007",
        "1e5",
        "1.50",
        "2021-03-31",
        "12:30",
        "426783006",
        "I-AVB",
        "it's",
        "ü (x)",
        "~",
        "0x1f",
    ]
    assert captured.line("probe", *DATA, f"classes=[{', '.join(words)}]").classes == tuple(words)
    assert captured.line("probe", *DATA, "classes=['a, b', \"c # d\", 'null']").classes == ("a, b", "c # d", "null")
    settings = captured.line("compare", *DATA, "seeds=[1,2]", "fractions=[1e-1,1]", "scratch={batch_size: 32}")
    assert (settings.seeds, settings.fractions) == ((1, 2), (0.1, 1.0))


def test_a_secret_is_refused_on_the_command_line(capsys) -> None:
    for verb in ("ingest", "label"):
        error = refused(capsys, verb, *PATHS[verb], "salt=correct horse battery")
        assert "the list of processes" in error
        assert "salt_file=" in error
        assert "SSL_ECG_SALT" in error
        assert "horse" not in error


def test_a_table_is_a_path_or_what_it_holds(captured: Captured) -> None:
    table = pd.DataFrame({"record_id": ["a"]})
    assert captured.call("pretrain", *PATHS["pretrain"], holdout=table).holdout is table


def test_paths_may_stand_anywhere_and_hold_an_equals_sign(captured: Captured) -> None:
    captured.line("pretrain", "runs/a=b", "epochs=3", "./c=d")
    assert captured.paths == ("runs/a=b", "./c=d")
    captured.call("pretrain", out="b", archive="a", epochs=3)
    assert captured.paths == ("a", "b")
    captured.line("probe", *DATA[:3])
    assert captured.paths[:3] == DATA[:3]


def test_what_a_comparison_records_is_the_command(captured: Captured) -> None:
    captured.line("compare", *DATA, "fractions=[0.5,1]")
    assert captured.of_call["command"] == "ssl-ecg compare encoder archive labels.csv out 'fractions=[0.5,1]'"


def test_what_a_comparison_records_tells_of_no_machine(captured: Captured, tmp_path: Path) -> None:
    recipe = tmp_path / "my.yaml"
    recipe.write_text("head: zero\n", "utf-8")
    captured.line("compare", "/home/eve/encoder", *DATA[1:3], "/data/out=1", f"scratch={recipe}")
    assert captured.of_call["command"] == "ssl-ecg compare encoder archive labels.csv out=1 scratch=my.yaml"


def test_random_weights_are_trained_as_scratch_unless_told(captured: Captured) -> None:
    scratch = FinetuneSettings(head="zero", layer_decay=1.0)
    for encoder in (None, "none"):
        settings = captured.call("finetune", encoder, *DATA[1:])
        assert (settings.training, settings.backbone.name) == (scratch, PretrainSettings().backbone.name)
        assert captured.call("finetune", encoder, *DATA[1:], training="pretrained").training == FinetuneSettings()
    assert captured.line("finetune", "none", *DATA[1:], "training.steps=7").training == scratch.replace(steps=7)
    settings = captured.call("finetune", *DATA)
    assert (settings.training, settings.backbone) == (FinetuneSettings(), None)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        *((name, ()) for name in NAMES),
        ("pretrain", ("objective=bimodal_mae", "split=ptbxl", "objective.decoder_width=48", "holdout=ü, a=1.csv")),
        ("finetune", ("training=image", "task=cardiomyopathy", "training.windows.seconds=2.5")),
        ("ingest", ("leads=[I,II]", "band=null", "salt_file=1e5")),
        ("ablate", ("ablation=masked",)),
    ],
)
def test_what_print_config_prints_can_be_given_back(
    name: str, words: tuple[str, ...], tmp_path: Path, captured: Captured, capsys: pytest.CaptureFixture
) -> None:
    printed = shown(capsys, name, *words, "--print-config")
    assert captured.settings == []  # nothing is run
    (tmp_path / "config.yaml").write_text(printed, encoding="utf-8")
    again = captured.line(name, *paths(name), "--config", str(tmp_path / "config.yaml"))
    assert again == captured.line(name, *paths(name), *words)
    assert yaml.safe_load(printed) == again.to_dict()


def test_words_beat_the_configuration_file(tmp_path: Path, captured: Captured, capsys: pytest.CaptureFixture) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("epochs: 5\nseed: 3\nobjective: {name: cmsc, temperature: 0.5}\n", encoding="utf-8")
    changes = ("epochs=6", "objective.reduction=clocs", f"--config={file}")
    settings = captured.line("pretrain", *PATHS["pretrain"], *changes)
    assert (settings.epochs, settings.seed) == (6, 3)
    assert (settings.objective.options["temperature"], settings.objective.options["reduction"]) == (0.5, "clocs")
    for text, message in (
        ("epocs: 3\n", "did you mean epochs?"),
        ("- 3\n", "holds no settings"),
        ("a: [\n", "is no YAML"),
    ):
        file.write_text(text, encoding="utf-8")
        assert message in refused(capsys, "pretrain", "a", "b", "--config", str(file))
    assert "No such file" in refused(capsys, "pretrain", "a", "b", "--config", str(tmp_path / "nowhere.yaml"))


def test_logging_is_set_up_for_people(monkeypatch: pytest.MonkeyPatch, captured: Captured) -> None:
    seen: dict[str, Any] = {}
    monkeypatch.setattr(logging, "basicConfig", lambda **given: seen.update(given))
    captured.line("synthesize", "out")
    assert seen["level"] == logging.INFO


class CountSettings(Settings):
    """What is counted."""

    beats: Annotated[int, Gt(0)] = 3
    """how many"""


def test_an_installed_package_can_offer_a_verb(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    def count(ecg: str, settings: CountSettings) -> int:
        """Count the beats of an ECG.

        Args:
            ecg: a file.
        """
        return settings.beats

    offered = Verb(count, CountSettings, lambda found, ecg: cli.console.print(f"{found} beats in {ecg}"))
    monkeypatch.setattr(EntryPoint, "load", lambda point: offered)
    monkeypatch.setitem(VERBS._entry_points(), "count", EntryPoint("count", "elsewhere:count", "ssl_ecg.verbs"))
    monkeypatch.setattr(VERBS, "_things", dict(VERBS._things))
    assert ssl_ecg.count("a.hea", beats=4) == 4
    assert shown(capsys, "count", "a.hea", "beats=5") == "5 beats in a.hea\n"
    assert "Count the beats of an ECG." in shown(capsys, "--help")
    assert "did you mean beats?" in refused(capsys, "count", "a.hea", "beat=5")
    assert "count" in dir(ssl_ecg)
    monkeypatch.setitem(VERBS._entry_points(), "torn", EntryPoint("torn", "elsewhere:torn", "ssl_ecg.verbs"))
    monkeypatch.setattr(EntryPoint, "load", lambda point: importlib.import_module(point.module))
    text = one_line(shown(capsys, "--help"))
    assert "elsewhere:torn cannot be imported" in text
    assert VERBS["synthesize"].summary in text


def test_the_package_finds_its_verbs_without_importing_them() -> None:
    code = "import sys, ssl_ecg; dir(ssl_ecg); assert not [m for m in sys.modules if m.startswith('ssl_ecg.training')]"
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (Path(ssl_ecg.__file__).parent / "py.typed").is_file()
    assert ssl_ecg.load_model is ssl_ecg.tasks.load_model
    assert ssl_ecg.SplitSettings(test=0.3).test == 0.3


def recipes(group: str) -> list[str]:
    return sorted(path.stem for path in (config_folder() / group).glob("*.yaml"))


@pytest.mark.parametrize("name", recipes("ablation"))
def test_every_variant_of_an_ablation_composes_and_builds(name: str, captured: Captured) -> None:
    settings = captured.line("ablate", *PATHS["ablate"], f"ablation={name}")
    check_variants(variants_of(settings.ablation), settings.ablation.reference, SignalSettings())


def test_variants_take_what_all_share_and_then_their_own_words() -> None:
    ablation = Ablation(
        overrides=["backbone=xresnet1d10", "epochs=3", "objective.augment.lead_masking=0.5"],
        finetune=["training.steps=7"],
        scratch=["training=scratch", "training.steps=7"],
        candidates=[{"learning_rate": 0.1}, {"learning_rate": 0.2}],
        scratch_candidates=[{"learning_rate": 0.3}, {}],
        variants={
            "warm": {
                "overrides": ["backbone=xresnet1d34", "objective.temperature=0.5"],
                "finetune": ["training.crop=null"],
            },
            "plain": {},
        },
    )
    warm, plain = variants_of(ablation)
    assert (warm.name, plain.name) == ("warm", "plain")
    assert (warm.pretrain.backbone.name, plain.pretrain.backbone.name) == ("xresnet1d34", "xresnet1d10")
    assert (warm.pretrain.epochs, plain.pretrain.epochs) == (3, 3)
    assert (warm.pretrain.objective.options["temperature"], plain.pretrain.objective.options["temperature"]) == (
        0.5,
        0.1,
    )
    assert warm.pretrain.objective.options["augment"]["lead_masking"] == 0.5
    tried = [(each.crop, each.steps, each.learning_rate) for each in warm.finetune]
    assert tried == [(None, 7, 0.1), (None, 7, 0.2)]
    tried = [(each.crop, each.head, each.learning_rate) for each in warm.scratch]
    assert tried == [(2.5, "zero", 0.3), (2.5, "zero", 0.001)]
    with pytest.raises(ValueError, match=r"variant odd: .*did you mean epochs\?"):
        variants_of(Ablation(variants={"odd": {"overrides": ["epocs=3"]}}))


def test_a_line_is_not_folded_where_nobody_sees_a_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    console.print("the archive lies there " * 9)
    assert capsys.readouterr().out.count("\n") == 1
