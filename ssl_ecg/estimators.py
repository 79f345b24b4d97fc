"""Encoders and finetuning as scikit-learn knows estimators: in a pipeline, a grid search, a cross-validation.

    features = make_pipeline(EncoderTransformer("encoder"), StandardScaler(), LogisticRegression())
    search = GridSearchCV(EcgClassifier("encoder", steps=200), {"learning_rate": [1e-4, 1e-3]}, cv=GroupKFold())
    search.fit(signals, labels, groups=patients)

Signals are arrays [n, leads, samples] in millivolts, with the leads, sampling rate and length of the encoder. Rows of
one patient are alike: split by patient (``GroupKFold``), or results are too good. The verbs do so by themselves,
continue where they were killed, and keep a model; this face is for what scikit-learn adds.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import ArrayLike, NDArray
from sklearn.base import BaseEstimator, ClassifierMixin, TransformerMixin
from sklearn.model_selection import GroupShuffleSplit, StratifiedGroupKFold
from sklearn.utils.multiclass import check_classification_targets, type_of_target
from sklearn.utils.validation import check_is_fitted, validate_data

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder, load_encoder
from ssl_ecg.settings import Settings, recipe
from ssl_ecg.signals import Signals, SignalSettings
from ssl_ecg.tasks import create_task
from ssl_ecg.training import FinetuneSettings, extract_features, finetune, predict_scores


class _Training(Settings):
    training: recipe("training", FinetuneSettings) = "pretrained"  # type: ignore[valid-type]


class _Held(Archive):
    """Signals in memory where an archive is asked for."""

    def __init__(self, signal: NDArray[np.float32], settings: SignalSettings, patient: ArrayLike | None = None) -> None:
        count = len(signal)
        manifest = pd.DataFrame({"record_id": np.arange(count).astype(str), "part": 0, "row": np.arange(count)})
        manifest["patient_id"] = np.arange(count) if patient is None else np.asarray(patient)
        manifest["recorded"], manifest["leads"] = signal.shape[2], " ".join(settings.leads)
        self.signal = signal
        super().__init__(Path(tempfile.gettempdir()), settings, 1000.0, (), manifest, {})

    def stored(self, rows: ArrayLike) -> Signals:
        """Return signals as they are, in steps of a millivolt."""
        rows = np.asarray(rows, dtype=np.int64)
        return Signals(self.signal[rows], self.recorded[rows], self.recorded_leads[rows])


class _OfSignals(BaseEstimator):
    """What both estimators share: the encoder, and what they take."""

    encoder: str | Path | Encoder

    def _load(self) -> Encoder:
        return self.encoder if isinstance(self.encoder, Encoder) else load_encoder(self.encoder)

    def _signals(self, X: ArrayLike, encoder: Encoder, reset: bool) -> NDArray[np.float32]:
        """Return signals as the encoder takes them.

        Raises:
            ValueError: another shape, or values that are no finite numbers.
        """
        signal: NDArray[np.float32] = validate_data(self, X, dtype=np.float32, allow_nd=True, reset=reset)
        encoder.check_shape(torch.from_numpy(signal))
        return signal

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array, tags.input_tags.three_d_array = False, True
        return tags


class EncoderTransformer(TransformerMixin, _OfSignals):
    """Frozen features of signals: [n, L, T] in millivolts to [n, D].

    Args:
        encoder: the encoder, its folder, or the name of one that ships.

    Attributes:
        encoder_: the encoder, in eval mode.
    """

    def __init__(self, encoder: str | Path | Encoder = "synthetic") -> None:
        self.encoder = encoder

    def fit(self, X: ArrayLike, y: Any = None) -> EncoderTransformer:
        """Load the encoder; nothing is learned."""
        self.encoder_ = self._load()
        self._signals(X, self.encoder_, reset=True)
        return self

    def transform(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return features, float32 [n, D]."""
        check_is_fitted(self)
        signal = self._signals(X, self.encoder_, reset=False)
        return extract_features(self.encoder_, _Held(signal, self.encoder_.signal), np.arange(len(signal)))

    def get_feature_names_out(self, input_features: Any = None) -> NDArray[np.object_]:
        """Return ``feature_0`` and so on."""
        check_is_fitted(self)
        return np.array([f"feature_{number}" for number in range(self.encoder_.width)], dtype=object)


