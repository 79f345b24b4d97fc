from __future__ import annotations

import json
import logging
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ssl_ecg.backbones import load_encoder
from ssl_ecg.comparison import AblateSettings, Variant, ablate, ablation
from ssl_ecg.comparison.ablation_table import markdown
from ssl_ecg.comparison.variants import random_weights
from ssl_ecg.evaluation import MACRO_AUPRC, MACRO_AUROC, Metric, describe, paired_difference
from ssl_ecg.runs import lock
from ssl_ecg.tasks import create_task
from ssl_ecg.training import FinetuneSettings, PretrainSettings, patient_hash

pytestmark = pytest.mark.slow

FINETUNE = FinetuneSettings(steps=4, batch_size=16, evaluations=1, crop=None, precision="32-true")
SCRATCH = FINETUNE.replace(head="zero", layer_decay=1.0)
SETTINGS = AblateSettings(seeds=(3, 4), probe_fractions=(0.3, 1.0), finetune_fractions=(0.3,), replicates=50)
RUNS = [f"{name}-{seed}" for seed in (3, 4) for name in ("random-xresnet1d10", "plain", "masked")]
PIECES = ["probe-0.3", "probe-1", "finetune-0.3"]


def variant(name: str, lead_masking: float = 0.0, **changes: object) -> Variant:
    pretrain = PretrainSettings(
        objective={"name": "cmsc", "projector_width": 8, "embedding": 4, "augment": {"lead_masking": lead_masking}},
        backbone={"name": "xresnet1d10", "width": 4},
        epochs=1,
        batch_size=32,
        warmup_epochs=0,
        precision="32-true",
    )
    return Variant(name=name, pretrain=pretrain.replace(**changes), finetune=(FINETUNE,), scratch=(SCRATCH,))


VARIANTS = (variant("plain"), variant("masked", 0.7))


def described_of_labels() -> dict:
    task = create_task("arrhythmia", ("a", "b"))
    return describe(task.metrics, task.class_metrics)


@pytest.fixture
def run(study):
    """A function that ablates into a folder."""

    def ablate_into(out: Path, variants=VARIANTS, settings: AblateSettings = SETTINGS) -> pd.DataFrame:
        return ablate(variants, study.archive, study.labels, study.splits, out, settings)

    return ablate_into


