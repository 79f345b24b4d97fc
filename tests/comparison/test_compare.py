from __future__ import annotations

import errno
import importlib
import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import average_precision_score, roc_auc_score

import ssl_ecg
from ssl_ecg.comparison import check_unseen
from ssl_ecg.comparison.arms import ARMS as ALL_ARMS
from ssl_ecg.comparison.arms import PRIORS, SYNTHETIC, candidate_settings, random_encoder
from ssl_ecg.labels import LabelTable, Splits, SplitSettings, nested_fractions
from ssl_ecg.runs import FolderInUseError, lock
from ssl_ecg.settings import SettingsError
from ssl_ecg.training import FinetuneSettings, extract_features, patient_hash

pytestmark = pytest.mark.slow

# ``ssl_ecg.comparison.compare`` as an attribute is the function; the module holds what is spied on.
module = importlib.import_module("ssl_ecg.comparison.compare")
experiment_module = importlib.import_module("ssl_ecg.comparison.experiment")
arms = importlib.import_module("ssl_ecg.comparison.arms")
# Without the arms of the encoder that ships, which reads ten seconds, and without what is made of them.
ARMS = tuple(arm for arm in ALL_ARMS if arm not in {*SYNTHETIC, *PRIORS, "scratch_blend"})


def results(folder: Path) -> pd.DataFrame:
    return pd.read_csv(folder / "results.csv")


def scores_of(folder: Path) -> dict[str, np.ndarray]:
    return {path.parent.name: np.load(path) for path in sorted(folder.glob("runs/*/test_scores.npy"))}


def test_writes_one_row_a_run_and_the_published_columns(finished: Path) -> None:
    written = {path.name for path in finished.iterdir()}
    assert written == {
        *("comparison.json", "curves.csv", "models", "per_class.csv", "results.csv", "runs", "summary.csv")
    }
    table = results(finished)
    assert len(table) == len(ARMS) * 2 * 2
    assert not table.duplicated(["arm", "fraction", "seed"]).any()
    summary = pd.read_csv(finished / "summary.csv")
    assert list(summary.columns[:8]) == ["task", "arm", "fraction", "seeds", "metric", "mean", "low", "high"]
    alone = summary[~summary["arm"].str.contains(" - ")]
    assert set(zip(alone["arm"], alone["fraction"], alone["metric"])) == {
        (arm, fraction, metric) for arm in ARMS for fraction in (0.3, 1.0) for metric in ("macro_auroc", "macro_auprc")
    }
    assert (summary["low"] <= summary["mean"]).all()
    assert (summary["mean"] <= summary["high"]).all()
    assert list(summary.columns[8:]) == ["positives", "negatives", "p_value", "detectable"]
    difference = summary["arm"].str.contains(" - ")
    enough = difference & (summary[["positives", "negatives"]].min(axis=1) >= 10)
    assert summary.loc[enough, "p_value"].between(0, 1).all()
    assert (summary.loc[difference, "detectable"] >= 0).all()  # 0 where a blend is one of its members
    assert summary.loc[~difference, ["p_value", "detectable"]].isna().all(axis=None)


def test_numbers_are_those_of_the_stored_scores(study, finished: Path) -> None:
    targets, scores = study.labels.targets[study.splits.test], scores_of(finished)
    table = results(finished).set_index(["arm", "fraction", "seed"])
    for (arm, fraction, seed), row in table.iterrows():
        run = scores[f"{arm}-{fraction:g}-{seed}"]
        assert row["macro_auroc"] == pytest.approx(roc_auc_score(targets, run, average="macro"))
        assert row["macro_auprc"] == pytest.approx(average_precision_score(targets, run, average="macro"))
    summary = pd.read_csv(finished / "summary.csv").set_index(["metric", "arm", "fraction"])
    means = table.groupby(["arm", "fraction"])["macro_auroc"].mean()
    for key, mean in means.items():
        assert summary.loc[("macro_auroc", *key), "mean"] == pytest.approx(mean, rel=1e-4)
    difference = summary.loc[("macro_auroc", "pretrained_finetune - scratch", 1.0), "mean"]
    assert difference == pytest.approx(means["pretrained_finetune", 1.0] - means["scratch", 1.0], abs=1e-4)


