"""What README.md shows is run, word for word, on ECGs small enough for seconds."""

from __future__ import annotations

import re
import runpy
import shlex
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

import ssl_ecg
from ssl_ecg.cli import main
from ssl_ecg.synthetic import draw_ecgs
from ssl_ecg.verbs import VERBS

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")

# Only sizes are changed.
STEPS = ("steps=4", "batch_size=16", "evaluations=2")
SMALL = {
    "ingest": ("workers=1",),
    "pretrain": ("epochs=1", "backbone.width=4", "warmup_epochs=0"),
    "probe": (),
    "predict": ("workers=1",),
    "finetune": tuple(f"training.{step}" for step in STEPS),
    "compare": (
        *(f"{arm}.{step}" for arm in ("pretrained_finetune", "scratch") for step in STEPS),
        *("fractions=[0.5,1]", "seeds=[0]", "replicates=50"),
    ),
}


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory, write_wfdb) -> Path:
    """A folder with ``ecgs``, ``patients.csv`` and ``labels.csv``, as README.md describes them."""
    folder = tmp_path_factory.mktemp("desk")
    ecgs = draw_ecgs(60, seed=2, sampling_rate=125)
    for signal, record_id in zip(ecgs.signal, ecgs.truth["record_id"], strict=True):
        patient, visit = record_id.split("/")
        write_wfdb(folder / "ecgs" / patient, visit, signal, 125)
    ecgs.truth[["record_id", "patient_id", "recorded_at", "age", "sex"]].to_csv(folder / "patients.csv", index=False)
    labels = ecgs.truth[["record_id", "sinus_rhythm"]].assign(slow=ecgs.truth["sinus_bradycardia"].astype("Int64"))
    labels.loc[0, "slow"] = pd.NA
    labels.to_csv(folder / "labels.csv", index=False)
    (folder / "salt.txt").write_text("correct horse battery\n")
    return folder


def shrink(monkeypatch: pytest.MonkeyPatch, verb: str, **options: Any) -> None:
    """Let a verb be called with these settings, those of a group beside what is given of it."""
    resolve = VERBS[verb].resolve

    def small(given: dict[str, Any], paths: Any) -> Any:
        for name, value in options.items():
            beside = {"name": given[name]} if isinstance(given.get(name), str) else {}
            given = {**given, name: {**beside, **value} if isinstance(value, dict) else value}
        return resolve(given, paths)

    monkeypatch.setattr(VERBS[verb], "resolve", small)


