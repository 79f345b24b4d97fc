"""Files of a manifest that are written without all rows in memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pandas as pd
import pytest

from ssl_ecg.archive import manifest
from ssl_ecg.archive.manifest import joined, read_manifest, write_manifest

TABLES = [
    pd.DataFrame(
        {
            "record_id": pd.array(["a", "b"], dtype="string"),
            "sex": pd.array(["male", None], dtype="string"),
            "when": pd.array(["2020-01-01", None], dtype="datetime64[us]"),
            "weight": [70, 80],
            "pace": [True, False],
            "a.b": [1.5, None],
        }
    ),
    pd.DataFrame({"record_id": pd.array(["c"], dtype="string"), "weight": [61.5], "ward": ["3"], "height": [170]}),
    pd.DataFrame({"record_id": pd.array(["d"], dtype="string"), "pace": [True], "number": [7], "when": [pd.NaT]}),
]


@pytest.mark.parametrize("rows", [1, 3, 100])
def test_tables_are_joined_as_all_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(manifest, "ROWS_PER_GROUP", rows)
    read: list[int] = []

    def tables() -> Iterator[pd.DataFrame]:
        for number, table in enumerate(TABLES):
            read.append(number)
            yield table

    digest = write_manifest(tmp_path / "manifest.parquet", tables)
    got = read_manifest(tmp_path, {"manifest_sha256": digest})
    joined(TABLES).to_parquet(tmp_path / "whole.parquet", index=False)
    expected = pd.read_parquet(tmp_path / "whole.parquet")
    pd.testing.assert_frame_equal(got.assign(sex=got["sex"].astype("string")), expected)
    assert read == [0, 1, 2, 0, 1, 2]