def test_loggers_hear_of_every_run_by_its_name(finished: Path) -> None:
    lines = pd.read_json(finished.with_name("comparison.logs") / "metrics.jsonl", lines=True)
    heard = {name.partition("/")[0] for name in lines.columns if "/" in name}
    assert heard == {folder.name for folder in (finished / "runs").iterdir()}
    curve = pd.read_csv(finished / "runs" / "scratch-1-3" / "curve.csv")
    logged = lines[["step", "scratch-1-3/validation_macro_auroc"]].dropna()
    assert logged["step"].tolist() == curve["step"].tolist()
    assert logged.iloc[:, 1].tolist() == pytest.approx(curve["validation_macro_auroc"].tolist())


def test_per_class_table_counts_positives_and_agrees_with_scikit_learn(study, finished: Path) -> None:
    targets, scores = study.labels.targets[study.splits.test], scores_of(finished)
    table = pd.read_csv(finished / "per_class.csv").set_index(["arm", "fraction", "class"])
    for c, name in enumerate(study.labels.classes):
        row = table.loc[("scratch", 1.0, name)]
        assert row["positives_test"] == targets[:, c].sum()
        each = [roc_auc_score(targets[:, c], scores[f"scratch-1-{seed}"][:, c]) for seed in (3, 4)]
        assert row["auroc"] == pytest.approx(np.mean(each), rel=1e-4)
        known = study.labels.targets[:, c]
        assert row["positives_validation"] == known[study.splits.validation].sum()
        assert row["positives_train"] == known[study.splits.train].sum()
        few = [nested_fractions(study.labels, study.splits.train, (0.3, 1.0), seed)[0.3] for seed in (3, 4)]
        assert table.loc[("scratch", 0.3, name), "positives_train"] == np.mean([known[index].sum() for index in few])


def test_labels_are_nested_and_shared_by_all_arms(study, small, tmp_path: Path, monkeypatch) -> None:
    used: dict[tuple[str, int, float], set[int]] = {}

    def remember(experiment, cache, arm, fraction, seed, run=module.run) -> None:
        def probe(features, targets, train, *further, fit=arms.run_probe):
            used[arm, seed, fraction] = set(train.tolist())
            return fit(features, targets, train, *further)

        def trained(encoder, task, archive, train, *further, fit=arms.run_trained):
            index = {row: i for i, row in enumerate(study.labels.rows)}
            used[arm, seed, fraction] = {index[row] for row in train[0]}
            return fit(encoder, task, archive, train, *further)

        monkeypatch.setattr(experiment_module, "run_probe", probe)
        monkeypatch.setattr(experiment_module, "run_trained", trained)
        return run(experiment, cache, arm, fraction, seed)

    monkeypatch.setattr(module, "run", remember)
    study.run(tmp_path, settings=small(arms=("pretrained_probe", "scratch"), fractions=(0.2, 0.5, 1.0)))
    for seed in (3, 4):
        for fraction in (0.2, 0.5, 1.0):
            assert used["pretrained_probe", seed, fraction] == used["scratch", seed, fraction]
        assert used["scratch", seed, 0.2] < used["scratch", seed, 0.5] < used["scratch", seed, 1.0]
        assert used["scratch", seed, 1.0] == set(study.splits.train.tolist())
    assert used["scratch", 3, 0.2] != used["scratch", 4, 0.2]


