"""How usual a record is for a model: an exact p-value, kept with the model, by which predict abstains."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from sklearn.covariance import LedoitWolf

import ssl_ecg
from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.tasks import Classifier, create_task, load_model, save_classifier
from ssl_ecg.tasks.classifier import TYPICALITY
from ssl_ecg.tasks.typicality import Typicality


def drawn(seed: int, records: int) -> np.ndarray:
    """Features that are correlated, and heavy in the tails."""
    rng = np.random.default_rng(seed)
    return rng.standard_t(4, (records, 6)) @ rng.normal(size=(6, 6))


def test_the_p_value_counts_validation_records_that_are_as_far() -> None:
    train, validation, new = drawn(0, 300), drawn(1, 50), drawn(2, 20)
    found = Typicality.fit(train, validation)(torch.from_numpy(new).float())
    reference = LedoitWolf().fit(train)
    known, distance = reference.mahalanobis(validation), reference.mahalanobis(new)
    np.testing.assert_allclose(found, [(1 + (known >= each).sum()) / 51 for each in distance], atol=1e-6)


def test_records_like_those_of_validation_are_called_unusual_as_often_as_promised() -> None:
    rng = np.random.default_rng(0)
    records = rng.standard_t(3, (400, 150, 2)) @ rng.normal(size=(2, 2))
    unusual = []
    for each in records:  # 99 records of validation: the smallest p are 1 / 100, 2 / 100 ...
        judge = Typicality.fit(records[0, :50] + 0.1, each[:99])
        unusual.append(judge(torch.from_numpy(each[99:]).float()).numpy() <= 0.0501)
    assert np.mean(unusual) == pytest.approx(0.05, abs=0.004)
    assert (judge(torch.from_numpy(each + 100).float()) == 0.01).all()


def test_nothing_is_fitted_where_nothing_varies() -> None:
    assert Typicality.fit(np.ones((10, 3)), drawn(0, 10)[:, :3]) is None
    assert Typicality.fit(drawn(0, 1), drawn(0, 10)) is None


@pytest.fixture
def model(tiny_archive: Archive) -> Classifier:
    torch.manual_seed(0)
    encoder = Encoder("xresnet1d10", {"width": 4}, tiny_archive.settings)
    made = Classifier(encoder, create_task("arrhythmia", ("a", "b"))).eval()
    elsewhere = (100 + np.random.default_rng(n).normal(size=(200, encoder.width)) for n in (0, 1))
    made.typicality = Typicality.fit(*elsewhere)
    return made


def test_predict_abstains_from_what_is_unlike_training(model: Classifier, tiny_archive: Archive) -> None:
    strange = ssl_ecg.predict(model, tiny_archive)
    assert (strange["typicality"] < 0.01).all()
    assert strange["abstained"].str.startswith("unlike what the model learned from").all()
    assert strange["a_score"].isna().all()
    scored = ssl_ecg.predict(model, tiny_archive, atypical=0.0)
    assert (scored["abstained"] == "").all()
    expected = model.scores(*map(torch.from_numpy, tiny_archive.read(np.arange(len(tiny_archive))))).detach()
    np.testing.assert_allclose(scored[["a_score", "b_score"]], expected, atol=1e-5)


def test_it_is_kept_with_the_model_and_refused_where_it_does_not_fit(model: Classifier, tmp_path: Path) -> None:
    save_classifier(model, tmp_path, "card")
    features = torch.randn(5, model.encoder.width)
    assert torch.equal(load_model(tmp_path).typicality(features), model.typicality(features))
    weights = load_file(tmp_path / TYPICALITY)
    for changed, message in (
        ({"mean": torch.zeros(3)}, "do not fit"),
        ({"distances": torch.tensor(1.0)}, "do not fit"),
        ({"root": torch.full_like(weights["root"], torch.nan)}, "not finite"),
    ):
        save_file({**weights, **changed}, tmp_path / TYPICALITY)
        with pytest.raises(ValueError, match=message):
            load_model(tmp_path)
    (tmp_path / TYPICALITY).unlink()
    assert load_model(tmp_path).typicality is None


def test_finetuning_fits_it(tiny_archive: Archive, tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    table = tiny_archive.manifest[["record_id"]].assign(a=rng.integers(0, 2, len(tiny_archive)))
    encoder = Encoder("xresnet1d10", {"width": 4}, tiny_archive.settings)
    ssl_ecg.probe(encoder, tiny_archive, table, tmp_path)
    typical = load_model(tmp_path).typicality
    assert typical is not None
    assert len(typical.distances) >= 2
    assert "typicality" in ssl_ecg.predict(tmp_path, tiny_archive)
