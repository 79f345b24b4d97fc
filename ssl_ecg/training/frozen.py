"""What is computed of records without training: features, scores, and where a head starts."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from ssl_ecg.archive import Archive
from ssl_ecg.backbones import Encoder
from ssl_ecg.tasks import Classifier
from ssl_ecg.tasks.heads import WideHead
from ssl_ecg.tasks.linear_probe import LinearProbe
from ssl_ecg.tasks.simulated_probe import fit_from
from ssl_ecg.tasks.static_inputs import static_of
from ssl_ecg.tasks.typicality import Typicality

EVALUATION_BATCH = 256

Rows = NDArray[np.int64]
Targets = NDArray[np.float32]
Features = Callable[[Rows], NDArray[np.float32]]
"""features, float32 [n, D], of archive rows [n]"""


def extract_features(encoder: Encoder, archive: Archive, rows: Rows, batch_size: int = EVALUATION_BATCH) -> Targets:
    """Return the frozen encoder's features, float32 [n, D], of archive rows [n].

    Raises:
        ValueError: the archive was prepared otherwise than the encoder expects.
    """
    encoder.check(archive.settings)
    return _in_batches(encoder, encoder, archive, rows, batch_size)


def predict_scores(model: Classifier, archive: Archive, rows: Rows, batch_size: int = EVALUATION_BATCH) -> Targets:
    """Return the classifier's scores, float32 [n, S], of archive rows [n], over its windows.

    Raises:
        ValueError: the archive was prepared otherwise than the encoder expects.
    """
    model.encoder.check(archive.settings)
    return _in_batches(model, model.scores, archive, rows, batch_size, model.static)


def teacher_says(model: Classifier, archive: Archive, rows: Rows) -> tuple[Targets, Targets]:
    """Return a classifier's logits [n, outputs] of whole archive rows [n], and its features [n, D] before the head.

    Raises:
        ValueError: the archive was prepared otherwise than the encoder expects.
    """
    model.encoder.check(archive.settings)

    def both(*signals: Tensor) -> Tensor:
        features = model.features(*model.encoder.prepare(*signals))
        return torch.cat([model.logits(features), features], 1)

    said = _in_batches(model, both, archive, rows, EVALUATION_BATCH)
    return said[:, : -model.encoder.width], said[:, -model.encoder.width :]


def model_features(model: Classifier, archive: Archive, rows: Rows) -> Targets:
    """Return what the classifier's head sees, float32 [n, D], of archive rows [n]."""

    def features(*signals: Tensor) -> Tensor:
        return model.features(*model.encoder.prepare(*signals))

    return _in_batches(model, features, archive, rows, EVALUATION_BATCH)


def fit_typicality(
    model: Classifier, archive: Archive, train: Rows, validation: Rows, frozen: Features | None = None
) -> None:
    """Have a classifier know which records are unlike those it learned from, by archive rows [m] and [n].

    ``frozen`` gives what its head sees of archive rows, where that is kept.
    """
    features = frozen or (lambda rows: model_features(model, archive, rows))
    model.typicality = Typicality.fit(*map(features, (train, validation)))


@torch.inference_mode()
def _in_batches(
    module: nn.Module,
    function: Callable[..., Tensor],
    archive: Archive,
    rows: Rows,
    batch_size: int,
    static: Sequence[str] = (),
) -> Targets:
    """Return what a function of ``Signals``, and of static values, gives for rows [n], with the module in eval mode."""
    was_training = module.training
    module.eval()
    device = next(module.parameters()).device
    beside = (static_of(static, archive, rows),) if static else ()
    parts = []
    for start in range(0, max(len(rows), 1), batch_size):  # no rows are one empty batch
        some = slice(start, start + batch_size)
        given = (*archive.read(rows[some]), *(values[some] for values in beside))
        parts.append(function(*(torch.from_numpy(part).to(device) for part in given)))
    module.train(was_training)
    return torch.cat(parts).float().cpu().numpy()


def says_nothing(head: nn.Module) -> bool:
    """Tell whether a head gives every record the same logits: as heads start, the last layer's weights are 0."""
    last = list(head.modules())[-1]
    return isinstance(last, nn.Linear) and not last.weight.any()


def start_as_probe(
    model: Classifier,
    archive: Archive,
    train: tuple[Rows, Targets],
    validation: tuple[Rows, Targets],
    frozen: Features | None = None,
    prior: LinearProbe | None = None,
) -> Targets:
    """Set a linear head to the linear probe on the encoder's features; outputs that the probe lacks stay as they are.

    ``prior`` is the probe of whole records' features that needs no label, where there is one.

    Returns:
        The features of the validation records, float32 [n, D].

    Raises:
        ValueError: the task's head is not linear.
    """
    last = model.head.deep if isinstance(model.head, WideHead) else model.head
    if not isinstance(last, nn.Linear):
        raise ValueError(f"head='probe': the head of task {model.task.name!r} is not linear; choose head='zero'")

    if frozen is None or model.windows.of_features:  # those of windows are others

        def frozen(rows: Rows) -> Targets:
            return model_features(model, archive, rows)

        prior = None if model.windows.of_features else prior
    train_x, validation_x = frozen(train[0]), frozen(validation[0])
    probe = fit_from(prior, model.task, train_x, train[1], validation_x, validation[1])
    with torch.no_grad():
        last.weight[: len(probe.coef)] = torch.from_numpy(probe.coef)
        last.bias[: len(probe.coef)] = torch.from_numpy(probe.intercept)
    return validation_x
