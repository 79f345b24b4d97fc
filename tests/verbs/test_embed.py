"""Features of files are those of their archive, one row per record."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import ssl_ecg
from ssl_ecg.cli import main


def test_files_have_the_features_of_their_archive(ward: Path, model: Path, tmp_path: Path) -> None:
    archive = ssl_ecg.ingest(
        ward, tmp_path / "archive", duration=5, min_duration=4, workers=1, progress=False, patients=None
    ).archive
    table = ssl_ecg.embed(model, ward, tmp_path / "out", workers=1)
    assert set(table["record_id"]) == set(archive.manifest["record_id"])
    encoder = ssl_ecg.load_encoder(model)
    with torch.inference_mode():
        wanted = encoder(*map(torch.from_numpy, archive.read(np.arange(4)))).numpy()
    of_files = table.set_index("record_id").loc[archive.manifest["record_id"]]
    np.testing.assert_allclose(of_files, wanted, atol=1e-5)
    of_archive = ssl_ecg.embed(encoder, archive)
    np.testing.assert_allclose(of_archive.iloc[:, 1:], wanted, atol=1e-5)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "out" / "embeddings.parquet"), table, check_dtype=False)
    array = np.load(tmp_path / "out" / "embeddings.npy")
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, table.iloc[:, 1:])
    left_out = pd.read_csv(tmp_path / "out" / "left_out.csv")
    assert list(left_out["record_id"]) == ["flat"]
    assert left_out["reason"].iloc[0].startswith("flat lead")


def test_the_command_line(ward: Path, model: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "out"
    assert main(["embed", str(model), str(ward), str(out), "workers=1"]) == 0
    printed = capsys.readouterr().out
    assert "4 records, 64 features each" in printed
    assert "1 records were left out" in printed
    assert main(["embed", str(model), str(ward / "bed" / "ecg1.hea"), str(out)]) == 0
    assert not (out / "left_out.csv").exists()
    assert len(np.load(out / "embeddings.npy")) == 1
    assert main(["embed", str(model), str(ward / "notes.txt"), str(out)]) == 0
    assert np.load(out / "embeddings.npy").shape == (0, 64)
    assert main(["embed", str(model), str(ward), str(model)]) == 2
    assert "holds config.json of another command" in capsys.readouterr().err