def test_shell_commands_run(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    assert [line.split()[1] for line in lines[:5]] == ["ingest", "pretrain", "probe", "finetune", "compare"]
    for line in lines:
        program, verb, *arguments = shlex.split(line)
        assert program == "ssl-ecg"
        assert main([verb, *arguments, *SMALL[verb]]) == 0, line
    assert (desk / "comparison" / "report.html").is_file()
    archive = ssl_ecg.open_archive("archive-500")
    assert (archive.sampling_rate, archive.leads) == (500.0, ("I", "II", "V1", "V5"))
    assert archive.manifest["patient_id"].str.fullmatch("[0-9a-f]{64}").all()


def test_python_calls_run(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(desk)
    training = {"steps": 4, "batch_size": 16, "evaluations": 2}
    small: dict[str, dict[str, Any]] = {
        "ingest": {"workers": 1},
        "pretrain": {"epochs": 1, "warmup_epochs": 0, "backbone": {"name": "xresnet1d18", "width": 4}},
        "finetune": {"training": training},
        "compare": {
            "fractions": (0.5, 1.0),
            "seeds": (0,),
            "replicates": 50,
            "pretrained_finetune": training,
            "scratch": {"name": "scratch", **training},
        },
    }
    for verb, options in small.items():
        shrink(monkeypatch, verb, **options)
    names: dict[str, Any] = {}
    for code in blocks("python"):
        exec(compile(code, "README.md", "exec"), names)
    assert names["features"].shape == (2, names["encoder"].width)
    assert names["scores"].shape == (1, 2)
    for name in ("probed", "finetuned"):
        assert 0 <= names[name].metrics["macro_auroc"] <= 1
    table = names["finetuned"].predict("archive")
    parts = [f"{name}_{part}" for name in ("sinus_rhythm", "slow") for part in ("score", "decision")]
    assert table.columns.tolist() == ["record_id", *parts]
    assert len(table) == len(names["archive"])
    assert isinstance(names["summary"], pd.DataFrame)


def test_scripts_run(desk: Path, monkeypatch: pytest.MonkeyPatch, caplog) -> None:
    monkeypatch.chdir(desk)
    shrink(monkeypatch, "pretrain", warmup_epochs=0, backbone={"name": "xresnet1d18", "width": 4})
    shrink(monkeypatch, "finetune", training={"steps": 4, "batch_size": 16, "evaluations": 2})
    pretrain = [
        "ecgs",
        "archive",
        "scripts/encoder",
        "--patients",
        "patients.csv",
        "--holdout",
        "labels.csv",
        "--epochs",
        "1",
    ]
    finetune = ["scripts/encoder", "archive", "labels.csv", "scripts/out"]
    for folder, arguments in (("pretrain", pretrain), ("finetune", finetune)):
        monkeypatch.setattr("sys.argv", ["run.py", *arguments])
        with caplog.at_level("INFO"):
            runpy.run_path(str(ROOT / folder / "run.py"), run_name="__main__")
    assert ssl_ecg.load_encoder("scripts/encoder").width == 32
    scored = [message.partition(" macro AUROC")[0].strip() for message in caplog.messages if "macro AUROC" in message]
    assert scored == ["linear probe", "finetuned", "from scratch"]


def test_folders_hold_what_the_table_says(desk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs after the shell commands, which made them."""
    if not (desk / "comparison").is_dir():
        test_shell_commands_run(desk, monkeypatch)
    rows = re.findall(r"^\| `(\w+)/` \| (.*) \|$", README, re.MULTILINE)
    assert [name for name, _ in rows] == ["archive", "encoder", "probe", "model", "comparison"]
    for folder, text in rows:
        named = re.findall(r"`([\w./]+)`", text)
        assert named
        missing = [name for name in named if not (desk / folder / name).exists() and name != "labels/"]
        assert missing == []


def test_every_verb_and_every_link_is_there() -> None:
    for verb in VERBS.names():
        if verb != "synthesize":
            assert f"ssl-ecg {verb} " in README
    targets = re.findall(r"\]\((?!https?:|#)([^)#]+)", README)
    assert targets
    assert [target for target in targets if not (ROOT / target).exists() and "results" not in target] == []


def test_make_targets_named_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"^make (\w+)", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target


def test_demo_commands_are_accepted(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The demo takes minutes; here each of its verbs is called with its settings, and does nothing."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    variables = dict(re.findall(r"^(\w+) := (.*)$", makefile, re.MULTILINE))

    def expand(text: str) -> str:
        while found := re.search(r"\$\((\w+)\)", text):
            text = text.replace(found[0], variables[found[1]])
        return text

    recipe = re.search(r"^demo: venv\n((?:\t.*\n|    .*\n)+)", makefile, re.MULTILINE)
    assert recipe
    lines = [line.strip() for line in recipe[1].replace("\\\n", " ").splitlines()]
    commands = [shlex.split(expand(line)) for line in lines if not line.startswith("@echo")]
    called = []

    class Stop(ValueError):
        """Ends a verb where its work would begin."""

    for verb in VERBS.names():

        def stop(*paths: str, verb: str = verb, **_: Any) -> None:
            called.append(verb)
            raise Stop

        monkeypatch.setattr(VERBS[verb], "run", stop)
    for program, *arguments in commands:
        assert program.endswith("ssl-ecg")
        assert main(arguments) == 2
    assert called == ["synthesize", "pretrain", "finetune", "compare"]