@pytest.fixture(scope="module")
def done(study, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished ablation; read it, do not change it."""
    out = tmp_path_factory.mktemp("ablated")
    ablate(VARIANTS, study.archive, study.labels, study.splits, out, SETTINGS)
    return out


@pytest.fixture
def copied(done: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(done, tmp_path / "copied"))


def results(out: Path) -> pd.DataFrame:
    return pd.read_csv(out / "results.csv")


def scores(out: Path, run: str, piece: str) -> np.ndarray:
    return np.load(out / "runs" / run / piece / "test_scores.npy")


def test_every_variant_and_the_random_weights_are_probed_and_finetuned(done: Path) -> None:
    assert {path.parent.relative_to(done / "runs").as_posix() for path in done.glob("runs/*/*/result.json")} == {
        f"{run}/{piece}" for run in RUNS for piece in PIECES
    }
    table = results(done)
    assert len(table) == len(RUNS) * len(PIECES)
    assert table["validation_macro_auroc"].between(0, 1).all()
    cost = table.set_index("variant")[["epochs", "pretraining_seconds", "ecg_per_second"]]
    assert cost.loc["random-xresnet1d10"].isna().all(axis=None)
    assert (cost.loc[["plain", "masked"]] > 0).all(axis=None)
    summary = pd.read_csv(done / "summary.csv")
    assert list(summary.columns[:8]) == ["task", "arm", "fraction", "seeds", "metric", "mean", "low", "high"]
    assert (summary["seeds"] == 2).all()
    epochs = pd.read_csv(done / "pretraining.csv")
    assert list(epochs.columns[:3]) == ["variant", "seed", "epoch"]
    assert sorted(zip(epochs["variant"], epochs["seed"])) == [("masked", 3), ("masked", 4), ("plain", 3), ("plain", 4)]


def test_pretraining_sees_every_patient_but_those_of_the_test_split(study, done: Path) -> None:
    patient = study.archive.manifest["patient_id"]
    tested = set(patient.iloc[study.labels.rows[study.splits.test]])
    for run in RUNS:
        if not run.startswith("random"):
            seen = load_encoder(done / "runs" / run / "encoder").patients
            assert seen == {patient_hash(name) for name in set(patient) - tested}


def test_runs_are_those_of_a_comparison_of_the_same_encoder(study, small, done: Path, tmp_path: Path) -> None:
    settings = small(
        fractions=(0.3, 1.0),
        seeds=(3,),
        pretrained_finetune=FINETUNE,
        scratch=SCRATCH,
        pretrained_candidates=({},),
        scratch_candidates=({},),
    )
    study.run(tmp_path, encoder=load_encoder(done / "runs/masked-3/encoder"), settings=settings)
    for arm, run, piece in (
        ("random_probe", "random-xresnet1d10-3", "probe-1"),
        ("pretrained_probe", "masked-3", "probe-0.3"),
        ("pretrained_finetune", "masked-3", "finetune-0.3"),
        ("scratch", "random-xresnet1d10-3", "finetune-0.3"),
    ):
        there = np.load(tmp_path / "runs" / f"{arm}-{piece.split('-')[1]}-3" / "test_scores.npy")
        np.testing.assert_array_equal(scores(done, run, piece), there)


def test_differences_are_paired_with_the_reference_and_random_weights(study, done: Path) -> None:
    targets, patient = study.labels.targets[study.splits.test], study.labels.patient[study.splits.test]
    summary = pd.read_csv(done / "summary.csv").set_index(["metric", "arm", "fraction"])
    assert {arm for _, arm, _ in summary.index if " - " in arm} == {
        f"{a} {method} - {b} {method}"
        for method in ("probe", "finetune")
        for a, b in (("masked", "plain"), ("masked", "random-xresnet1d10"), ("plain", "random-xresnet1d10"))
    }
    raw = {}
    for name in ("plain", "masked"):
        for fraction in (0.3, 1.0):
            a, b = (
                np.stack([scores(done, f"{variant}-{seed}", f"probe-{fraction:g}") for seed in (3, 4)])
                for variant in (name, "random-xresnet1d10")
            )
            found = paired_difference(targets, a, b, patient, 50)["macro_auroc"]
            raw[f"{name} probe - random-xresnet1d10 probe", fraction] = found
    for key, found in raw.items():
        row = summary.loc[("macro_auroc", *key)]
        assert row[["mean", "low", "high"]].tolist() == pytest.approx(found[:3], abs=1e-4)
        assert row["detectable"] == pytest.approx(found.detectable, rel=1e-4)
        assert row["positives"] == found.positives < 10  # of the rarest class: no verdict
        assert np.isnan(row["p_value"])


def test_markdown_shows_validation_and_marks_its_best(done: Path) -> None:
    text = (done / "ablation.md").read_text()
    blocks = text.split("## ")[1:]
    assert [block.split(",")[0].split("\n")[0] for block in blocks] == [
        "Linear probe",
        "Linear probe",
        "Finetuning",
        "Pretraining",
    ]
    table = results(done)
    for block, (method, fraction) in zip(blocks, (("probe", 0.3), ("probe", 1.0), ("finetune", 0.3))):
        rows = table[(table["method"] == method) & (table["fraction"] == fraction)]
        validation = rows.groupby("variant")["validation_macro_auroc"].mean()
        cells = {line.split(" | ")[0].strip("| "): line.split(" | ") for line in block.splitlines() if "|" in line}
        for name, mean in validation.items():
            assert cells[name][2] == (f"**{mean:.3f}**" if mean == validation.max() else f"{mean:.3f}")
        assert f"{100 * fraction:g} % of the labels" in block


def test_markdown_says_what_is_simulated_and_where_an_interval_is_missing(done: Path) -> None:
    summary = pd.read_csv(done / "summary.csv").assign(low=np.nan, high=np.nan)
    table = results(done)
    families = {("probe", "random weights"): []}
    metrics, told = (MACRO_AUROC, MACRO_AUPRC), {"simulated": True}
    text = markdown(table, summary, list(table["variant"].unique()), families, metrics, told)
    assert text.startswith("**The outcomes are simulated**")
    assert "nan" not in text
    assert "(–)" in text
    assert "A dash in place of an interval: too few patients" in text
    plain = (done / "ablation.md").read_text()
    assert not any(words in plain for words in ("simulated", "A dash"))


def test_markdown_marks_the_smallest_error_and_says_which_way_is_better(done: Path) -> None:
    error = Metric("macro_auroc", "mean error", "Made up.", lower_is_better=True)
    summary, table = pd.read_csv(done / "summary.csv"), results(done)
    text = markdown(table, summary, list(table["variant"].unique()), {}, (error, MACRO_AUPRC))
    assert "test mean error, of which less is better" in text
    assert "| validation mean error | test mean error | test macro AUPRC |" in text
    rows = table[(table["method"] == "probe") & (table["fraction"] == 0.3)]
    validation = rows.groupby("variant")["validation_macro_auroc"].mean()
    assert validation.min() < validation.max()
    block = text.split("## ")[1]
    assert [line.split(" | ")[0].strip("| ") for line in block.splitlines() if "**" in line] == [
        name for name in rows["variant"].unique() if validation[name] == validation.min()
    ]
    said = json.loads((done / "ablation.json").read_text())
    assert {name: said[name] for name in ("metrics", "class_metrics")} == described_of_labels()


def test_stopped_ablation_continues_to_the_same_numbers(run, done: Path, tmp_path: Path, monkeypatch) -> None:
    save, saved = np.save, []

    def stop_in_the_fifth(path: Path, array: np.ndarray) -> None:
        if path.name == "test_scores.npy":
            saved.append(path)
        if len(saved) == 5:
            raise KeyboardInterrupt
        save(path, array)

    monkeypatch.setattr(np, "save", stop_in_the_fifth)
    few = (VARIANTS[:1], SETTINGS.replace(seeds=(3,)))
    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, *few)
    assert len(list(tmp_path.glob("runs/*/*/result.json"))) == 4
    run(tmp_path, *few)
    assert len(saved) == 5 + 2 * len(PIECES) - 4
    for name in ("random-xresnet1d10-3", "plain-3"):
        for piece in PIECES:
            np.testing.assert_array_equal(scores(tmp_path, name, piece), scores(done, name, piece))


def test_finished_runs_stay_while_variants_seeds_and_fractions_are_added(run, copied: Path, monkeypatch) -> None:
    ran: list[str] = []

    def remember(bench, variant, seed, folder, encoder=ablation._encoder):
        ran.append(folder.name)
        return encoder(bench, variant, seed, folder)

    monkeypatch.setattr(ablation, "_encoder", remember)
    times = {path: path.stat().st_mtime_ns for path in copied.glob("runs/*/*/*")}
    run(copied)
    assert not ran
    summary = run(copied, (*VARIANTS, variant("half", 0.5)), SETTINGS.replace(seeds=(3,)))
    assert ran == ["half-3"]
    assert set(summary.loc[~summary["arm"].str.contains(" - "), "seeds"]) == {1}
    run(copied, VARIANTS[:1], SETTINGS.replace(seeds=(3,), probe_fractions=(0.5,)))
    assert ran == ["half-3", "random-xresnet1d10-3", "plain-3"]
    assert {path: path.stat().st_mtime_ns for path in times} == times


def test_run_of_another_process_is_left_to_it(run, done: Path, copied: Path) -> None:
    shutil.rmtree(copied / "runs" / "plain-4" / "probe-1")
    with lock(copied / "runs" / "plain-4"):
        summary = run(copied)
    assert not (copied / "runs" / "plain-4" / "probe-1").exists()
    # What is there is paired by seed: seed 3 of one with seed 3 of the other.
    assert (
        summary.set_index(["arm", "fraction"]).loc[("plain probe - random-xresnet1d10 probe", 1.0), "seeds"].eq(1).all()
    )
    run(copied)
    assert (copied / "summary.csv").read_text() == (done / "summary.csv").read_text()


def test_other_settings_under_a_known_name_are_refused(run, study, copied: Path) -> None:
    with pytest.raises(ValueError, match=r"plain-3': holds .*: pretrain\.learning_rate: 0\.001 there, 0\.5 now"):
        run(copied, (variant("plain", learning_rate=0.5),))
    with pytest.raises(ValueError, match=r"plain-3': holds .*: finetune\.0\.learning_rate: [\d.e-]+ there, 0\.5 now"):
        run(copied, (VARIANTS[0].replace(finetune=(FINETUNE.replace(learning_rate=0.5),)),))
    targets = 1 - study.labels.targets
    with pytest.raises(ValueError, match=r"holds a run with other settings: classes\..*; labels\.sha256"):
        ablate(VARIANTS, study.archive, replace(study.labels, targets=targets), study.splits, copied, SETTINGS)


def test_failed_run_is_named_after_the_others_finished(run, tmp_path: Path, monkeypatch, caplog) -> None:
    def broken(archive, out, settings, *given, work=ablation.pretrain, **named):
        if settings.objective.options["augment"]["lead_masking"]:
            raise ValueError("learning_rate=1: the validation loss is not finite")
        return work(archive, out, settings, *given, **named)

    monkeypatch.setattr(ablation, "pretrain", broken)
    settings = SETTINGS.replace(seeds=(3,), probe_fractions=(1.0,), finetune_fractions=())
    with caplog.at_level(logging.ERROR), pytest.raises(ValueError, match=r"1 of 3 runs failed, see the log: masked-3"):
        run(tmp_path, VARIANTS[::-1], settings)
    assert "the validation loss is not finite" in caplog.text
    assert set(results(tmp_path)["variant"]) == {"random-xresnet1d10", "plain"}


def test_validation_chooses_among_candidates(run, tmp_path: Path) -> None:
    tried = tuple(FINETUNE.replace(learning_rate=rate) for rate in (1e-9, 0.03))
    candidates = VARIANTS[0].replace(finetune=tried, scratch=tried)
    run(tmp_path, (candidates,), SETTINGS.replace(seeds=(3,), probe_fractions=()))
    for name in ("plain", "random-xresnet1d10"):
        result = json.loads((tmp_path / "runs" / f"{name}-3" / "finetune-0.3" / "result.json").read_text())
        best = int(np.argmax(result["candidate_validation"]))
        assert (result["candidate"], result["learning_rate"]) == (best, (1e-9, 0.03)[best])
        assert result["validation_macro_auroc"] == max(result["candidate_validation"])


def test_every_distinct_backbone_has_random_weights_of_its_own() -> None:
    wide = variant("wide", backbone={"name": "xresnet1d10", "width": 8})
    other = variant("other", backbone="xresnet1d18")
    found = random_weights([*VARIANTS, wide, other])
    names = {name: baseline.name for name, baseline in found.items()}
    assert names == {
        "plain": "random-xresnet1d10",
        "masked": "random-xresnet1d10",
        "wide": "random-xresnet1d10-wide",
        "other": "random-xresnet1d18",
    }
    assert found["wide"].pretrain.backbone.options["width"] == 8
    assert found["wide"].finetune == wide.scratch


@pytest.mark.parametrize(
    ("variants", "settings", "message"),
    [
        ((), SETTINGS, "reference=None: choose one of the variants"),
        (VARIANTS, SETTINGS.replace(reference="magic"), r"reference='magic': .*'plain', 'masked'"),
        ((*VARIANTS, VARIANTS[0]), SETTINGS, "give each a name of its own"),
        ((variant("random-xresnet1d10"),), SETTINGS, "give each a name of its own"),
        ((variant("a", objective="mae", backbone="xresnet1d10"),), SETTINGS, "variant a: backbone="),
        (VARIANTS, SETTINGS.replace(probe_fractions=(0.001,)), "fractions=0.001"),
    ],
)
def test_what_cannot_run_is_refused_before_anything_is_written(
    run, tmp_path: Path, variants: tuple[Variant, ...], settings: AblateSettings, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        run(tmp_path, variants, settings)
    assert not list(tmp_path.iterdir())


def test_unfair_or_impossible_settings_are_refused() -> None:
    with pytest.raises(ValueError, match=r"a: finetune has \['steps=4'\], scratch \['steps=5'\]"):
        variant("a").replace(scratch=(SCRATCH.replace(steps=5),))
    with pytest.raises(ValueError, match=r"a: finetune has \['steps=4'\], scratch \['steps=4', 'steps=4'\]"):
        variant("a").replace(scratch=(SCRATCH, SCRATCH))
    with pytest.raises(ValueError, match="name='a b'"):
        variant("a b")
    with pytest.raises(ValueError, match=r"probe_fractions.0=2.0: must be less than or equal to 1"):
        AblateSettings(probe_fractions=(2.0,))
    with pytest.raises(ValueError, match=r"seeds=\[1, 1\]"):
        AblateSettings(seeds=(1, 1))
