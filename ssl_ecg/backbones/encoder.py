"""The encoder folder: a backbone together with the signal it expects.

- ``model.safetensors``: weights of the backbone
- ``config.json``: backbone name and options, the signal, how it was made; enough to rebuild the network, unless it is
  a network of one's own: then its class, which is never imported from here but has to be given
- ``README.md``: the model card
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save
from torch import Tensor, nn

from ssl_ecg.backbones.base import Backbone
from ssl_ecg.backbones.foreign import as_backbone, class_path
from ssl_ecg.backbones.registry import create_backbone
from ssl_ecg.backbones.untrusted import (
    MAX_NUMBER,
    check_options,
    check_shapes,
    finite_weights,
    no_larger_than,
    nothing_from_elsewhere,
    read_json,
    shapes_of,
)
from ssl_ecg.runs import folder_of, whole_folder, write_atomically, write_json
from ssl_ecg.signals import Signals, SignalSettings
from ssl_ecg.signals.normalisation import normalise

FORMAT = "ssl_ecg-encoder"
VERSION = 1
HASHES = ("patients", "ecgs")


# The signal settings in which an encoder and its data must agree. The shortest accepted record is not among them: it
# says which records are in the archive, not what a signal looks like.
MUST_AGREE = ("leads", "sampling_rate", "duration", "band", "mains", "normalise")


class Encoder(nn.Module):
    """A backbone that knows its signal: ``encoder(signal [B, L, T] in millivolts) -> features [B, D]``.

    Args:
        backbone: name, see ``create_backbone``; or a network of one's own, any module from a signal [B, L, T] to
            features [B, D], of which a copy is taken: a ``Backbone`` as it is, any other as ``backbones.foreign`` says.
        options: options of the backbone, where it is a name.
        signal: the signal it expects.
        origin: how it was made: objective, settings, data counts, metrics.
        patients: hashes of the patients seen in pretraining, so that testing on them can be refused.
        ecgs: hashes of the ECGs, which are known under other names, too.

    Attributes:
        name: of the backbone, or "package.module:Class" of a network of one's own.
        foreign: whether it is a network of one's own.
        width: feature size D.
        leads: lead names.
        sampling_rate: Hz.
        samples: length T.
    """

    def __init__(
        self,
        backbone: str | nn.Module,
        options: Mapping[str, Any],
        signal: SignalSettings,
        origin: Mapping[str, Any] | None = None,
        patients: frozenset[str] = frozenset(),
        ecgs: frozenset[str] = frozenset(),
    ) -> None:
        super().__init__()
        self.signal = signal
        self.origin = dict(origin or {})
        self.patients, self.ecgs = patients, ecgs
        self.backbone: Backbone
        self.foreign = not isinstance(backbone, str)
        if isinstance(backbone, str):
            self.name = backbone
            self.backbone = create_backbone(backbone, in_leads=len(signal.leads), **options)
        elif options:
            raise ValueError(f"backbone={class_path(backbone)}: is made already; make it with {', '.join(options)}")
        else:
            self.name = class_path(backbone)
            self.backbone = as_backbone(backbone, len(signal.leads), signal.samples)
        self.backbone.leads, self.backbone.signal = signal.leads, signal
        for network in self.backbone.modules():
            if isinstance(network, Backbone):
                network.suit(signal.sampling_rate)
        # What only a new network needs, such as a file of weights to start from, is no part of what it is.
        starting = getattr(self.backbone, "starting", ())
        self.options = {option: value for option, value in options.items() if option not in starting}

    @property
    def width(self) -> int:
        """Feature size D."""
        return self.backbone.width

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

    def differences(self, signal: SignalSettings) -> list[str]:
        """Return in which settings signals were prepared otherwise, with both sides."""
        return [
            f"{name}: {getattr(self.signal, name)} against {getattr(signal, name)}"
            for name in MUST_AGREE
            if getattr(self.signal, name) != getattr(signal, name)
        ]

    def check(self, signal: SignalSettings) -> None:
        """Refuse data that was prepared otherwise.

        Raises:
            ValueError: with both sides of every setting that differs.
        """
        if differences := self.differences(signal):
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

    def prepare(self, signal: Tensor, recorded: Tensor | None = None, leads: Tensor | None = None) -> Signals:
        """Normalise signals as the backbone expects them.

        Args:
            signal: [B, L, T], millivolts.
            recorded: int64 [B], samples of each record that were recorded; None: all T.
            leads: bool [B, L], leads of each record that were recorded; None: all L.

        Raises:
            ValueError: a signal of another shape.
        """
        self.check_shape(signal)
        if recorded is None:
            recorded = torch.full((signal.shape[0],), self.samples, device=signal.device)
        if leads is None:
            leads = torch.ones(signal.shape[:2], dtype=torch.bool, device=signal.device)
        return Signals(normalise(signal, recorded, leads, self.signal.normalise), recorded, leads)

    def forward_steps(
        self, signal: Tensor, recorded: Tensor | None = None, leads: Tensor | None = None
    ) -> tuple[Tensor, Tensor | None]:
        """Map signals, as ``forward`` takes them, to step features [B, N, D'], and tell which count, bool [B, N]."""
        return self.backbone.forward_steps(*self.prepare(signal, recorded, leads))

    def forward(self, signal: Tensor, recorded: Tensor | None = None, leads: Tensor | None = None) -> Tensor:
        """Map signals to features [B, D].

        Args:
            signal: [B, L, T], millivolts; normalised here, as ``signal.normalise`` of the encoder says.
            recorded: int64 [B], samples of each record that were recorded; None: all T.
            leads: bool [B, L], leads of each record that were recorded; None: all L.
        """
        return self.backbone(*self.prepare(signal, recorded, leads))


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
        "backbone": {"class": encoder.name, "foreign": True}
        if encoder.foreign
        else {"name": encoder.name, "options": encoder.options},
        "signal": encoder.signal.to_dict(),
        "origin": encoder.origin,
        "patients": sorted(encoder.patients),
        "ecgs": sorted(encoder.ecgs),
    }
    with whole_folder(folder, last="config.json") as part:
        write_atomically(part / "model.safetensors", save(weights))  # which names the file when the disk is full
        write_atomically(part / "README.md", card)
        write_json(part / "config.json", config)
    return folder


