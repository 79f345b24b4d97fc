"""The encoder folder: a backbone together with the signal it expects.

- ``model.safetensors``: weights of the backbone
- ``config.json``: backbone name and options, the signal, how it was made; enough to rebuild the network
- ``README.md``: the model card
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ssl_ecg.backbones.registry import create_backbone
from ssl_ecg.runs import whole_folder, write_atomically, write_json
from ssl_ecg.signals import SignalSettings

FORMAT = "ssl_ecg-encoder"
VERSION = 1


# Of the signal settings, those in which an encoder and its data must agree; the shortest record accepted is no matter.
MUST_AGREE = ("leads", "sampling_rate", "duration", "band", "mains", "normalise")


class Encoder(nn.Module):
    """A backbone that knows its signal: ``encoder(signal [B, L, T]) -> features [B, D]``.

    Args:
        name: backbone name, see ``create_backbone``.
        options: options of the backbone.
        signal: the signal it expects.
        origin: how it was made: objective, settings, data counts, metrics.
        patients: hashes of the patients seen in pretraining, so that testing on them can be refused.

    Attributes:
        width: feature size D.
        leads: lead names.
        sampling_rate: Hz.
        samples: length T.
    """

    def __init__(
        self,
        name: str,
        options: Mapping[str, Any],
        signal: SignalSettings,
        origin: Mapping[str, Any] | None = None,
        patients: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.name = name
        self.signal = signal
        self.origin = dict(origin or {})
        self.patients = patients
        self.backbone = create_backbone(name, in_leads=len(signal.leads), **options)
        self.backbone.leads = signal.leads
        # What only a new network needs, such as a file of weights to start from, is no part of what it is.
        starting = getattr(self.backbone, "starting", ())
        self.options = {option: value for option, value in options.items() if option not in starting}

    @property
    def width(self) -> int:
        """Feature size D."""
        return int(self.backbone.width)

    @property
    def leads(self) -> tuple[str, ...]:
        """Lead names, in the order of the signal's rows."""
        return self.signal.leads

    @property
    def sampling_rate(self) -> float:
        """Sampling rate in Hz."""
        return self.signal.sampling_rate

    @property
    def samples(self) -> int:
        """Length T of a record."""
        return self.signal.samples

    def check(self, signal: SignalSettings) -> None:
        """Refuse data that was prepared otherwise.

        Raises:
            ValueError: with both sides of every setting that differs.
        """
        differences = [
            f"{name}: {getattr(self.signal, name)} against {getattr(signal, name)}"
            for name in MUST_AGREE
            if getattr(self.signal, name) != getattr(signal, name)
        ]
        if differences:
            raise ValueError(
                "the encoder and the data disagree (encoder against data): "
                + "; ".join(differences)
                + ". Ingest the data with the encoder's settings."
            )

    def check_shape(self, signal: Tensor) -> None:
        """Refuse a signal of another shape than [B, L, T]."""
        if signal.ndim != 3 or signal.shape[1:] != (len(self.leads), self.samples):
            raise ValueError(
                f"signal {tuple(signal.shape)}: the encoder expects [batch, {len(self.leads)} leads "
                f"({', '.join(self.leads)}), {self.samples} samples at {self.sampling_rate:g} Hz]"
            )

    def forward_features(self, signal: Tensor) -> Tensor:
        """Map signal [B, L, T] to step features [B, N, D']."""
        self.check_shape(signal)
        return self.backbone.forward_features(signal)

    def forward(self, signal: Tensor) -> Tensor:
        """Map signal [B, L, T], normalised as ``signal`` says, to features [B, D]."""
        self.check_shape(signal)
        return self.backbone(signal)


def save_encoder(encoder: Encoder, folder: str | Path, card: str) -> Path:
    """Write an encoder folder; its files are there together or not at all.

    Args:
        encoder: what to write.
        folder: made where it does not exist; files of the same names are replaced.
        card: the model card, Markdown.

    Returns:
        The folder.
    """
    folder = Path(folder)
    weights = {name: tensor.detach().cpu().contiguous() for name, tensor in encoder.backbone.state_dict().items()}
    config = {
        "format": FORMAT,
        "version": VERSION,
        "backbone": {"name": encoder.name, "options": encoder.options},
        "signal": encoder.signal.to_dict(),
        "origin": encoder.origin,
        "patients": sorted(encoder.patients),
    }
    with whole_folder(folder, last="config.json") as part:
        save_file(weights, part / "model.safetensors")
        write_atomically(part / "README.md", card)
        write_json(part / "config.json", config)
    return folder


def load_encoder(folder: str | Path) -> Encoder:
    """Load an encoder folder, in eval mode, on the CPU. Reads JSON and safetensors only, never a pickle.

    Args:
        folder: what ``save_encoder`` wrote.

    Raises:
        FileNotFoundError: no encoder there.
        ValueError: another format or version, a damaged config, or weights that do not fit the network.
    """
    folder = Path(folder)
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"folder={str(folder)!r}: no config.json, so this is not an encoder folder")
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
        made = (config["format"], config["version"])
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: damaged encoder config ({error!r})") from error
    if made != (FORMAT, VERSION):
        raise ValueError(f"{path}: {made[0]} version {made[1]}, this release reads {FORMAT} version {VERSION}")
    try:
        encoder = Encoder(
            config["backbone"]["name"],
            config["backbone"]["options"],
            SignalSettings(**config["signal"]),
            config["origin"],
            frozenset(config["patients"]),
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path}: no encoder can be built from this config ({error!r})") from error
    try:
        encoder.backbone.load_state_dict(load_file(folder / "model.safetensors"))
    except (RuntimeError, SafetensorError) as error:
        raise ValueError(f"{folder / 'model.safetensors'}: the weights do not fit the config: {error}") from error
    return encoder.eval()