def test_finished_runs_are_not_run_again(study, finished: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (finished / "summary.csv").read_bytes()
    times = {path: path.stat().st_mtime_ns for path in finished.glob("runs/*/*")}

    def never(*_: object) -> None:
        raise AssertionError("a finished run was run again")

    monkeypatch.setattr(module, "run", never)
    study.run(finished)
    assert (finished / "summary.csv").read_bytes() == before
    assert {path: path.stat().st_mtime_ns for path in finished.glob("runs/*/*")} == times


@pytest.mark.parametrize("stop", [KeyboardInterrupt(), OSError(errno.ENOSPC, "No space left on device")])
def test_stopped_comparison_continues_to_the_same_numbers(
    study, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop: BaseException
) -> None:
    save, saved = np.save, []

    def stop_in_the_seventh(path: Path, scores: np.ndarray) -> None:
        if path.name == "test_scores.npy":
            saved.append(path)
        if len(saved) == 7:
            raise stop
        save(path, scores)

    monkeypatch.setattr(np, "save", stop_in_the_seventh)
    with pytest.raises(type(stop)):
        study.run(tmp_path)
    assert len(list(tmp_path.glob("runs/*/result.json"))) == 6
    study.run(tmp_path)
    assert len(saved) == 7 + len(ARMS) * 2 * 2 - 6
    assert (tmp_path / "summary.csv").read_text() == (finished / "summary.csv").read_text()


def test_a_run_is_whole_or_absent(
    study, small, finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Path, target: Path, replace=Path.replace) -> Path:
        if self.name == "result.json":
            raise OSError(errno.ENOSPC, "No space left on device")
        return replace(self, target)

    settings = small(arms=("random_probe",), fractions=(1.0,), seeds=(3,))
    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", full)
        with pytest.raises(OSError, match="No space left"):
            study.run(tmp_path, settings=settings)
    assert not list(tmp_path.glob("runs/*/result.json"))
    study.run(tmp_path, settings=settings)
    assert scores_of(tmp_path)["random_probe-1-3"].tolist() == scores_of(finished)["random_probe-1-3"].tolist()


def test_a_folder_that_another_process_works_in_is_refused(study, finished: Path) -> None:
    with lock(finished), pytest.raises(FolderInUseError, match=rf"out={str(finished)!r}: another process"):
        study.run(finished)


def test_another_comparison_in_the_same_folder_is_refused_by_name(study, small, finished: Path) -> None:
    with pytest.raises(
        ValueError, match=r"other settings: settings\.replicates: 50 there, 60 now; choose another folder"
    ):
        study.run(finished, settings=small(replicates=60))
    other = SplitSettings(seed=1, validation=0.25, test=0.35).split(study.labels)
    with pytest.raises(ValueError, match=r"other settings: .*labels\.sha256: "):
        study.run(finished, splits=other)
    swapped = study.labels.targets.copy()
    test = study.splits.test
    swapped[test] = swapped[np.roll(test, 1)]
    with pytest.raises(ValueError, match=r"other settings: labels\.sha256: '\w+' there, '\w+' now;"):  # counts agree
        study.run(finished, labels=replace(study.labels, targets=swapped))


def test_seen_test_patients_are_refused_unless_allowed(study, small, tmp_path: Path, caplog) -> None:
    patient = study.archive.manifest["patient_id"].iloc[study.labels.rows[study.splits.test[0]]]
    encoder = random_encoder(study.encoder, 0)
    encoder.patients = frozenset({patient_hash(patient)})
    with pytest.raises(ValueError, match=f"1 of .* test patients are among those .*{patient_hash(patient)}"):
        study.run(tmp_path, encoder=encoder)
    assert not list(tmp_path.iterdir())
    check_unseen(encoder, study.archive, study.labels.rows[study.splits.train])
    study.run(tmp_path, encoder=encoder, settings=small(arms=("pretrained_probe",), seen_patients="test"))
    assert "test patients are among those the encoder learned from" in caplog.text
    with pytest.raises(ValueError, match="seen_patients='leave_out': must be 'refuse' or 'test'"):
        study.run(tmp_path, settings=small(seen_patients="leave_out"))


def test_simulated_outcomes_are_recorded_also_where_an_earlier_folder_lacks_it(study, small, tmp_path: Path) -> None:
    settings = small(arms=("random_probe",), fractions=(1.0,), seeds=(3,))
    study.run(tmp_path, settings=settings)
    assert "simulated" not in json.loads((tmp_path / "comparison.json").read_text())
    study.run(tmp_path, settings=settings, labels=replace(study.labels, simulated=True))
    assert json.loads((tmp_path / "comparison.json").read_text())["simulated"]


def test_patients_in_two_splits_are_refused(study, tmp_path: Path) -> None:
    splits = study.splits
    leaking = Splits(splits.train, splits.validation, np.sort(np.append(splits.test, splits.train[0])))
    with pytest.raises(ValueError, match="1 patients are in train and in test"):
        study.run(tmp_path, splits=leaking)


def test_choices_and_scores_do_not_depend_on_test_labels(study, finished: Path, tmp_path: Path) -> None:
    targets = study.labels.targets.copy()
    targets[study.splits.test] = 1 - targets[study.splits.test]
    study.run(tmp_path, labels=replace(study.labels, targets=targets))
    here, there = results(tmp_path), results(finished)
    chosen = ["arm", "fraction", "seed", "C", "candidate", "learning_rate", "step", "validation_macro_auroc"]
    pd.testing.assert_frame_equal(here[chosen], there[chosen])
    ours, theirs = scores_of(tmp_path), scores_of(finished)
    assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)
    assert (here["macro_auroc"] + there["macro_auroc"]).to_numpy() == pytest.approx(1)  # the labels were turned round


