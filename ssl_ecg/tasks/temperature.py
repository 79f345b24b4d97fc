"""One number that makes probabilities neither too sure nor too shy: the temperature by which logits are divided.

It is chosen on validation, where it makes the labels most probable (temperature scaling: Guo et al., ICML 2017, here of
a sigmoid per class), and put into the weights of the last layer: whatever scores, exports or explains the model has it.
Above 1 a model was too sure. Ranks of a class do not change.
"""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch import nn

from ssl_ecg.evaluation import brier_per_class, calibration_error, coverage
from ssl_ecg.tasks.classifier import Classifier
from ssl_ecg.tasks.heads import WideHead
from ssl_ecg.tasks.task import Task

Temperature = Literal["one", "label"]
Floats = NDArray[np.float64]

HIGHEST = 20.0
"""and 1 / 20 the lowest: with few labels of validation, none wrong, a lower one would be better without end"""


def fit_temperature(logits: Floats, targets: NDArray[Any], how: Temperature) -> Floats:
    """Return the temperature of each class [C] with the lowest cross-entropy.

    Args:
        logits: [n, C].
        targets: [n, C], 1, 0 or NaN (unknown).
        how: "one" for all classes, every known label counting alike; or of each "label", 1 where it lacks one outcome.
    """
    known = ~np.isnan(targets)
    found = np.ones(logits.shape[1])
    groups = [slice(None)] if how == "one" else [slice(c, c + 1) for c in range(logits.shape[1])]
    for group in groups:
        z, y = logits[:, group][known[:, group]], targets[:, group][known[:, group]]
        if not 0 < y.sum() < len(y):
            continue

        def loss(log: float, z: Floats = z, y: NDArray[Any] = y) -> float:
            return float(np.mean(np.logaddexp(0, z / np.exp(log)) - y * z / np.exp(log)))

        bound = np.log(HIGHEST)
        found[group] = np.exp(
            minimize_scalar(loss, bounds=(-bound, bound), method="bounded", options={"xatol": 1e-6}).x
        )
    return found


def temper(model: Classifier, targets: NDArray[Any], scores: NDArray[Any], how: Temperature) -> Floats:
    """Choose temperatures on validation and divide the last layer of a model by them.

    Args:
        model: with a linear last layer.
        targets: of validation [n, C].
        scores: of the model [n, C].
        how: as in ``fit_temperature``.

    Returns:
        [C].

    Raises:
        ValueError: scores that are no probabilities of classes, or means of them over windows, or a last layer that is
            not linear.
    """
    last = list(model.head.modules())[-1]
    if not model.task.of_labels or not isinstance(last, nn.Linear):
        raise ValueError(
            f"temperature={how!r}: task {model.task.name!r} or its head has no logit per class; leave it out"
        )
    windows = model.windows
    if windows.seconds is not None and (windows.aggregate, windows.over) == ("mean", "scores"):
        raise ValueError(f"temperature={how!r}: means of windows' scores are no single logit; choose aggregate=max")
    temperature = fit_temperature(_logits(model.task, scores), targets, how)
    with torch.no_grad():
        divisor = torch.from_numpy(temperature).to(last.bias)
        last.bias.div_(divisor)
        for layer in (last, *([model.head.beside] if isinstance(model.head, WideHead) else [])):
            layer.weight.div_(divisor[:, None])
    return temperature


def tempered(task: Task, scores: NDArray[Any], temperature: Floats) -> NDArray[np.float32]:
    """Return probabilities [n, C] whose logits are divided by temperatures [C]."""
    return task.scores(torch.from_numpy(_logits(task, scores) / temperature)).float().numpy()


def temperature_table(task: Task, temperature: Floats, targets: NDArray[Any], scores: NDArray[Any]) -> pd.DataFrame:
    """Return, a row per class, what the temperature did to probabilities of test.

    Args:
        task: whose classes they are.
        temperature: [C].
        targets: [n, C].
        scores: [n, C], with the temperature.

    Returns:
        ``class``, ``temperature`` and, each also with ``_before``: ``calibration_error``, ``brier``, ``covered`` and
        ``sure`` (``ssl_ecg.evaluation.coverage`` at .9).
    """
    table = pd.DataFrame({"class": task.classes, "temperature": temperature})
    for end, each in (("_before", tempered(task, scores, 1 / temperature)), ("", scores)):
        covered, sure = coverage(targets, each)
        found = {"calibration_error": calibration_error(targets, each), "brier": brier_per_class(targets, each)}
        for name, value in {**found, "covered": covered, "sure": sure}.items():
            table[f"{name}{end}"] = value
    return table


def _logits(task: Task, scores: NDArray[Any]) -> Floats:
    return task.logits(torch.as_tensor(scores, dtype=torch.float64)).numpy()
