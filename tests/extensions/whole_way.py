"""From the files of an extension's data set to the report, all with extensions; asserts what it sees on the way."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import torch

import ssl_ecg
from ssl_ecg.backbones import list_backbones, load_encoder
from ssl_ecg.cli import main
from ssl_ecg.explain import attention_rollout, grad_cam
from ssl_ecg.synthetic import draw_ecgs
from ssl_ecg.tasks import load_model

BUDGET = {"steps": 4, "batch_size": 16, "evaluations": 2, "crop": None, "precision": "32-true"}
SMALL = {"epochs": 1, "batch_size": 16, "warmup_epochs": 0}
SPLIT = {"validation": 0.25, "test": 0.35, "seed": 1}


def write_source(folder: Path) -> None:
    """Write 60 ECGs of 30 patients into two files of the extension's format, and the data set's table."""
    ecgs = draw_ecgs(60, seed=3, sampling_rate=100, visits=(1, 1))
    folder.mkdir()
    rows = []
    for part, name in enumerate(("first.hea", "second.hea")):
        with (folder / name).open("wb") as file:
            file.write(b"many ECGs\n")
            np.save(file, ecgs.signal[30 * part : 30 * (part + 1)])
        for number in range(30):
            truth = ecgs.truth.iloc[30 * part + number]
            row = {"file": name, "number": number, "patient": f"{name}-{number // 2}", "age": 45 + number}
            rows.append({**row, "slow": int(truth["sinus_bradycardia"])})
    pd.DataFrame(rows).to_csv(folder / "exams_of_ours.csv", index=False)


def run(folder: Path) -> None:
    """Run the whole way below a folder."""
    write_source(folder / "exams")
    report = ssl_ecg.ingest(folder / "exams", folder / "archive", workers=1, progress=False)
    archive = report.archive
    assert (report.accepted, report.rejected, report.unknown) == (60, 0, 0), report.summary
    assert archive.manifest["patient_id"].nunique() == 30
    assert archive.manifest["age"].min() == 45
    assert pd.read_csv(folder / "archive" / "labels" / "ours.csv")["slow"].isin([0, 1]).all()

    assert {"own_backbone", "own_transformer"} <= set(list_backbones())
    ids = archive.manifest[["record_id"]]
    own = {"task": "age", "split": SPLIT}
    encoder = ssl_ecg.pretrain(
        archive,
        folder / "encoder",
        objective={"name": "own_objective", "share": 0.4},
        backbone={"name": "own_backbone", "width": 6},
        holdout=ids,
        progress=False,
        **own,
        **SMALL,
    )
    assert load_encoder(folder / "encoder").width == 6
    masked = ssl_ecg.pretrain(
        archive, folder / "masked", objective="mae", backbone="own_transformer", progress=False, **SMALL
    )
    signal = torch.from_numpy(archive.read([0]).signal)
    assert attention_rollout(masked, signal).shape == (1, 1000)

    probed = ssl_ecg.probe(encoder, archive, ids, folder / "probe", **own)
    assert probed.metrics["mae_low"] <= probed.metrics["mae"] <= probed.metrics["mae_high"]
    ssl_ecg.finetune(encoder, archive, ids, folder / "model", training=BUDGET, progress=False, **own)
    assert grad_cam(load_model(folder / "model"), signal).shape == (1, 1000)
    ssl_ecg.compare(
        encoder,
        archive,
        ids,
        folder / "comparison",
        fractions=(1.0,),
        seeds=(0,),
        replicates=50,
        pretrained_finetune=BUDGET,
        scratch={"name": "scratch", **BUDGET},
        pretrained_candidates=({},),
        scratch_candidates=({},),
        progress=False,
        **own,
    )
    said = json.loads((folder / "comparison" / "comparison.json").read_text(encoding="utf-8"))
    assert said["metrics"][0]["lower_is_better"] is True
    page = (folder / "comparison" / "report.html").read_text(encoding="utf-8")
    assert "Below 0 the first of the pair is better" in page

    counts = ssl_ecg.own_verb(folder / "archive", at_least=2)
    assert counts.tolist() == [2] * 30
    assert main(["own_verb", str(folder / "archive"), "at_least=3"]) == 0
    assert main(["own_verb", "--help"]) == 0
    assert main(["own_verb", str(folder / "archive"), "at_leest=3"]) == 2


if __name__ == "__main__":
    run(Path(sys.argv[1]))