def test_first_seed_chooses_the_candidate_of_all(study, small, tmp_path: Path, monkeypatch) -> None:
    tried: list[float] = []

    def remember(encoder, task, archive, train, validation, settings, run=arms.finetune, **further):
        tried.append(settings.learning_rate)
        return run(encoder, task, archive, train, validation, settings, **further)

    monkeypatch.setattr(arms, "finetune", remember)
    study.run(tmp_path, settings=small(arms=("scratch",), fractions=(1.0,), seeds=(3, 4, 5)))
    runs = [json.loads((tmp_path / "runs" / f"scratch-1-{seed}" / "result.json").read_text()) for seed in (3, 4, 5)]
    best = int(np.argmax(runs[0]["candidate_validation"]))
    assert len(runs[0]["candidate_validation"]) == 2
    assert [run["candidate"] for run in runs] == [best] * 3
    rate = (1e-3, 1e-2)[best]
    assert tried == [1e-3, 1e-2, rate, rate]
    assert [run["learning_rate"] for run in runs] == [rate] * 3


def test_frozen_features_are_extracted_once_and_found_by_archive_row(study, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def extract(encoder, archive, rows, run=arms.extract_features):
        calls.append(len(rows))
        return run(encoder, archive, rows)

    monkeypatch.setattr(arms, "extract_features", extract)
    cache = arms.FeatureCache(study.archive, study.labels.rows[::-1])
    features = cache.of("pretrained", study.encoder)
    assert not calls
    rows = study.labels.rows[[70, 2, 9]]
    expected = extract_features(study.encoder, study.archive, rows)
    np.testing.assert_allclose(features(rows), expected, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(features(rows[1:]), features(rows)[1:])
    np.testing.assert_array_equal(cache.get("pretrained", study.encoder)[::-1][[70, 2, 9]], features(rows))
    assert calls == [len(study.labels)]


def test_fraction_that_teaches_nothing_is_refused_before_anything_runs(study, small, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"fractions=0.01: with seed 3 its \d+ labelled records hold both outcomes of"):
        study.run(tmp_path, settings=small(fractions=(0.01, 1.0)))
    assert not list(tmp_path.iterdir())


def test_class_without_a_training_positive_is_named_in_the_run_and_the_warnings(study, small, tmp_path: Path) -> None:
    targets = study.labels.targets.copy()
    targets[study.splits.train, 2] = 0
    labels = replace(study.labels, targets=targets)
    study.run(tmp_path, labels=labels, settings=small(arms=("random_probe", "scratch"), fractions=(1.0,), seeds=(0,)))
    for arm in ("random_probe", "scratch"):
        run = json.loads((tmp_path / "runs" / f"{arm}-1-0" / "result.json").read_text())
        assert run["undetermined"] == ["st_depression"]
    warnings = json.loads((tmp_path / "comparison.json").read_text())["warnings"]
    assert warnings == ["train has no positive record of 1 classes: st_depression"]


def test_what_cannot_be_learned_is_said_once_and_by_name(study, tmp_path: Path, caplog) -> None:
    folds = np.zeros(len(study.labels), dtype=np.int64)
    folds[study.splits.validation], folds[study.splits.test] = 1, 2
    table = pd.DataFrame(study.labels.targets, columns=study.labels.classes).assign(fold=folds, never=0)
    table.insert(0, "record_id", study.archive.manifest["record_id"].iloc[study.labels.rows].to_numpy())
    first = [nested_fractions(study.labels, study.splits.train, (0.3,), seed)[0.3] for seed in (3, 4)]
    rare = np.setdiff1d(study.splits.train, np.concatenate(first))[0]
    table["rare"] = 0
    table.loc[[rare, study.splits.validation[0], study.splits.test[0]], "rare"] = 1
    given = {"arms": ("random_probe", "pretrained_probe"), "fractions": (0.3, 1.0), "seeds": (3, 4), "replicates": 50}
    split = SplitSettings(validation_folds=(1,), test_folds=(2,))
    with caplog.at_level(logging.WARNING):
        ssl_ecg.compare(study.encoder, study.archive, table, tmp_path, split=split, progress=False, **given)
    said = [record.getMessage() for record in caplog.records]
    assert not [line for line in said if "labels [" in line]
    for part in ("train", "validation", "test"):
        assert sum(line == f"{part} has no positive record of 1 classes: never" for line in said) == 1
    assert len([line for line in said if "never" in line]) == 3
    assert len(said) == len(set(said))


def test_classes_that_only_small_fractions_lack_are_said_once(caplog) -> None:
    patients = np.arange(40)
    targets = np.column_stack([patients % 2, patients != 7]).astype(np.float32)  # one patient is without the second
    targets[[30, 35], 1] = 0
    labels = LabelTable(targets, ("often", "nearly_always"), patients, patients, patients.astype(str).astype(object))
    splits = Splits(patients[:30], patients[30:35], patients[35:])
    with caplog.at_level(logging.WARNING):
        module.check_fractions(labels, splits, (0.2, 1.0), range(5))
    assert [record.getMessage() for record in caplog.records] == [
        "with some seed these fractions cannot teach all classes: 20 %: nearly_always"
    ]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": ("scratch", "magic")}, r"arms.1='magic': must be 'random_probe'"),
        ({"fractions": (0.0, 1.0)}, "fractions.0=0.0: must be greater than 0"),
        ({"fractions": ()}, r"fractions=\(\): must have at least 1 item"),
        ({"seeds": (0, 0)}, r"seeds=\[0, 0\]: name each once"),
        ({"scratch_candidates": ({},)}, "1 against 2 pretrained_candidates; give both arms the same number"),
        (
            {"scratch": FinetuneSettings(steps=7)},
            "scratch.steps=7: give both arms the same budget, that of pretrained_finetune.steps=6",
        ),
    ],
)
def test_unfair_or_impossible_settings_are_refused(small: Callable, changes: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        small(**changes)


def test_candidates_change_the_base_and_misspelt_ones_are_named() -> None:
    base = FinetuneSettings(steps=5, learning_rate=1e-3)
    first, second = candidate_settings(base, [{"learning_rate": 0.1}, {"layer_decay": 0.5}], seed=9)
    assert (first.learning_rate, first.layer_decay, first.seed) == (0.1, base.layer_decay, 9)
    assert (second.learning_rate, second.layer_decay, second.steps) == (1e-3, 0.5, 5)
    assert candidate_settings(base, [], seed=9) == [base.replace(seed=9)]
    with pytest.raises(SettingsError, match=r"learning_rat=0\.1: .* did you mean learning_rate"):
        candidate_settings(base, [{"learning_rat": 0.1}], seed=0)


def test_random_encoder_is_the_same_network_with_weights_of_its_seed(study) -> None:
    same, again, other = (random_encoder(study.encoder, seed).state_dict() for seed in (1, 1, 2))
    assert same.keys() == study.encoder.state_dict().keys()
    assert all(bool((same[name] == again[name]).all()) for name in same)
    assert any(bool((same[name] != other[name]).any()) for name in same)
