"""Rounds of a comparison: other patients test in each, and encoders that have not seen them are compared on them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssl_ecg.backbones import Encoder
from ssl_ecg.labels.splits import Splits, SplitSettings
from ssl_ecg.labels.tables import LabelTable


@dataclass(frozen=True)
class Round:
    """Pretrainings that kept away from the same patients, and the split in which these test.

    Attributes:
        encoders: of one network, pretrained alike but for the seed; seed number i of the comparison starts from
            encoder i modulo their number, so that draws of labels and pretrainings vary together.
        splits: indices into the label table.
    """

    encoders: tuple[Encoder, ...]
    splits: Splits


def rounds_of(encoders: Sequence[Encoder], labels: LabelTable, split: SplitSettings) -> list[Round]:
    """Group encoders by the split that each was held out by.

    Of one group the split is ``split``, whose key is the encoder's where it kept one. Several groups are the rounds of
    a rotation: each is compared on its own held-out patients, whatever ``split`` says.

    Args:
        encoders: at least one.
        labels: label table.
        split: how to split where the encoders do not differ in it.

    Raises:
        ValueError: encoders of several networks, an encoder without a split among others, or a patient who tests twice.
    """
    if len(networks := {json.dumps([one.name, dict(one.options)], default=str) for one in encoders}) > 1:
        raise ValueError(f"encoder: {len(networks)} different networks; compare pretrainings of one network")
    groups: dict[str, tuple[dict[str, Any], list[Encoder]]] = {}
    for encoder in encoders:
        kept = encoder.origin.get("split") or {}
        groups.setdefault(json.dumps(kept, sort_keys=True), (kept, []))[1].append(encoder)
    if len(groups) == 1:
        ((kept, same),) = groups.values()
        return [Round(tuple(same), split.split(labels, kept))]
    if "{}" in groups:
        raise ValueError("encoder: some were pretrained without holdout= and others with it; give each its holdout")
    rounds = [Round(tuple(same), SplitSettings(**kept).split(labels)) for kept, same in groups.values()]
    tested = np.concatenate([np.unique(labels.patient[one.splits.test]) for one in rounds])
    if twice := len(tested) - len(np.unique(tested)):
        raise ValueError(f"encoder: {twice} patients test in two rounds; hold other patients out of each pretraining")
    return rounds
