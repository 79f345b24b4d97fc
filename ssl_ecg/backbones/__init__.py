"""Networks: signal in, features out."""

from ssl_ecg.backbones import xresnet1d as _xresnet1d  # noqa: F401  (registers itself)
from ssl_ecg.backbones.encoder import Encoder, load_encoder, save_encoder
from ssl_ecg.backbones.registry import Backbone, create_backbone, list_backbones

__all__ = [
    "Backbone",
    "Encoder",
    "create_backbone",
    "list_backbones",
    "load_encoder",
    "save_encoder",
]
