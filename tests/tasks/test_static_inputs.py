"""Static inputs: what the last layer sees of columns and of the rhythm, and what it must not see."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

import ssl_ecg
from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.deploy.program import example, export_program, largest_difference, run_program
from ssl_ecg.explain import grad_cam
from ssl_ecg.signals import SignalSettings
from ssl_ecg.tasks import Classifier, WindowSettings, create_task, join, load_model, save_classifier
from ssl_ecg.tasks.ensemble import fit_combination
from ssl_ecg.tasks.heads import StaticInputs, WideHead, make_head
from ssl_ecg.tasks.rhythm import FEATURES, rhythm_features
from ssl_ecg.tasks.static_inputs import MEASURED, check_static, numbers, static_of, with_columns, with_rhythm
from ssl_ecg.tasks.temperature import temper, tempered
from ssl_ecg.training import predict_scores

SIGNAL = SignalSettings(duration=5, min_duration=4)
NAN = np.nan


@pytest.fixture(scope="module")
def ward(tmp_path_factory: pytest.TempPathFactory, write_wfdb: Callable[..., Path], heartbeat: Callable) -> Path:
    """Six recordings; one does not say how old the patient is, another not of which sex."""
    folder = tmp_path_factory.mktemp("ward")
    told = ["# Age: 63\n# Sex: Female\n", "# Age: 40\n# Sex: Male\n", "# Sex: Male\n", "# Age: 71\n", "# Age: 5\n", ""]
    for number, comments in enumerate(told):
        signal = heartbeat(500.0, 4.5 if number == 3 else 5.0, number)
        write_wfdb(folder, f"ecg{number}", signal, comments=comments)
    return folder


@pytest.fixture(scope="module")
def archive(ward: Path, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    made = tmp_path_factory.mktemp("archive") / "archive"
    return ssl_ecg.ingest(ward, made, duration=5, min_duration=4, workers=1, progress=False, patients=None).archive


def wide(
    static: tuple[str, ...] = ("age", "sex", "rhythm"), task: str = "arrhythmia", head: str = "linear", **more: Any
) -> Classifier:
    """Return a model whose weights are drawn, those of static inputs too."""
    torch.manual_seed(0)
    classes = ["AF", "LBBB"] if task == "arrhythmia" else None
    made = create_task(task, classes, **({} if task == "arrhythmia" else {"bins": 4}))
    model = Classifier(Encoder("xresnet1d10", {"width": 4}, SIGNAL), made, static=static, head=head, **more).eval()
    for layer in (model.head.beside, [*model.head.deep.modules()][-1]):
        nn.init.normal_(layer.weight, std=0.5)
    model.head.inputs.mean.normal_()
    model.head.inputs.deviation.uniform_(30, 60)  # of years and degrees
    return model


def test_values_are_standardised_by_what_is_known_and_the_unknown_is_told() -> None:
    inputs = StaticInputs(3)
    inputs.fit(np.array([[1, NAN, NAN], [3, 5, NAN], [NAN, 5, NAN], [5, 5, NAN]]))
    deviation = np.sqrt(8 / 3)  # of 1, 3 and 5
    assert inputs.mean.tolist() == [3, 5, 0]
    assert inputs.deviation.tolist() == pytest.approx([deviation, 1, 1])
    found = inputs(torch.tensor([[7, NAN, NAN], [NAN, 6, 2]]))
    assert found[0].tolist() == pytest.approx([4 / deviation, 0, 0, 0, 1, 1])
    assert found[1].tolist() == pytest.approx([0, 1, 2, 1, 0, 0])


@pytest.mark.parametrize("kind", ["linear", "hidden"])
@pytest.mark.parametrize("name", ["arrhythmia", "af_survival"])
def test_a_head_starts_as_it_would_without_static_inputs(kind: str, name: str) -> None:
    task = create_task(name, ["a", "b"] if name == "arrhythmia" else None)
    torch.manual_seed(0)
    plain = make_head(kind, task, 6)
    torch.manual_seed(0)
    head = WideHead(kind, task, 6, ("age", "rhythm"))
    features, static = torch.randn(5, 6), torch.randn(5, 21)
    static[0, 0] = NAN
    torch.testing.assert_close(head.eval()(features, static), plain.eval()(features), atol=0, rtol=0)
    assert head.beside.in_features == 2 * 21
    nn.init.ones_(head.beside.weight)
    assert not torch.equal(head(features, static)[0], head(features, static * 2)[0])


def test_columns_become_numbers_or_are_refused() -> None:
    assert numbers("sex", pd.Series(["female", "male", None], dtype="category"))[:2].tolist() == [0, 1]
    assert numbers("diabetes", pd.Series([True, False])).tolist() == [1, 0]
    np.testing.assert_array_equal(numbers("x", pd.Series(["1.5", None])), [1.5, NAN])
    for name, column, message in (
        ("ward", pd.Series(["Miller"]), "column 'ward': must hold finite numbers, or blanks"),
        ("x", pd.Series([np.inf]), "column 'x': must hold finite numbers, or blanks"),
        ("sex", pd.Series([2]), "column 'sex': must hold female or male, or blanks"),
        ("at", pd.Series(pd.to_datetime(["2020-01-01"])), "column 'at': must hold numbers or blanks, got dates"),
    ):
        with pytest.raises(ValueError, match="^" + message + "$"):
            numbers(name, column)


def test_columns_are_those_of_the_manifest_then_of_the_label_table(archive: Archive) -> None:
    table = pd.DataFrame({"record_id": ["ecg4", "ecg0"], "AF": [1, 0], "age": [1, 1], "lab": [2.5, NAN]})
    described = with_columns(archive, table, ("age", "sex", "lab", "rhythm", "absent"))
    assert archive.manifest["record_id"].tolist() == [f"ecg{number}" for number in range(6)]
    rows = np.array([4, 0, 5, 1])
    found = static_of(("age", "sex", "lab", "absent"), described, rows)
    assert found.dtype == np.float32
    expected = [[5, NAN, 2.5, NAN], [63, 0, NAN, NAN], [NAN, NAN, NAN, NAN], [40, 1, NAN, NAN]]
    np.testing.assert_array_equal(found, np.array(expected, np.float32))
    assert "lab" not in archive.manifest
    blank = archive.manifest.assign(age=NAN)
    archive_without = ssl_ecg.open_archive(archive.folder)
    archive_without.manifest = blank
    assert static_of(("age",), with_columns(archive_without, table, ("age",)), rows).tolist()[:2] == [[1], [1]]


def test_the_rhythm_is_that_of_what_was_recorded_and_is_measured_once(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.array([3, 0])
    signal, recorded, _ = archive.read(rows)
    found = static_of(("age", "rhythm"), archive, rows)
    assert recorded[0] == 450
    by_hand = rhythm_features(signal[0, :, :450], 100.0, archive.leads)
    np.testing.assert_allclose(found[0], [71, *by_hand.values()], rtol=1e-6)
    assert list(by_hand) == list(FEATURES)
    measured = with_rhythm(archive, ("rhythm",), rows)
    monkeypatch.setattr("ssl_ecg.tasks.static_inputs.rhythm_table", None)
    np.testing.assert_array_equal(static_of(("age", "rhythm"), measured, rows), found)
    assert with_rhythm(archive, ("age",), rows) is archive


TABLE = pd.DataFrame(
    {"record_id": ["ecg0", "ecg1"], "AF": [1, 0], "LBBB": [0, 1], "lab": [1.5, 2.5], "ward": ["a", "b"]}
)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("AF", "is what is learned"),
        ("patient_id", "says which record it is, how it was split, or what came after the ECG"),
        ("fold", "says which"),
        ("time_days", "says which"),
        ("event", "says which"),
        ("ag", r"is no column, or blank throughout; did you mean age\? choose one of .*age, sex.*lab, rhythm$"),
        ("labb", r"is no column, or blank throughout; did you mean lab\?"),
        ("ward", "holds what is no number"),
        ("recorded_at", "is no column, or blank throughout"),
        ("source", "holds what is no number"),
        ("LBBB", "holds 1 and 0, as labels do; say which columns are labels, classes="),
    ],
)
def test_what_tells_the_label_is_refused(archive: Archive, name: str, message: str) -> None:
    described = with_columns(archive, TABLE, (name,))
    with pytest.raises(ValueError, match=f"^static='{name}': {message}"):
        check_static((name,), described, create_task("arrhythmia", ["AF"]), TABLE, unnamed=True)
    check_static(("age", "sex", "rhythm"), archive, create_task("arrhythmia", ["AF"]), TABLE, unnamed=True)


def test_survival_does_not_see_what_it_learns_beside(archive: Archive) -> None:
    check_static(("age",), archive, create_task("af_survival", None))
    with pytest.raises(ValueError, match="static='age': is what is learned"):
        check_static(("age",), archive, create_task("af_survival", None, auxiliary={"age": 1.0}))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("task", "head", "windows"),
    [
        ("arrhythmia", "linear", WindowSettings()),
        ("arrhythmia", "hidden", WindowSettings(seconds=2.5)),
        ("af_survival", "linear", WindowSettings(seconds=2.5, over="features")),
    ],
)
def test_files_are_scored_as_their_archive_is(
    task: str, head: str, windows: WindowSettings, ward: Path, archive: Archive, tmp_path: Path
) -> None:
    model = wide(task=task, head=head, windows=windows)
    save_classifier(model, tmp_path / "model", "card")
    loaded = load_model(tmp_path / "model")
    expected = predict_scores(model, archive, np.arange(6))
    np.testing.assert_array_equal(predict_scores(loaded, archive, np.arange(6)), expected)
    wanted = model.task.predictions(expected)
    for source in (ward, archive, with_rhythm(archive, model.static, np.arange(6))):
        found = ssl_ecg.predict(loaded, source).set_index("record_id").loc[archive.manifest["record_id"]]
        np.testing.assert_allclose(found[wanted.columns].to_numpy(float), wanted.to_numpy(float), atol=1e-5)
    np.testing.assert_allclose(loaded.predict(ward / "ecg1.hea"), expected[1:2], atol=1e-5)
    unlike = static_of(model.static, archive, np.arange(6))
    unlike[:, :2] = NAN
    batch = archive.read(np.arange(6))
    assert np.abs(loaded.predict(*batch, static=unlike) - expected)[:2].max() > 1e-3
    one = loaded.predict(*(part[1:2] for part in batch), static={"age": 40, "sex": "male"})
    np.testing.assert_allclose(one, expected[1:2], atol=1e-5)
    with pytest.raises(ValueError, match=r"^static=None: the model sees age, sex, rhythm too; give values \[B, K\]"):
        model.scores(*map(torch.from_numpy, batch))


@pytest.mark.slow
def test_every_window_of_a_record_has_its_static_inputs(archive: Archive) -> None:
    model, rows = wide(windows=WindowSettings(seconds=2, stride=1)), np.arange(3)
    signal = model.encoder.prepare(*map(torch.from_numpy, archive.read(rows))).signal
    static = torch.from_numpy(static_of(model.static, archive, rows))
    with torch.inference_mode():
        each = [model.head(model.encoder.backbone(signal[..., at : at + 200]), static) for at in (0, 100, 200, 300)]
        expected = torch.stack(each).sigmoid().amax(0).numpy()
    np.testing.assert_allclose(predict_scores(model, archive, rows), expected, atol=1e-6)


@pytest.mark.slow
def test_evaluate_says_what_predict_says(archive: Archive, tmp_path: Path) -> None:
    model = wide(("age", "sex", "rhythm", "lab"))
    save_classifier(model, tmp_path / "model", "card")
    table = pd.DataFrame({"record_id": archive.manifest["record_id"], "AF": [0, 1] * 3, "LBBB": [0, 0, 1] * 2})
    options = {"seen_patients": "test"}
    ssl_ecg.evaluate(tmp_path / "model", archive, table, tmp_path / "one", **options)
    told = pd.read_csv(tmp_path / "one" / "predictions.csv").set_index("record_id")
    found = ssl_ecg.predict(tmp_path / "model", archive).set_index("record_id")
    columns = ["AF_score", "LBBB_score"]
    np.testing.assert_allclose(told[columns], found.loc[told.index, columns], atol=1e-5)
    ssl_ecg.evaluate(tmp_path / "model", archive, table.assign(lab=2.0), tmp_path / "two", **options)
    assert (
        np.abs(told[columns] - pd.read_csv(tmp_path / "two" / "predictions.csv")[columns].to_numpy()).max().max() > 1e-3
    )
    with pytest.raises(ValueError, match="static"):  # another column is another evaluation
        ssl_ecg.evaluate(tmp_path / "model", archive, table.assign(lab=3.0), tmp_path / "two", **options)


@pytest.mark.slow
def test_a_program_takes_static_inputs() -> None:
    model = wide()
    run = run_program(export_program(model))
    assert largest_difference(model, run) <= 1e-5
    given = example(model, 4)
    assert np.isnan(given[3]).any()
    assert np.abs(run((*given[:3], given[3] + 10)) - run(given)).max() > 1e-3


@pytest.mark.slow
def test_a_bundle_names_its_static_inputs_and_its_script_takes_them(
    archive: Archive, heartbeat: Callable, tmp_path: Path
) -> None:
    model = wide(("age", "sex"), windows=WindowSettings(seconds=2.5))
    save_classifier(model, tmp_path / "model", "card")
    bundle = ssl_ecg.export(tmp_path / "model", tmp_path / "out")
    assert bundle.static == ("age", "sex")
    assert bundle.largest_difference < 1e-5
    np.save(tmp_path / "ecg.npy", heartbeat(500.0, 5.0, 1))
    command = [sys.executable, str(tmp_path / "out" / "score_ecg.py"), str(tmp_path / "ecg.npy"), "--rate", "500"]
    command += ["--leads", ",".join(archive.leads)]

    def scored(*more: str) -> list[float]:
        return [*json.loads(subprocess.run([*command, *more], capture_output=True, check=True).stdout).values()]

    expected = predict_scores(model, archive, np.array([1]))[0]
    assert scored("--static", "age=40,sex=1") == pytest.approx(expected.tolist(), abs=1e-4)
    assert scored() != pytest.approx(expected.tolist(), abs=1e-3)
    refused = subprocess.run([*command, "--static", "weight=1"], capture_output=True, check=False)
    assert b"static: weight unknown; the model takes age, sex" in refused.stderr


@pytest.mark.slow
def test_a_map_does_not_depend_on_what_has_no_place(archive: Archive) -> None:
    model, rows = wide(), np.arange(2)
    signal, recorded, leads = map(torch.from_numpy, archive.read(rows))
    model.head.deep.weight.data.abs_()
    one, two = (torch.from_numpy(static_of(model.static, archive, rows)) + shift for shift in (0, 1))
    maps = [grad_cam(model, signal, "AF", None, False, recorded, leads, static) for static in (one, two)]
    assert maps[0].max() > 0
    torch.testing.assert_close(*maps)


def test_a_temperature_divides_what_static_inputs_say_too(archive: Archive) -> None:
    model, rows = wide(("age", "sex")), np.arange(6)
    before = predict_scores(model, archive, rows)
    temperature = temper(model, np.array([[0, 1], [1, 1], [1, 0], [0, 0], [1, 0], [0, 1]]), before, "label")
    assert np.abs(temperature - 1).min() > 0.01
    after = predict_scores(model, archive, rows)
    np.testing.assert_allclose(after, tempered(model.task, before, temperature), atol=1e-5)


def test_an_ensemble_of_wide_models_is_refused() -> None:
    model = wide(("age", "sex"))
    scores = [np.random.default_rng(0).random((8, 2)) for _ in range(2)]
    combination = fit_combination(model.task, scores, np.tile([[0, 1], [1, 0]], (4, 1)))
    with pytest.raises(
        ValueError, match=r"^models: number 1 has static inputs, age, sex; join models of the signal alone$"
    ):
        join([model, model], combination)


def test_a_damaged_folder_is_refused(tmp_path: Path) -> None:
    save_classifier(wide(), tmp_path / "model", "card")
    path = tmp_path / "model" / "task.json"
    told = json.loads(path.read_text())
    assert told["static"] == ["age", "sex", "rhythm"]
    faults = {"no list": "age", "no list of": [1], "twice": ["rhythm", "rhythm"], r"head\.safetensors": ["age"]}
    for message, wrong in faults.items():
        path.write_text(json.dumps({**told, "static": wrong}))
        with pytest.raises(ValueError, match=message):
            load_model(tmp_path / "model")
    assert len(MEASURED) == 20