def read_config(folder: str | Path) -> dict[str, Any]:
    """Read the config of an encoder folder.

    Raises:
        FileNotFoundError: no encoder there.
        ValueError: another format or version, or a damaged config.
    """
    folder = Path(folder)
    path = folder / "config.json"
    if not path.is_file():
        raise FileNotFoundError(f"folder={str(folder)!r}: no config.json, so this is not an encoder folder")
    config = read_json(path, "encoder config")
    config.setdefault("ecgs", [])  # of an encoder that ships, or of an earlier release
    made = (config.get("format"), config.get("version"))
    if made != (FORMAT, VERSION):
        raise ValueError(f"{path}: {made[0]} version {made[1]}, this release reads {FORMAT} version {VERSION}")
    for name, kind in (("backbone", dict), ("signal", dict), ("origin", dict), *((name, list) for name in HASHES)):
        if not isinstance(config.get(name), kind):
            raise ValueError(f"{path}: damaged encoder config: {name} is no {'list' if kind is list else 'object'}")
    for name in HASHES:
        if not all(isinstance(each, str) for each in config[name]):
            raise ValueError(f"{path}: damaged encoder config: {name} holds what is no text")
    return config


def load_encoder(folder: str | Path, backbone: nn.Module | None = None) -> Encoder:
    """Load an encoder folder, in eval mode, on the CPU. Reads JSON and safetensors only, never a pickle.

    Args:
        folder: what ``save_encoder`` wrote; or "synthetic", the encoder that ships, which was pretrained on simulated
            ECGs alone.
        backbone: a network of one's own, where the encoder was made with one: made anew; a copy takes the weights.

    Raises:
        FileNotFoundError: no encoder there.
        ValueError: another format or version, a damaged config, weights that do not fit the network, a network that is
            missing or one too many.
    """
    folder = folder_of(folder)
    config = read_config(folder)
    path = folder / "config.json"
    kind = config["backbone"].get("class")
    if kind is not None and backbone is None:
        raise ValueError(
            f"folder={str(folder)!r}: this encoder's network is {kind}; make one and give it: load_encoder(folder, "
            f"backbone={kind.rpartition(':')[2]}(...))"
        )
    if kind is None and backbone is not None:
        raise ValueError(f"backbone={class_path(backbone)}: the encoder in {folder} has a network; leave backbone out")
    weights = folder / "model.safetensors"
    shapes = shapes_of(weights)
    try:
        signal = SignalSettings(**config["signal"])
        if signal.samples > MAX_NUMBER:
            raise ValueError(f"signals of {signal.samples:,} samples")
        network: str | nn.Module = config["backbone"]["name"] if backbone is None else backbone
        options = check_options(path, config["backbone"]["options"]) if backbone is None else {}
        with nothing_from_elsewhere():
            if backbone is None:
                with no_larger_than(shapes):
                    sketch = Encoder(network, options, signal)
                check_shapes(weights, sketch.backbone, shapes)
            hashes = (frozenset(config[name]) for name in HASHES)
            encoder = Encoder(network, options, signal, config["origin"], *hashes)
    except (AttributeError, KeyError, TypeError, RuntimeError, ValueError) as error:
        if isinstance(error, ValueError) and str(error).startswith(str(folder)):
            raise
        raise ValueError(f"{path}: no encoder can be built from this config ({error!r})") from error
    check_shapes(weights, encoder.backbone, shapes)
    encoder.backbone.load_state_dict(finite_weights(weights))
    return encoder.eval()
