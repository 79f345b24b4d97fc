"""Finished models become one folder that is scored, evaluated and exported as one."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

import ssl_ecg
from ssl_ecg.archive import Archive, open_archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.cli import main
from ssl_ecg.synthetic import synthesize
from ssl_ecg.tasks import load_model
from ssl_ecg.training import predict_scores

pytestmark = pytest.mark.slow

CLASSES = ("sinus_rhythm", "sinus_bradycardia")
NETWORK = {"name": "xresnet1d10", "width": 4}
SHORT = {"steps": 4, "batch_size": 16, "evaluations": 1, "precision": "32-true"}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    folder = synthesize(tmp_path_factory.mktemp("archive"), records=160, seed=3, duration=5, workers=1)
    table = pd.read_csv(folder / "labels" / "conditions.csv")[["record_id", *CLASSES]]
    patient = open_archive(folder).manifest.set_index("record_id")["patient_id"].loc[table["record_id"]]
    table.insert(1, "fold", pd.factorize(patient.to_numpy())[0] % 4)
    table.to_csv(folder / "folds.csv", index=False)
    return open_archive(folder)


def fitted(archive: Archive, out: Path, fold: int, verb: str = "probe") -> Path:
    given = {"split": {"validation_folds": (fold,), "test_folds": (3,)}, "backbone": NETWORK}
    if verb == "finetune":
        given |= {"training": SHORT, "progress": False}
    getattr(ssl_ecg, verb)(None, archive, archive.folder / "folds.csv", out, **given)
    return out


@pytest.fixture(scope="module")
def members(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("members")
    fitted(archive, folder / "one", 0)
    fitted(archive, folder / "two", 1)
    fitted(archive, folder / "three", 2, "finetune")
    return folder


def test_folds_become_one_model(archive: Archive, members: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    labels, out = archive.folder / "folds.csv", tmp_path / "out"
    assert main(["ensemble", str(members), str(archive.folder), str(labels), str(out)]) == 0
    assert "members.csv" in capsys.readouterr().out
    model = load_model(out)
    table = pd.read_csv(labels)
    rows = archive.rows(table["record_id"].tolist())

    # What the verb says it does, again: each record is standardised by the member that left its fold out.
    each = [load_model(members / name) for name in ("one", "three", "two")]  # in the order of their names
    names = pd.read_csv(out / "members.csv")
    assert names["model"].tolist() == ["one", "three", "two"]
    assert names["weight"].to_list() == pytest.approx([1 / 3] * 3)
    logits = [np.log(p / (1 - p)) for p in (predict_scores(one, archive, rows).astype(float) for one in each)]
    standard = []
    for own, fold in zip(logits, (0, 2, 1)):
        left_out = own[(table["fold"] == fold).to_numpy()]
        standard.append((own - left_out.mean(0)) / left_out.std(0))
    joined = np.mean(standard, axis=0)
    found = predict_scores(model, archive, rows).astype(float)
    inner = np.log(found / (1 - found))
    for c in range(2):
        line = np.polyfit(joined[:, c], inner[:, c], 1)
        np.testing.assert_allclose(inner[:, c], np.polyval(line, joined[:, c]), atol=1e-3)
        assert line[0] > 0
    predictions = pd.read_csv(out / "predictions.csv")
    assert set(predictions["record_id"]) == set(
        table.loc[table["fold"] == 3, "record_id"].astype(predictions["record_id"].dtype)
    )

    again = ssl_ecg.ensemble(members, archive, labels, out)
    assert again.metrics == pytest.approx(
        ssl_ecg.ensemble(members, archive, labels, tmp_path / "b").metrics, nan_ok=True
    )
    scored = ssl_ecg.predict(out, archive, atypical=0)
    assert [name for name in scored if name.endswith("_spread")] == [f"{name}_spread" for name in CLASSES]
    assert (scored[f"{CLASSES[0]}_spread"] > 0).any()
    with pytest.raises(ValueError, match="test patients are among those the encoder learned from"):
        ssl_ecg.evaluate(out, archive, labels, tmp_path / "e")
    bundle = ssl_ecg.export(out, tmp_path / "bundle", format="torch")
    assert bundle.largest_difference is not None
    assert bundle.largest_difference < 1e-4
    assert bundle.outputs[0].threshold == model.task.thresholds[0]


@pytest.mark.worst_errors
def test_any_names_what_a_member_names(archive: Archive, members: Path, tmp_path: Path) -> None:
    given = [members / "one", load_model(members / "two")]
    whole = ssl_ecg.ensemble(given, archive, archive.folder / "folds.csv", tmp_path / "out", rule="any").model
    rows = np.arange(len(archive))
    parts = [load_model(members / name) for name in ("one", "two")]
    scores = [predict_scores(part, archive, rows).astype(float) for part in parts]
    named = [part.task.decide(each) for part, each in zip(parts, scores)]
    far = [
        np.abs(np.log(p / (1 - p)) - np.log(t / (1 - t))) for p, t in zip(scores, (x.task.thresholds for x in parts))
    ]
    told = np.minimum(*far) > 1e-4  # features of random weights hardly differ
    assert told.mean() > 0.5
    decided = whole.task.decide(predict_scores(whole, archive, rows))
    assert np.array_equal(decided[told], (named[0] | named[1])[told])


def test_what_cannot_be_joined_is_refused(archive: Archive, members: Path, tmp_path: Path) -> None:
    labels, out = archive.folder / "folds.csv", tmp_path / "out"
    with pytest.raises(ValueError, match=r"models='.*one': an ensemble has two members or more"):
        ssl_ecg.ensemble(members / "one", archive, labels, out)
    with pytest.raises(ValueError, match="a member lies there, and would be replaced"):
        ssl_ecg.ensemble(members, archive, labels, members / "two")
    other = tmp_path / "other"
    split = {"validation_folds": (0,), "test_folds": (1,)}
    ssl_ecg.probe(None, archive, labels, other, split=split, backbone=NETWORK)
    with pytest.raises(ValueError, match="models: no record tests all of them"):
        ssl_ecg.ensemble(f"{members / 'one'},{other}", archive, labels, out)
    lost = load_model(other)
    lost.encoder.origin.pop("split")
    with pytest.raises(ValueError, match="models: model 2 does not know who trained and tested it"):
        ssl_ecg.ensemble([members / "one", lost], archive, labels, out)


def test_finetune_keeps_network_and_probe_as_one(archive: Archive, tmp_path: Path) -> None:
    labels = archive.folder / "folds.csv"
    split = {"validation_folds": (0,), "test_folds": (3,)}
    with pytest.raises(ValueError, match="blend=True: needs a pretrained encoder"):
        ssl_ecg.finetune(None, archive, labels, tmp_path / "none", blend=True, split=split, backbone=NETWORK)
    training, encoder = {**SHORT, "learning_rate": 1e-2}, Encoder("xresnet1d10", {"width": 4}, archive.settings)
    given = {"split": split, "training": training, "progress": False}
    made = ssl_ecg.finetune(encoder, archive, labels, tmp_path / "a", blend=True, **given)
    alone = ssl_ecg.finetune(encoder, archive, labels, tmp_path / "b", **given)
    weight, name = made.metrics["blend_weight"], "validation_macro_auroc"
    assert weight in (0, 0.5, 1)
    assert made.metrics[name] >= alone.metrics[name] - 1e-9
    assert len(load_model(tmp_path / "a").encoder.backbone.members) == (2 if weight == 0.5 else 1)
    table = ssl_ecg.predict(tmp_path / "a", archive, atypical=0)
    assert table[f"{CLASSES[0]}_score"].between(0, 1).all()
