"""Finished models become one model, which is kept, scored and exported like any other."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch

from ssl_ecg.backbones import Encoder
from ssl_ecg.backbones.joined import Joined, joined_encoder
from ssl_ecg.tasks.classifier import Classifier
from ssl_ecg.tasks.ensemble import Combination, EnsembleHead
from ssl_ecg.tasks.registry import create_task
from ssl_ecg.tasks.task import Task

TUNED = "thresholds"


def undecided(task: Task) -> Task:
    """Return a task without the decisions that were tuned."""
    return create_task(task.name, task.classes, **{name: v for name, v in task.options.items() if name != TUNED})


def check_alike(models: Sequence[Classifier]) -> None:
    """Make sure that models answer the same question about the same signals, and see these alone.

    Raises:
        ValueError: with both sides of what differs, or a model with static inputs.
    """
    first = models[0]
    for number, model in enumerate(models, start=1):
        if model.static:
            raise ValueError(
                f"models: number {number} has static inputs, {', '.join(model.static)}; join models of the signal alone"
            )
    for number, model in enumerate(models[1:], start=2):
        sides = {
            "task": (first.task.name, model.task.name),
            "classes": (", ".join(first.task.classes), ", ".join(model.task.classes)),
            "windows": (first.windows.to_dict(), model.windows.to_dict()),
            "scores": (_meaning(first.task), _meaning(model.task)),
        }
        differences = first.encoder.differences(model.encoder.signal)
        differences += [f"{name}: {one} against {other}" for name, (one, other) in sides.items() if one != other]
        if differences:
            raise ValueError(
                f"models: the first and number {number} differ ({'; '.join(differences)}); join like models"
            )


def _meaning(task: Task) -> dict[str, object]:
    """Return the options that say what scores are, and not how they were learned."""
    return {name: value for name, value in task.options.items() if name in ("horizon_days", "bins", "encoding")}


def members_of(model: Classifier) -> list[Classifier]:
    """Return the models that an ensemble is made of, without their decisions, in its mode."""
    backbone, head = model.encoder.backbone, model.head
    assert isinstance(backbone, Joined)
    assert isinstance(head, EnsembleHead)
    found = []
    made = zip(model.encoder.options["members"], backbone.members, head.members, head.heads)
    for about, network, kind, own in made:
        encoder = Encoder(about["name"], about["options"], model.encoder.signal)
        one = Classifier(encoder, model.task, model.windows, kind)
        encoder.backbone.load_state_dict(network.state_dict())
        one.head.load_state_dict(own.state_dict())
        found.append(one.train(model.training))
    return found


def join(models: Sequence[Classifier], combination: Combination) -> Classifier:
    """Return one model of several, without those that have no weight; it has no decisions yet.

    Args:
        models: of the same task, signals and windows.
        combination: of their scores.

    Raises:
        ValueError: models that differ, or ensembles among them.
    """
    check_alike(models)
    if any(isinstance(model.head, EnsembleHead) for model in models):
        raise ValueError("models: one of them is an ensemble; name its members instead")
    kept = combination.weight > 0
    some = [model for model, weighs in zip(models, kept) if weighs]
    kinds = [model.kind_of_head for model in some]
    whole = Classifier(
        joined_encoder([model.encoder for model in some]),
        undecided(models[0].task),
        models[0].windows,
        {"members": kinds, "rule": combination.rule},
    )
    assert isinstance(whole.head, EnsembleHead)
    for head, model in zip(whole.head.heads, some):
        head.load_state_dict(copy.deepcopy(model.head.state_dict()))
    for name in ("weight", "scale", "shift"):
        getattr(whole.head, name).copy_(torch.from_numpy(getattr(combination, name)[kept]))
    return whole.eval()
