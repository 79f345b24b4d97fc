"""The variants of an ablation: ways to pretrain, and the random weights that they must beat."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Annotated, Any, Self

from pydantic import Field, model_validator

from ssl_ecg.backbones import Encoder
from ssl_ecg.objectives import create_objective
from ssl_ecg.settings import Settings, recipe
from ssl_ecg.signals import SignalSettings
from ssl_ecg.training.finetune_settings import FinetuneSettings
from ssl_ecg.training.pretrain_settings import PretrainSettings


class Variant(Settings):
    """One way to pretrain, and how its encoder is finetuned."""

    name: Annotated[str, Field(pattern=r"^\w[\w-]*$")]
    """of letters, digits, ``_`` and ``-``"""
    pretrain: PretrainSettings
    """how; the seed, the device and what is held out are the ablation's"""
    finetune: tuple[recipe("training", FinetuneSettings), ...] = ("pretrained",)  # type: ignore[valid-type]
    """settings that validation chooses from"""
    scratch: tuple[recipe("training", FinetuneSettings), ...] = ("scratch",)  # type: ignore[valid-type]
    """the same for the random weights of this backbone: as many, with the same number of steps"""
    pretrained: bool = True
    """false for the random weights that a variant must beat; ``pretrain`` then only names the backbone"""

    @model_validator(mode="after")
    def _check(self) -> Self:
        budgets = [[settings.budget for settings in tried] for tried in (self.finetune, self.scratch)]
        if budgets[0] != budgets[1] or not budgets[0]:
            raise ValueError(
                f"{self.name}: finetune has {budgets[0]}, scratch {budgets[1]}: both get the same tries and budget"
            )
        return self

    @property
    def static(self) -> tuple[str, ...]:
        """Names of all static inputs that it is tried with."""
        return tuple(dict.fromkeys(name for tried in (*self.finetune, *self.scratch) for name in tried.static))

    def identity(self, seed: int) -> dict[str, Any]:
        """Return what decides the results of a run with this seed."""
        settings = self.pretrain.replace(seed=seed)
        made = settings.identity() if self.pretrained else {"backbone": settings.backbone.to_dict()}
        return {"pretrain": made, "finetune": [tried.replace(seed=seed).to_dict() for tried in self.finetune]}


def random_weights(variants: Sequence[Variant]) -> dict[str, Variant]:
    """Return what each variant must beat to show that its pretraining is worth something: random weights.

    These are the same network, finetuned as the variant says in ``scratch``, without pretraining. Variants that share
    the network and these settings share the baseline too, so that it is run once for all of them.

    Args:
        variants: ways to pretrain.

    Returns:
        By name of each variant, its baseline: a variant that does not pretrain, called ``random-BACKBONE``. Where one
        backbone needs several, the later ones add the name of the first variant that needs them.
    """
    made: dict[str, Variant] = {}
    found = {}
    for variant in variants:
        backbone = variant.pretrain.backbone
        key = json.dumps([backbone.to_dict(), [tried.to_dict() for tried in variant.scratch]], sort_keys=True)
        if key not in made:
            name = f"random-{backbone.name}"
            if any(name == other.name for other in made.values()):
                name = f"{name}-{variant.name}"
            made[key] = variant.replace(name=name, finetune=variant.scratch, pretrained=False)
        found[variant.name] = made[key]
    return found


def check_variants(variants: Sequence[Variant], reference: str | None, signal: SignalSettings) -> str:
    """Refuse names that clash and networks that cannot be built, before anything is run.

    Args:
        variants: what to compare.
        reference: name of one of them, or None for the first.
        signal: of the archive.

    Returns:
        Name of the reference.

    Raises:
        ValueError: naming the variant.
    """
    names = [variant.name for variant in variants]
    if len(set(names)) < len(names) or {*names} & {baseline.name for baseline in random_weights(variants).values()}:
        raise ValueError(f"variants={names}: give each a name of its own")
    if not names or (reference and reference not in names):
        raise ValueError(f"reference={reference!r}: choose one of the variants, which are {names}")
    for variant in variants:
        backbone, objective = variant.pretrain.backbone, variant.pretrain.objective
        try:
            encoder = Encoder(backbone.given, backbone.options, signal)
            create_objective(objective.name, encoder.backbone, signal.sampling_rate, **objective.options)
        except (TypeError, ValueError) as error:
            raise ValueError(f"variant {variant.name}: {error}") from error
    return reference or names[0]
