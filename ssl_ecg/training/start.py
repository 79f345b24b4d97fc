"""Pretraining that goes on from an encoder: another objective, or the same one on one's own ECGs."""

from __future__ import annotations

import hashlib
from typing import Any

from ssl_ecg.backbones import Encoder, load_encoder
from ssl_ecg.settings import Choice
from ssl_ecg.signals import SignalSettings

# What the two signals must share for weights to mean the same; the length may differ.
SAME = ("leads", "sampling_rate", "normalise")


def read_start(start: str, network: Choice, signal: SignalSettings) -> Encoder:
    """Load the encoder that pretraining starts from.

    Args:
        start: its folder, or the name of one that ships.
        network: that is pretrained.
        signal: of the archive.

    Raises:
        FileNotFoundError: no encoder there.
        ValueError: another network, or another signal.
    """
    earlier = load_encoder(start, network.thing)
    differences = [
        f"{name}: {getattr(earlier.signal, name)} against {getattr(signal, name)}"
        for name in SAME
        if getattr(earlier.signal, name) != getattr(signal, name)
    ]
    starting = getattr(earlier.backbone, "starting", ())
    asked = {"name": network.name, **{name: value for name, value in network.options.items() if name not in starting}}
    if (had := {"name": earlier.name, **earlier.options}) != asked:
        differences.append(f"backbone: {had} against {asked}")
    if differences:
        raise ValueError(
            f"start={start!r}: its encoder does not fit (encoder against run): {'; '.join(differences)}; choose its "
            "network and ingest with its settings, or start from another encoder"
        )
    return earlier


def describe_start(earlier: Encoder) -> dict[str, Any]:
    """Say which encoder pretraining starts from, JSON-ready: its objective, and a hash of its weights."""
    digest = hashlib.sha256()
    for name, tensor in sorted(earlier.backbone.state_dict().items()):
        digest.update(name.encode() + tensor.contiguous().numpy().tobytes())
    objective = earlier.origin.get("settings", {}).get("objective", {}).get("name", "unknown")
    return {"objective": objective, "weights": digest.hexdigest()[:16]}
