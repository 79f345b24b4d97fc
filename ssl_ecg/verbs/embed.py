"""New ECGs become feature vectors: for a search, a map, or a model of one's own."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pandas as pd

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder, load_encoder
from ssl_ecg.runs import lock, whole_folder, write_atomically, write_csv
from ssl_ecg.verbs._records import RecordSettings, batches, computed, refuse_other
from ssl_ecg.verbs.verb import console, verb

LAST = "embeddings.parquet"


def show(table: pd.DataFrame, encoder: str, source: str, out: str | None = None) -> None:
    """Print how many records have features."""
    console.print(f"{len(table)} records, {table.shape[1] - 1} features each")
    if out is not None:
        left_out = Path(out) / "left_out.csv"
        if left_out.is_file():
            console.print(f"{len(pd.read_csv(left_out))} records were left out: {left_out} says why")
        console.print(f"the features lie in {out}")


@verb(RecordSettings, show)
def embed(
    encoder: str | Path | Encoder,
    source: str | Path | Archive,
    out: str | Path | None = None,
    *,
    settings: RecordSettings,
) -> pd.DataFrame:
    """Compute the features of ECGs, one row per record, with an encoder or the encoder of a model.

    Args:
        encoder: folder that ``pretrain``, ``probe`` or ``finetune`` wrote, or the encoder itself.
        source: a file, a folder of files in any format that ``ingest`` reads, or an archive.
        out: folder for ``embeddings.parquet``, ``embeddings.npy`` (float32, the same rows) and, where records could not
            be used, ``left_out.csv`` with the reasons; if wanted.
        settings: all settings at once, in place of single ones by name.

    Returns:
        ``record_id`` and a column for each feature, of whole records: ``feature_0``, ``feature_1``, ...

    Raises:
        FileNotFoundError: no encoder, no such source, or no recording in it.
        ValueError: an archive that was prepared otherwise, or ``out`` holds something else.
    """
    loaded = load_encoder(encoder) if isinstance(encoder, str | Path) else encoder
    if out is not None:
        refuse_other(Path(out))
    ids, features, left_out = list[str](), list[np.ndarray](), list[tuple[str, str]]()
    for batch in batches(loaded, source, settings):
        features.append(computed(loaded, loaded, batch.signals))
        for record_id, reason in zip(batch.record_ids, batch.reasons):
            if reason:
                left_out.append((record_id, reason))
            else:
                ids.append(record_id)
    whole = np.concatenate(features)
    table = pd.DataFrame(whole, columns=[f"feature_{number}" for number in range(whole.shape[1])])
    table.insert(0, "record_id", pd.Series(ids, dtype=object))
    if out is not None:
        array = io.BytesIO()
        np.save(array, whole)
        with lock(out), whole_folder(out, last=LAST, clear=["left_out.csv"]) as part:
            write_atomically(part / "embeddings.npy", array.getbuffer())
            write_atomically(part / LAST, table.to_parquet(index=False))
            if left_out:
                write_csv(part / "left_out.csv", pd.DataFrame(left_out, columns=["record_id", "reason"]))
    return table
