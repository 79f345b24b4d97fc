"""What a source never labels is unknown there, unless a model of another source is sure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ssl_ecg
from ssl_ecg.archive import Archive
from ssl_ecg.labels.cross_labels import cross_label, never_labelled

TARGETS = np.array([[1, 0], [0, 0], [0, 1], [np.nan, 1]], np.float32)
SOURCE = ["a", "a", "b", "b"]
UNKNOWN = [[False, True], [False, True], [True, False], [True, False]]


def test_a_class_without_a_single_positive_of_a_source_is_unknown_there() -> None:
    assert never_labelled(TARGETS, SOURCE).tolist() == UNKNOWN
    np.testing.assert_array_equal(cross_label(TARGETS, UNKNOWN), [[1, np.nan], [0, np.nan], [np.nan, 1], [np.nan, 1]])


def test_a_model_fills_in_what_it_is_sure_of_and_nothing_else() -> None:
    scores = np.array([[0.0, 0.9], [1.0, 0.5], [0.1, 0.0], [np.nan, 0.0]])
    np.testing.assert_array_equal(cross_label(TARGETS, UNKNOWN, scores), [[1, 1], [0, np.nan], [0, 1], [np.nan, 1]])
    with pytest.raises(ValueError, match=r"below=0.9, above=0.1: choose"):
        cross_label(TARGETS, UNKNOWN, scores, above=0.1, below=0.9)


@pytest.mark.slow
def test_a_table_of_two_sources_is_relabelled_by_the_verb(tmp_path: Path) -> None:
    archive = ssl_ecg.synthesize(tmp_path / "archive", records=120, seed=1, duration=5, workers=1)
    ids = archive.manifest["record_id"]
    source = np.where(np.arange(120) < 90, "a", "b")
    table = pd.DataFrame(
        {
            "record_id": ids,
            "x": (np.arange(120) % 2) * (source == "a"),
            "y": (np.arange(120) % 3 == 0) * 1,
            "source": source,
        }
    )
    counts = ssl_ecg.relabel(archive, table, tmp_path / "new.csv")
    assert counts.to_numpy().tolist() == [["b", "x", 30, 30, 0, 0]]
    new = pd.read_csv(tmp_path / "new.csv")
    assert list(new) == ["record_id", "x", "y"]
    assert new["x"].isna().tolist() == (source == "b").tolist()
    ssl_ecg.probe(None, archive, table[["record_id", "x", "y"]][:90], tmp_path / "model", backbone="clocs")
    filled = ssl_ecg.relabel(
        archive, table, tmp_path / "filled.csv", models=[str(tmp_path / "model")], above=0.5001, below=0.5
    )
    assert filled.loc[0, ["filled_1", "filled_0"]].sum() == 30
    with pytest.raises(ValueError, match=r"models: .* predicts none of y"):
        ssl_ecg.relabel(
            archive, table, tmp_path / "z.csv", classes=["y"], models=[str(_of_x(archive, table, tmp_path))]
        )


def _of_x(archive: Archive, table: pd.DataFrame, folder: Path) -> Path:
    ssl_ecg.probe(None, archive, table[["record_id", "x"]][:90], folder / "of_x", backbone="clocs")
    return folder / "of_x"
