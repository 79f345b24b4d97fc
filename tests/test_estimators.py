"""The face for scikit-learn: pipelines, searches, and its own checks."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, GroupKFold, StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils import estimator_checks as checks

import ssl_ecg
from ssl_ecg import EcgClassifier, EncoderTransformer
from ssl_ecg.backbones import Encoder, save_encoder
from ssl_ecg.signals import SignalSettings

LEADS = ("I", "II")
# Data of scikit-learn's other checks are [n, features] with a few features; an encoder takes signals of its own leads
# and length alone, so the estimators say that they take three axes, and these checks do not apply.
APPLY = [
    checks.check_estimator_cloneable,
    checks.check_estimator_tags_renamed,
    checks.check_valid_tag_types,
    checks.check_estimator_repr,
    checks.check_no_attributes_set_in_init,
    checks.check_parameters_default_constructible,
    checks.check_get_params_invariance,
    checks.check_set_params,
    checks.check_mixin_order,
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    settings = SignalSettings(leads=LEADS, duration=2, min_duration=2)
    encoder = Encoder("xresnet1d10", {"width": 4}, settings).eval()
    return save_encoder(encoder, tmp_path_factory.mktemp("encoder"), "")


def records(count: int = 60, classes: int = 2) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Sines of a frequency per class in noise, and a patient for every two."""
    rng = np.random.default_rng(0)
    label = np.arange(count) // 2 % classes
    waves = np.sin(2 * np.pi * (2 + 6 * label[:, None, None]) * np.arange(200) / 100 + rng.uniform(0, 6, (count, 2, 1)))
    return (waves + 0.1 * rng.standard_normal((count, 2, 200))).astype(np.float32), label, np.arange(count) // 2


@pytest.mark.parametrize("estimator", [EncoderTransformer(), EcgClassifier()], ids=["transformer", "classifier"])
@pytest.mark.parametrize("check", APPLY, ids=lambda check: check.__name__)
def test_checks_of_scikit_learn_that_apply_pass(estimator, check) -> None:
    check(type(estimator).__name__, estimator)


def test_features_are_the_encoders_and_go_into_a_search(folder: Path) -> None:
    signal, label, patient = records()
    encoder = ssl_ecg.load_encoder(folder)
    with torch.inference_mode():
        expected = encoder(torch.from_numpy(signal)).numpy()
    transformer = EncoderTransformer(folder)
    np.testing.assert_allclose(transformer.fit_transform(signal), expected, atol=1e-5)
    assert transformer.get_feature_names_out().shape == (encoder.width,)
    chain = make_pipeline(transformer, StandardScaler(), LogisticRegression())
    search = GridSearchCV(chain, {"logisticregression__C": [0.1, 1.0]}, cv=GroupKFold(3))
    search.fit(signal, label, groups=patient)
    assert search.best_score_ > 0.9
    assert (pickle.loads(pickle.dumps(search)).predict(signal) == search.predict(signal)).all()  # made here


@pytest.mark.slow
def test_a_classifier_learns_names_several_classes_and_several_labels(folder: Path) -> None:
    signal, label, patient = records()
    names = np.array(["slow", "fast"])[label]
    search = GridSearchCV(EcgClassifier(folder, steps=20), {"learning_rate": [1e-6, 1e-2]}, cv=StratifiedGroupKFold(2))
    search.fit(signal, names, groups=patient)
    assert list(search.classes_) == ["fast", "slow"]
    assert search.score(signal, names) > 0.9
    signal, label, _ = records(classes=3)
    several = EcgClassifier(folder, steps=3).fit(signal, label)
    np.testing.assert_allclose(several.predict_proba(signal).sum(axis=1), 1, atol=1e-5)
    assert set(several.predict(signal)) <= {0, 1, 2}
    both = EcgClassifier(folder, training={"steps": 3, "crop": None}).fit(signal, np.eye(3, dtype=int)[label])
    assert both.predict(signal).shape == (60, 3)
    again = EcgClassifier(folder, steps=3).fit(signal, label)
    np.testing.assert_array_equal(several.predict_proba(signal), again.predict_proba(signal))


def test_what_cannot_be_is_refused(folder: Path) -> None:
    signal, label, _ = records()
    with pytest.raises(NotFittedError):
        EcgClassifier(folder).predict(signal)
    with pytest.raises(ValueError, match=r"expects \[batch, 2 leads \(I, II\), 200 samples at 100 Hz\]"):
        EncoderTransformer(folder).fit(signal[:, :, :150])
    with pytest.raises(ValueError, match="NaN"):
        EncoderTransformer(folder).fit(np.full_like(signal, np.nan))
    with pytest.raises(ValueError, match="y: holds one class only, 1"):
        EcgClassifier(folder).fit(signal, np.ones(len(signal), int))
    with pytest.raises(ValueError, match="there is no such setting"):
        EcgClassifier(folder, training={"stepps": 3}).fit(signal, label)