class EcgClassifier(ClassifierMixin, _OfSignals):
    """A finetuned encoder: signals [n, L, T] in millivolts, and labels [n], or 0 and 1 [n, C] where several can hold.

    What is left at None is as ``ssl_ecg.finetune`` has it.

    Args:
        encoder: the encoder, its folder, or the name of one that ships.
        steps: of optimisation.
        learning_rate: peak of AdamW's.
        training: further settings of finetuning by name, or the name of a recipe.
        validation: share of the patients that choose the best evaluation.
        random_state: seed of everything random.

    Attributes:
        classes_: of labels [n] their values; of [n, C] the numbers of the columns.
        model_: a ``ssl_ecg.tasks.Classifier``, in eval mode.
    """

    def __init__(
        self,
        encoder: str | Path | Encoder = "synthetic",
        steps: int | None = None,
        learning_rate: float | None = None,
        training: str | Mapping[str, Any] | None = None,
        validation: float = 0.2,
        random_state: int = 0,
    ) -> None:
        self.encoder, self.steps, self.learning_rate = encoder, steps, learning_rate
        self.training, self.validation, self.random_state = training, validation, random_state

    def fit(self, X: ArrayLike, y: ArrayLike, groups: ArrayLike | None = None) -> EcgClassifier:
        """Finetune; a part of the patients chooses the best evaluation.

        Args:
            X: signals.
            y: labels.
            groups: the patient of each row; None: each row is of somebody else.

        Raises:
            ValueError: signals that the encoder cannot take, labels of one class, or fewer patients than parts.
        """
        encoder = self._load()
        signal = self._signals(X, encoder, reset=True)
        check_classification_targets(y)
        y, self.several_ = np.asarray(y), type_of_target(y) == "multilabel-indicator"
        self.classes_ = np.arange(y.shape[1]) if self.several_ else np.unique(y)
        if len(self.classes_) < 2 and not self.several_:
            raise ValueError(f"y: holds one class only, {self.classes_.tolist()[0]!r}; give records of two or more")
        targets = y.astype(np.float32) if self.several_ else (y[:, None] == self._columns).astype(np.float32)
        archive = _Held(signal, encoder.signal, groups)
        train, validation = self._parts(y, archive.patient)
        task = create_task("arrhythmia", [str(name) for name in self._columns])
        found = finetune(
            encoder, task, archive, (train, targets[train]), (validation, targets[validation]), self._settings()
        )
        self.model_ = found.model.eval()
        return self

    def predict_proba(self, X: ArrayLike) -> NDArray[np.float32]:
        """Return probabilities [n, C]: each by itself where several can hold, else with the sum 1."""
        check_is_fitted(self)
        signal = self._signals(X, self.model_.encoder, reset=False)
        scores = predict_scores(self.model_, _Held(signal, self.model_.encoder.signal), np.arange(len(signal)))
        if self.several_:
            return scores
        if len(self.classes_) == 2:
            return np.hstack([1 - scores, scores])
        return scores / scores.sum(axis=1, keepdims=True)

    def predict(self, X: ArrayLike) -> NDArray[Any]:
        """Return the likeliest class [n]; or 0 and 1 [n, C], 1 from a half, where several can hold."""
        found = self.predict_proba(X)
        return (found >= 0.5).astype(int) if self.several_ else self.classes_[found.argmax(axis=1)]

    @property
    def _columns(self) -> NDArray[Any]:
        """Classes that have a target: of two the second, which speaks for both."""
        return self.classes_[1:] if len(self.classes_) == 2 and not self.several_ else self.classes_

    def _settings(self) -> FinetuneSettings:
        given = self.training if isinstance(self.training, Mapping) else {"name": self.training or "pretrained"}
        single = {"steps": self.steps, "learning_rate": self.learning_rate, "seed": self.random_state}
        return _Training(training={**given, **{k: v for k, v in single.items() if v is not None}}).training

    def _parts(self, y: NDArray[Any], patient: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Draw who trains and who chooses."""
        if self.several_:
            draw: Any = GroupShuffleSplit(1, test_size=self.validation, random_state=self.random_state)
        else:
            parts = max(2, round(1 / self.validation))
            draw = StratifiedGroupKFold(parts, shuffle=True, random_state=self.random_state)
        return next(draw.split(np.zeros(len(y)), y, patient))

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.classifier_tags.multi_label = True
        return tags
