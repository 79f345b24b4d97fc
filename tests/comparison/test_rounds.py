"""Several pretrainings and several rounds of test patients in one comparison, and validation that shrinks."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import ssl_ecg
from ssl_ecg.backbones import Encoder, save_encoder
from ssl_ecg.comparison import Round, check_unseen, compare, rounds_of
from ssl_ecg.comparison.arms import random_encoder
from ssl_ecg.labels import LabelTable, SplitSettings, nested_fractions
from ssl_ecg.runs import patient_hash

pytestmark = pytest.mark.slow


def held_out(encoder: Encoder, seed: int, split: SplitSettings | None, labels: LabelTable) -> Encoder:
    """Return a network of other weights that says it was held out by a split."""
    made = random_encoder(encoder, seed)
    made.origin = {} if split is None else {"split": dict(split.split(labels).how)}
    return made


@pytest.fixture(scope="module")
def table(study) -> LabelTable:
    """The labels, with three folds by patient."""
    return replace(study.labels, fold=study.labels.patient % 3)


def by_fold(test: int, validation: int) -> SplitSettings:
    return SplitSettings(validation_folds=(validation,), test_folds=(test,))


def test_encoders_are_grouped_by_who_was_held_out(study, table) -> None:
    ways = [by_fold(0, 1), by_fold(1, 2)]
    encoders = [held_out(study.encoder, seed, way, table) for way in ways for seed in (0, 1)]
    rounds = rounds_of(encoders, table, SplitSettings())
    assert [one.encoders for one in rounds] == [tuple(encoders[:2]), tuple(encoders[2:])]
    for number, one in enumerate(rounds):
        assert set(table.fold[one.splits.test]) == {number}
    (alone,) = rounds_of(encoders[:2], table, by_fold(2, 0))  # one group: the caller's split
    assert set(table.fold[alone.splits.test]) == {2}


def test_encoders_that_cannot_stand_together_are_refused(study, table) -> None:
    first = held_out(study.encoder, 0, by_fold(0, 1), table)
    with pytest.raises(ValueError, match="some were pretrained without holdout="):
        rounds_of([first, held_out(study.encoder, 1, None, table)], table, SplitSettings())
    with pytest.raises(ValueError, match=r"\d+ patients test in two rounds"):
        rounds_of([first, held_out(study.encoder, 1, by_fold(0, 2), table)], table, SplitSettings())
    other = Encoder("xresnet1d10", {"width": 8}, study.archive.settings)
    with pytest.raises(ValueError, match="2 different networks"):
        rounds_of([first, other], table, SplitSettings())


def test_each_round_tests_its_own_patients_and_metrics_are_averaged(study, small, table, tmp_path: Path) -> None:
    rounds = [
        Round(tuple(held_out(study.encoder, seed + 10 * test, by_fold(test, 2), table) for seed in (0, 1)), splits)
        for test, splits in ((0, by_fold(0, 2).split(table)), (1, by_fold(1, 2).split(table)))
    ]
    settings = small(arms=("pretrained_probe",), fractions=(1.0,), seeds=(3,), probe_draws=4)
    summary = compare(rounds, study.archive, table, tmp_path, settings, progress=False)
    results = pd.read_csv(tmp_path / "results.csv").set_index(["arm", "seed", "round"]).sort_index()
    assert len(results) == 4 * 2  # draws, rounds
    for number, one in enumerate(rounds, 1):
        scores = np.load(tmp_path / "runs" / f"pretrained_probe-1-3-round{number}" / "test_scores.npy")
        truth = roc_auc_score(table.targets[one.splits.test], scores, average="macro")
        assert results.loc[("pretrained_probe", 3, number), "macro_auroc"] == pytest.approx(truth)
    rows = summary[summary["metric"] == "macro_auroc"].set_index("arm")
    assert rows.loc["pretrained_probe", "mean"] == pytest.approx(results.loc["pretrained_probe", "macro_auroc"].mean())
    assert rows.loc["pretrained_probe", "seeds"] == 4
    tested = pd.read_csv(tmp_path / "per_class.csv")["positives_test"]
    every = np.concatenate([one.splits.test for one in rounds])
    assert tested[:3].tolist() == np.nansum(table.targets[every], axis=0).tolist()
    # Both pretrainings stand behind the draws: the seed says which, so that all labels of odd seeds share one.
    known = json.loads((tmp_path / "comparison.json").read_text())
    assert [len(one["encoders"]) for one in known["rounds"]] == [2, 2]
    scores = {
        seed: np.load(tmp_path / "runs" / f"pretrained_probe-1-{seed}-round1" / "test_scores.npy") for seed in range(4)
    }
    assert np.array_equal(scores[1], scores[3])  # all labels, the same pretraining
    assert not np.array_equal(scores[1], scores[2])


def test_patients_that_a_round_has_seen_are_refused(study, small, table, tmp_path: Path) -> None:
    splits = by_fold(0, 1).split(table)
    seen = study.archive.manifest["patient_id"].iloc[table.rows[splits.test[0]]]
    clean, spoilt = (held_out(study.encoder, seed, by_fold(0, 1), table) for seed in (0, 1))
    spoilt.patients = frozenset({patient_hash(seen)})
    check_unseen(clean, study.archive, table.rows[splits.test])
    with pytest.raises(ValueError, match=r"1 of .* test patients are among those"):
        compare([Round((clean, spoilt), splits)], study.archive, table, tmp_path, small(), progress=False)


def test_nested_validation_shrinks_with_the_labels(study, small, tmp_path: Path) -> None:
    settings = small(arms=("random_probe", "pretrained_probe"), validation="nested", seeds=(3,), probe_draws=1)
    study.run(tmp_path, settings=settings)
    results = pd.read_csv(tmp_path / "results.csv").set_index(["arm", "fraction"])
    all_ = study.splits.validation
    few = nested_fractions(study.labels, all_, (0.3, 1.0), 3)[0.3]
    for arm in ("random_probe", "pretrained_probe"):
        assert results.loc[(arm, 0.3), "validation_records"] == len(few) < len(all_)
        assert results.loc[(arm, 1.0), "validation_records"] == len(all_)
        assert len(np.load(tmp_path / "runs" / f"{arm}-0.3-3" / "validation_scores.npy")) == len(few)
    with pytest.raises(ValueError, match=r"hold both outcomes of no class that \d validation records can score"):
        study.run(tmp_path / "never", settings=small(validation="nested", fractions=(0.04, 1.0)))


def test_a_folder_of_encoders_is_compared_as_several(study, small, table, tmp_path: Path) -> None:
    for seed in (0, 1):
        save_encoder(held_out(study.encoder, seed, by_fold(0, 1), table), tmp_path / "encoders" / f"seed{seed}", "")
    frame = pd.DataFrame(table.targets, columns=table.classes).assign(fold=table.fold)
    frame.insert(0, "record_id", study.archive.manifest["record_id"].iloc[table.rows].to_numpy())
    given = {"arms": ["pretrained_probe"], "fractions": [1.0], "seeds": [0, 1], "probe_draws": 2, "replicates": 20}
    ssl_ecg.compare(
        tmp_path / "encoders", study.archive, frame, tmp_path / "out", split=by_fold(0, 1), progress=False, **given
    )
    scores = [np.load(tmp_path / "out" / "runs" / f"pretrained_probe-1-{seed}" / "test_scores.npy") for seed in (0, 1)]
    assert not np.array_equal(*scores)


def test_an_arm_that_more_labels_do_not_help_is_named(study, small, tmp_path: Path, caplog) -> None:
    arms = ("random_probe", "pretrained_probe")
    study.run(tmp_path, settings=small(arms=arms, seeds=(3,), probe_draws=1))
    results = pd.read_csv(tmp_path / "results.csv").set_index(["arm", "fraction"])["macro_auroc"]
    for arm in arms:
        said = f"{arm}: no better with 100 % of the labels than with 30 %" in caplog.text
        assert said == (results[arm, 1.0] <= results[arm, 0.3])
